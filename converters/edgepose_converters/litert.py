"""LiteRT (TFLite)."""

from pathlib import Path

import torch
from torch import nn

from edgepose.spec import ModelSpec, Precision
from edgepose_converters.target import Written, installed_versions

__all__ = ["TARGET", "LiteRTTarget"]


class LiteRTTarget:
    """``.tflite``. fp16 stores weights as fp16, widened on load; GPU delegates compute in half precision on their own."""

    name = "litert"
    suffix = ".tflite"
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    # litert-torch gives the graph of one batch size.
    dynamic_batch = False
    # Flatbuffers address their content with signed 32-bit offsets, and the way to every precision leads over a float32 file.
    max_parameters = 500_000_000
    verifiers = ("litert:cpu",)

    def write(self, module: nn.Module, spec: ModelSpec, path: Path, *, precision: Precision, batch: int | None) -> Written:
        """See ``Target.write``."""
        import litert_torch

        example = torch.zeros(batch or 1, *spec.input_shape)
        float_path = path if precision == "fp32" else path.with_name("float" + self.suffix)
        litert_torch.convert(module, (example,)).export(str(float_path))
        tools = installed_versions("litert-torch", "litert-converter", "torch")
        if precision == "fp16":
            _store_weights_as_fp16(float_path, path)
            float_path.unlink()
            tools |= installed_versions("ai-edge-quantizer")
        return Written(tools=tools)


def _store_weights_as_fp16(source: Path, target: Path) -> None:
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.quantizer import Quantizer

    quantizer = Quantizer(str(source))
    quantizer.update_quantization_recipe(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
            compute_precision=qtyping.ComputePrecision.FLOAT,
        ),
        algorithm_key="float_casting",
    )
    quantizer.quantize().export_model(str(target))


TARGET = LiteRTTarget()
