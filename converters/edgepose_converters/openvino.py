"""OpenVINO IR."""

from pathlib import Path

import torch

from edgepose.models.vitpose import SimpleHead
from edgepose.precision import Precision, held_precisions
from edgepose.runtime.openvino import import_openvino
from edgepose_converters.lowering import openvino as lowering
from edgepose_converters.target import INPUT_NAME, OUTPUT_NAME, Source, Written, installed_versions

__all__ = ["TARGET", "OpenVINOTarget"]


class OpenVINOTarget:
    """``.xml`` + ``.bin``. fp16, and the float part of quantized files, is stored as fp16; the device decides what it computes in."""

    name = "openvino"
    suffix = ".xml"
    precisions = held_precisions("openvino")
    dynamic_batch = True
    max_parameters = None
    verifiers = ("openvino:cpu",)

    def write(self, source: Source, path: Path, *, precision: Precision, batch: int | None) -> Written:
        """See ``Target.write``."""
        openvino = import_openvino()
        example = torch.zeros(batch or 1, *source.spec.input_shape)
        model = openvino.convert_model(
            source.module, example_input=example, input=[-1 if batch is None else batch, *source.spec.input_shape]
        )
        model.inputs[0].set_names({INPUT_NAME})
        model.outputs[0].set_names({OUTPUT_NAME})
        if source.quantized is not None:
            lowering.lower(model, source.quantized)
        if source.float32:
            lowering.save_mixed(model, path, source.float32, simple=isinstance(source.module.head, SimpleHead))
        else:
            openvino.save_model(model, path, compress_to_fp16=precision.float_constants == "float16")
        return Written(tools=installed_versions("openvino", "torch"))


TARGET = OpenVINOTarget()
