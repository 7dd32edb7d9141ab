"""How far a file may be from its reference, per precision and format: a few times what right files are off, and no more.

Files that hold the model's floats are held to fixed figures. How far a quantized file is off depends on the model: rounding a value to the
next level instead of this one is the same small error in any network, and a deep trained one forgets it where a small random one makes a
hundredth of the heatmap of it. So quantized files are held to a multiple of what such errors do to the very model (``noise``). The measured
multiples are in ``docs/quantization.md``; ``python -m edgepose_benchmarks.floors`` measures them again.
"""

from dataclasses import dataclass

from edgepose.precision import Precision, PrecisionName

__all__ = ["Tolerance", "quantized_tolerance", "tolerance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far an artifact may be from its reference; ``None`` where a figure isn't held to anything.

    Attributes:
        relative: largest heatmap difference, relative to the reference's largest absolute value.
        shift_px: mean keypoint distance in input pixels.
        relative_rms: root mean square of the heatmap difference, relative to that of the reference.
    """

    relative: float | None = None
    shift_px: float | None = None
    relative_rms: float | None = None


_SINGLE = Tolerance(relative=2e-5, shift_px=0.02)
"""Right files of ViTPose-Ti and -S were off by 1e-6 to 2e-6; deeper models and other orders of adding have room."""

_HALF_WEIGHTS = Tolerance(relative=2e-3, shift_px=0.2)
"""Weights rounded to half precision, arithmetic in single: off by up to 5e-4, and by 0.1 px where a heatmap is flat."""

_HALF_ARITHMETIC = Tolerance(relative=1e-2, shift_px=0.2)
"""Every value rounded to half precision: off by up to 1.4e-3 in twelve blocks; ViTPose-H has 32 of them, and larger values."""

_TIMES_NOISE = 3.0
"""Right files were off by 0.03 to 2.2 times the noise, and most by once. The rest is room for CPUs with other integer kernels."""

# What the noise leaves out: int8-full rounds everything between its layers, too, and was off by 1.1 to 3.5 times; XNNPACK's 4-bit kernels
# by up to 2.6 times.
_MORE: dict[tuple[PrecisionName, str], float] = {("int8-full", "litert"): 7.0, ("int4", "litert"): 4.0}

_LEAST = 1e-3
"""What any file may be off: below it a single value that falls to the other side of a rounding shows."""

_MOST = 0.3
"""Where rounding explains more than that, the file would say little about the model."""

_AGAINST_FLOAT = Tolerance(relative_rms=0.5)
"""What any quantized file is held to when only the float model is at hand: it computes the same network."""


def tolerance(precision: Precision, format: str) -> Tolerance:  # noqa: A002
    """Return what files of ``precision`` are held to against the float model.

    Args:
        precision: of the file.
        format: ``openvino``, ``onnx``, ``litert``, ``coreml``, or ``safetensors`` for what isn't converted.
    """
    if precision.quantized:
        return _AGAINST_FLOAT
    if precision.float_constants == "float32":
        return _SINGLE
    return _HALF_ARITHMETIC if precision.formats[format].halves else _HALF_WEIGHTS


def quantized_tolerance(precision: Precision, format: str, noise: float) -> Tolerance:  # noqa: A002
    """Return what a quantized file is held to against the simulation of its decision.

    Args:
        precision: of the file.
        format: ``openvino``, ``onnx``, ``litert`` or ``coreml``.
        noise: what rounding alone changes, as ``measure_noise`` returns it.
    """
    times = _MORE.get((precision.name, format), _TIMES_NOISE)
    return Tolerance(relative_rms=min(max(times * noise, _LEAST), _MOST))
