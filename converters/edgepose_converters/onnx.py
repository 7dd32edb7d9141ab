"""ONNX."""

import copy
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from edgepose.precision import Precision, held_precisions
from edgepose_converters.lowering import onnx as lowering
from edgepose_converters.target import INPUT_NAME, OUTPUT_NAME, Source, Written, installed_versions
from edgepose_converters.walk import Mixed

__all__ = ["TARGET", "OnnxTarget"]

OPSET = 20
"""The first opset with Gelu, so that no runtime has to piece it together; ONNX Runtime reads it since 1.17 (in files of IR version 9)."""

# protobuf messages end at 2 GiB; a margin is left for the graph itself.
_MAX_INLINE_BYTES = 2_000_000_000


class OnnxTarget:
    """``.onnx``. fp16 is a half-precision graph with float32 input and output; above 2 GB the weights go into ``NAME.onnx.data``."""

    name = "onnx"
    suffix = ".onnx"
    precisions = held_precisions("onnx")
    dynamic_batch = True
    max_parameters = None
    verifiers = ("onnxruntime:cpu",)

    def write(self, source: Source, path: Path, *, precision: Precision, batch: int | None) -> Written:
        """See ``Target.write``."""
        module: nn.Module = source.module
        if precision.weight_bits == 16:
            module = Mixed(source.module, source.float32) if source.float32 else _Half(source.module)
        opset = lowering.INT4_OPSET if precision.weight_bits == 4 else OPSET
        # torch.export takes a size of 1 for a constant, so a dynamic batch is traced with two.
        example = torch.zeros(2 if batch is None else batch, *source.spec.input_shape)
        weight_bytes = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=({0: torch.export.Dim("batch")},) if batch is None else None,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            verbose=False,
        )
        if program is None:
            raise RuntimeError("torch.onnx.export returned nothing")
        # The exporter writes the newest form of the file, which older runtimes refuse although they know every operator in it.
        program.model.ir_version = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
        external = weight_bytes > _MAX_INLINE_BYTES
        if source.quantized is None:
            program.save(path, external_data=external)
        else:
            model = program.model_proto
            lowering.lower(model, source.quantized)
            onnx.save(model, path)
        return Written(tools=installed_versions("onnx", "onnxscript", "torch"), details={"opset": str(opset)})


class _Half(nn.Module):
    """A half-precision copy of a module that takes and gives float32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).half()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.module(x.half()).float()
        return out


TARGET = OnnxTarget()
