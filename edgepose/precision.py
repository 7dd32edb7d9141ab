"""``Precision``: what is known of each precision that a file can have, in one place.

Documents and options hold a precision's *name*; whoever needs to know something about it asks the object for it (``get_precision``). What
depends on the format as well (which precisions it holds, and what its runtime multiplies on a CPU) stands here too, per format.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from edgepose.errors import InputError

__all__ = ["PRECISIONS", "Arithmetic", "Decision", "OnFormat", "Operands", "Precision", "PrecisionName", "get_precision", "held_precisions"]

PrecisionName = Literal["fp32", "fp16", "int8", "int8-full", "int8-dynamic", "int4"]

Decision = Literal["int8", "int8-dynamic", "int4"]
"""What is decided about a model once; one decision may be written in several precisions."""

Arithmetic = Literal["f32", "int8"]
"""What the matrix products of a file are computed in."""

Operands = Literal["exact", "static", "tensor", "row", "group"]
"""How a layer's input is rounded: not at all, to a range from calibration, or to one that is found as it runs: of the whole tensor, of each
row, or of each group of 32 values in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnFormat:
    """A precision in one format.

    Attributes:
        arithmetic: what the format's runtime multiplies in on a CPU; ``None`` where it has none there.
        operands: how that runtime rounds the inputs of quantized layers.
        rounds_outputs: whether its integer kernels round the outputs of quantized layers as well.
        rounds_scales: whether they take the scales of groups of weights in bfloat16.
        halves: whether every value between two operators is rounded to half precision.
    """

    arithmetic: Arithmetic | None
    operands: Operands = "exact"
    rounds_outputs: bool = False
    rounds_scales: bool = False
    halves: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """A precision of files.

    Attributes:
        name: as documents, options and file names spell it.
        weight_bits: bits of a weight in most layers.
        decision: the decision that a file is made from; ``None`` where nothing is decided, because the file holds the model's own floats.
        calibrated: whether the decision holds ranges of activations, for which photos are needed.
        whole: whether nothing in the file is float: the residual stream, norms and attention are integers too.
        formats: what it is in each format that holds it, by the format's name.
    """

    name: PrecisionName
    weight_bits: int
    decision: Decision | None = None
    calibrated: bool = False
    whole: bool = False
    formats: Mapping[str, OnFormat] = field(hash=False)

    @property
    def bytes_per_weight(self) -> float:
        """Size of a weight in a file."""
        return self.weight_bits / 8

    @property
    def quantized(self) -> bool:
        """Whether its weights are integers, which someone has decided about."""
        return self.decision is not None

    @property
    def float_constants(self) -> Literal["float32", "float16"]:
        """How a file stores what isn't an integer."""
        return "float32" if self.weight_bits == 32 else "float16"


_FLOAT = OnFormat(arithmetic="f32")

_ALL = (
    Precision(
        name="fp32",
        weight_bits=32,
        formats=MappingProxyType(
            {"openvino": _FLOAT, "onnx": _FLOAT, "litert": _FLOAT, "coreml": OnFormat(arithmetic=None), "safetensors": _FLOAT}
        ),
    ),
    Precision(
        name="fp16",
        weight_bits=16,
        # Widened on CPUs: weights when they load (OpenVINO, TFLite), or what goes in and out of each operator (ONNX Runtime).
        formats=MappingProxyType(
            {
                "openvino": _FLOAT,
                "onnx": OnFormat(arithmetic="f32", halves=True),
                "litert": _FLOAT,
                "coreml": OnFormat(arithmetic=None, halves=True),
            }
        ),
    ),
    Precision(
        name="int8",
        weight_bits=8,
        decision="int8",
        calibrated=True,
        formats=MappingProxyType(
            {
                "openvino": OnFormat(arithmetic="int8", operands="static"),
                "onnx": OnFormat(arithmetic="int8", operands="static"),
                "litert": OnFormat(arithmetic="int8", operands="static", rounds_outputs=True),
                "coreml": OnFormat(arithmetic=None, operands="static", halves=True),
            }
        ),
    ),
    Precision(
        name="int8-full",
        weight_bits=8,
        decision="int8",
        calibrated=True,
        whole=True,
        formats=MappingProxyType({"litert": OnFormat(arithmetic="int8", operands="static", rounds_outputs=True)}),
    ),
    Precision(
        name="int8-dynamic",
        weight_bits=8,
        decision="int8-dynamic",
        formats=MappingProxyType(
            {
                # Weights become floats again; but where the CPU has VNNI or AMX, OpenVINO rounds activations as they come.
                "openvino": OnFormat(arithmetic="f32", operands="group"),
                "onnx": OnFormat(arithmetic="int8", operands="tensor"),
                "litert": OnFormat(arithmetic="int8", operands="row"),
                "coreml": OnFormat(arithmetic=None, halves=True),
            }
        ),
    ),
    Precision(
        name="int4",
        weight_bits=4,
        decision="int4",
        formats=MappingProxyType(
            {
                # As above; ONNX Runtime's kernel for 4-bit weights rounds activations by groups as well, and XNNPACK's takes the scales
                # of groups of weights in bfloat16.
                "openvino": OnFormat(arithmetic="f32", operands="group"),
                "onnx": OnFormat(arithmetic="f32", operands="group"),
                "litert": OnFormat(arithmetic="int8", operands="row", rounds_scales=True),
                "coreml": OnFormat(arithmetic=None, halves=True),
            }
        ),
    ),
)

PRECISIONS: Mapping[str, Precision] = MappingProxyType({precision.name: precision for precision in _ALL})
"""Every precision, by name, from the most exact on."""


def get_precision(name: str) -> Precision:
    """Return a precision by name.

    Raises:
        InputError: there is none of that name.
    """
    if name not in PRECISIONS:
        raise InputError(f"no precision is called {name!r}; allowed: {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def held_precisions(format: str) -> tuple[Precision, ...]:  # noqa: A002
    """Return the precisions that files of a format (``openvino``, ``onnx``, ``litert``, ``coreml``) can have."""
    return tuple(precision for precision in _ALL if format in precision.formats)
