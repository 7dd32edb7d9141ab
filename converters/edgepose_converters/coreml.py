"""Core ML."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgepose.runtime.session import MAX_BATCH
from edgepose.spec import ModelSpec, Precision
from edgepose_converters.target import INPUT_NAME, OUTPUT_NAME, Written, installed_versions

__all__ = ["TARGET", "CoreMLTarget"]


class CoreMLTarget:
    """``.mlpackage`` (mlprogram, iOS 17 or later). fp16 computes in half precision, with float32 input and output."""

    name = "coreml"
    suffix = ".mlpackage"
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    dynamic_batch = True
    max_parameters = None
    # Off a Mac the reference evaluator executes the saved package; on one, Core ML does so too.
    verifiers = ("mil:cpu", "coreml:all")

    def write(self, module: nn.Module, spec: ModelSpec, path: Path, *, precision: Precision, batch: int | None) -> Written:
        """See ``Target.write``."""
        import coremltools as ct

        example = torch.zeros(batch or 1, *spec.input_shape)
        first = ct.RangeDim(lower_bound=1, upper_bound=MAX_BATCH, default=1) if batch is None else batch
        traced = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]  # torch leaves it so
        package = ct.convert(
            traced,
            inputs=[ct.TensorType(name=INPUT_NAME, shape=ct.Shape((first, *spec.input_shape)), dtype=np.float32)],
            outputs=[ct.TensorType(name=OUTPUT_NAME, dtype=np.float32)],
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT16 if precision == "fp16" else ct.precision.FLOAT32,
            skip_model_load=True,
        )
        package.short_description = f"{spec.name}: human pose heatmaps ({spec.keypoints} keypoints)"
        package.version = "1"
        package.save(str(path))
        return Written(tools=installed_versions("coremltools", "torch"), details={"minimum_deployment_target": "iOS17"})


TARGET = CoreMLTarget()
