"""ONNX."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from edgepose.spec import ModelSpec, Precision
from edgepose_converters.target import INPUT_NAME, OUTPUT_NAME, Written, installed_versions

__all__ = ["TARGET", "OnnxTarget"]

OPSET = 20
"""The first opset with Gelu, so that no runtime has to piece it together; ONNX Runtime reads it since 1.17."""

# protobuf messages end at 2 GiB; a margin is left for the graph itself.
_MAX_INLINE_BYTES = 2_000_000_000


class OnnxTarget:
    """``.onnx``. fp16 is a half-precision graph with float32 input and output; above 2 GB the weights go into ``NAME.onnx.data``."""

    name = "onnx"
    suffix = ".onnx"
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    dynamic_batch = True
    max_parameters = None
    verifiers = ("onnxruntime:cpu",)

    def write(self, module: nn.Module, spec: ModelSpec, path: Path, *, precision: Precision, batch: int | None) -> Written:
        """See ``Target.write``."""
        if precision == "fp16":
            module = _Half(module)
        # torch.export takes a size of 1 for a constant, so a dynamic batch is traced with two.
        example = torch.zeros(2 if batch is None else batch, *spec.input_shape)
        weight_bytes = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch")},) if batch is None else None,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            verbose=False,
        )
        if program is None:
            raise RuntimeError("torch.onnx.export returned nothing")
        program.save(path, external_data=weight_bytes > _MAX_INLINE_BYTES)
        return Written(tools=installed_versions("onnx", "onnxscript", "torch"), details={"opset": str(OPSET)})


class _Half(nn.Module):
    """A half-precision copy of a module that takes and gives float32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).half()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.module(x.half()).float()
        return out


TARGET = OnnxTarget()
