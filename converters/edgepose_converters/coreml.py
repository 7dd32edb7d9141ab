"""Core ML."""

from pathlib import Path

import numpy as np
import torch

from edgepose.precision import Precision, held_precisions
from edgepose.runtime.session import MAX_BATCH
from edgepose_converters.lowering import coreml as lowering
from edgepose_converters.target import INPUT_NAME, OUTPUT_NAME, Source, Written, installed_versions

__all__ = ["TARGET", "CoreMLTarget"]


class CoreMLTarget:
    """``.mlpackage`` (mlprogram, iOS 17 or later). fp16 computes in half precision, with float32 input and output."""

    name = "coreml"
    suffix = ".mlpackage"
    precisions = held_precisions("coreml")
    dynamic_batch = True
    max_parameters = None
    # Off a Mac the reference evaluator executes the saved package; on one, Core ML does so too.
    verifiers = ("mil:cpu", "coreml:all")

    def write(self, source: Source, path: Path, *, precision: Precision, batch: int | None) -> Written:
        """See ``Target.write``."""
        import coremltools as ct

        example = torch.zeros(batch or 1, *source.spec.input_shape)
        first = ct.RangeDim(lower_bound=1, upper_bound=MAX_BATCH, default=1) if batch is None else batch
        traced = torch.jit.trace(source.module, example, check_trace=False)  # type: ignore[no-untyped-call]  # torch leaves it so
        system = "iOS18" if precision.weight_bits == 4 else "iOS17"
        options = {"minimum_deployment_target": getattr(ct.target, system), "skip_model_load": True}
        program = ct.convert(
            traced,
            inputs=[ct.TensorType(name=INPUT_NAME, shape=ct.Shape((first, *source.spec.input_shape)), dtype=np.float32)],
            outputs=[ct.TensorType(name=OUTPUT_NAME, dtype=np.float32)],
            compute_precision=(
                ct.precision.FLOAT32 if precision.float_constants == "float32" else lowering.half_precision(source.module, source.float32)
            ),
            convert_to="mlprogram" if source.quantized is None else "milinternal",
            **options,
        )
        if source.quantized is None:
            package = program
        else:
            lowering.lower(program, source.quantized)
            # The program is optimized already; another round would fold the integer weights back into float.
            passes = ct.PassPipeline(["common::dead_code_elimination", "common::const_deduplication"], "lowered")
            package = ct.convert(program, pass_pipeline=passes, convert_to="mlprogram", compute_precision=ct.precision.FLOAT32, **options)
        package.short_description = f"{source.spec.name}: human pose heatmaps ({source.spec.keypoints} keypoints)"
        package.version = "1"
        package.save(str(path))
        return Written(tools=installed_versions("coremltools", "torch"), details={"minimum_deployment_target": system})


TARGET = CoreMLTarget()
