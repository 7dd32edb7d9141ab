"""OpenVINO IR."""

from pathlib import Path

import torch
from torch import nn

from edgepose.runtime.openvino import import_openvino
from edgepose.spec import ModelSpec, Precision
from edgepose_converters.target import INPUT_NAME, OUTPUT_NAME, Written, installed_versions

__all__ = ["TARGET", "OpenVINOTarget"]


class OpenVINOTarget:
    """``.xml`` + ``.bin``. fp16 stores weights as fp16; the device decides what it computes in."""

    name = "openvino"
    suffix = ".xml"
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    dynamic_batch = True
    max_parameters = None
    verifiers = ("openvino:cpu",)

    def write(self, module: nn.Module, spec: ModelSpec, path: Path, *, precision: Precision, batch: int | None) -> Written:
        """See ``Target.write``."""
        openvino = import_openvino()
        example = torch.zeros(batch or 1, *spec.input_shape)
        model = openvino.convert_model(module, example_input=example, input=[-1 if batch is None else batch, *spec.input_shape])
        model.inputs[0].set_names({INPUT_NAME})
        model.outputs[0].set_names({OUTPUT_NAME})
        openvino.save_model(model, path, compress_to_fp16=precision == "fp16")
        return Written(tools=installed_versions("openvino", "torch"))


TARGET = OpenVINOTarget()
