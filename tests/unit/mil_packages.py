"""Small Core ML packages for the tests of the MIL evaluator, written by coremltools."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepose.runtime.mil import MilProgram
from edgepose.runtime.mil.elements import Array

# Importing coremltools logs a dozen warnings about parts that only macOS has.
logging.disable(logging.WARNING)
ct = pytest.importorskip("coremltools")
logging.disable(logging.NOTSET)
logging.getLogger("coremltools").setLevel(logging.ERROR)

from coremltools.converters.mil import Builder as mb  # noqa: E402, N813
from coremltools.converters.mil.mil import get_new_symbol, types  # noqa: E402

__all__ = ["IOS16", "IOS17", "IOS18", "ct", "evaluate", "get_new_symbol", "mb", "noise", "save", "save_convolution", "types"]

KINDS = {"float32": types.fp32, "float16": types.fp16, "int32": types.int32}
IOS16, IOS17, IOS18 = ct.target.iOS16, ct.target.iOS17, ct.target.iOS18


def save(path: Path, program: Any, target: Any = IOS17, **options: Any) -> Path:
    """Write a program as it is: none of coremltools' optimization passes runs."""
    package = ct.convert(
        program,
        convert_to="mlprogram",
        pass_pipeline=ct.PassPipeline.EMPTY,
        minimum_deployment_target=target,
        compute_units=ct.ComputeUnit.CPU_ONLY,
        skip_model_load=True,
        **options,
    )
    package.save(str(path))
    return path


def evaluate(folder: Path, function: Callable[..., Any], inputs: Mapping[str, Array], target: Any = IOS17) -> list[Array]:
    """Build a program of the named inputs, save it, read it back and run it."""
    specs = [mb.TensorSpec(value.shape, KINDS[str(value.dtype)]) for value in inputs.values()]
    program = mb.program(input_specs=specs, opset_version=target)(function)
    return list(MilProgram.read(save(folder / "built.mlpackage", program, target)).run(inputs).values())


def save_convolution(folder: Path) -> Path:
    """Save a package with one input ``x`` (1, 3, 16, 16), one output ``y`` (1, 4, 16, 16), and its weights in the weight file."""

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 16, 16))], opset_version=IOS17)
    def program(x: Any) -> Any:
        y = mb.conv(x=x, weight=noise(4, 3, 3, 3), pad_type="custom", pad=[1, 1, 1, 1])
        return mb.relu(x=y, name="y")

    return save(folder / "convolution.mlpackage", program)


def noise(*shape: int, seed: int = 0) -> Array:
    """Return seeded normal float32 values."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
