"""``Quantization``: what was decided for a model, with the numbers behind it, as one JSON document.

The document has two parts. ``recipe`` is what a person reads and edits: which layers stay in float, how many bits, which of NNCF's
algorithms. ``statistics`` is what calibration measured: ranges, scales and biases. Both together replay the decision for every device
format, without the photos and without NNCF.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgepose.document import describe, from_document, parse_json, read_bytes, to_document
from edgepose.errors import EdgePoseError, SpecError
from edgepose.files import staged_file
from edgepose.precision import Decision

__all__ = [
    "QUANTIZATION_VERSION",
    "ActivationRange",
    "Calibration",
    "ChannelRanges",
    "LayerSensitivity",
    "LayerStatistics",
    "NormStatistics",
    "Quantization",
    "QuantizationRecipe",
    "Statistics",
]

QUANTIZATION_VERSION = 1

_MAX_BYTES = 256 * 2**20
_LEVELS = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationRecipe:
    """What is quantized, and how.

    Attributes:
        precision: ``int8``: weights and activations, with ranges from calibration (lowered as ``int8`` and ``int8-full``);
            ``int8-dynamic``: weights, with activations quantized at run time where the runtime can; ``int4``: weights alone.
        float_layers: names of layers that stay in float.
        automatic_float: whether calibration may add layers to ``float_layers`` that dominate the error of the whole network.
        smooth_quant_alpha: SmoothQuant's migration strength for ``int8``, 0…1, or ``None`` for no smoothing.
        bias_correction: whether NNCF corrects biases for the mean error of the quantized weights (``int8``).
        reduce_range: whether ``int8`` weights use half of their range, so that the 16-bit sums of pairs in x86 CPUs without VNNI can't
            saturate. Costs almost no accuracy; without it those CPUs compute something else than what was calibrated.
        calibration_crops: the largest number of crops to calibrate on (``int8``).
        group_size: number of inputs that share one scale in ``int4`` weights.
    """

    precision: Decision
    float_layers: tuple[str, ...] = ()
    automatic_float: bool = True
    smooth_quant_alpha: float | None = 0.95
    bias_correction: bool = True
    reduce_range: bool = True
    calibration_crops: int = 300
    group_size: int = 32

    def __post_init__(self) -> None:
        if self.smooth_quant_alpha is not None and not 0 <= self.smooth_quant_alpha <= 1:
            raise SpecError(f"recipe.smooth_quant_alpha is {self.smooth_quant_alpha}; allowed: 0 to 1, or null")
        if not 1 <= self.calibration_crops <= 100_000:
            raise SpecError(f"recipe.calibration_crops is {self.calibration_crops}; allowed: 1 to 100000")
        if self.group_size not in (32, 64, 128):
            raise SpecError(f"recipe.group_size is {self.group_size}; allowed: 32, 64, 128")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationRange:
    """The range that 256 levels of a tensor span; zero is one of them.

    Attributes:
        low: at most zero.
        high: at least zero, above ``low``.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (self.low <= 0 <= self.high and self.high - self.low > 0):
            raise SpecError(f"activation range is {self.low} to {self.high}; it must hold zero and more than that")

    @property
    def scale(self) -> float:
        """Distance between two levels."""
        return (self.high - self.low) / _LEVELS

    @property
    def zero_point(self) -> int:
        """The unsigned level, 0…255, that stands for zero; the signed one is 128 less."""
        return round(-self.low / self.scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRanges:
    """The smallest and largest value of each output channel.

    Attributes:
        low: one per channel, at most zero.
        high: one per channel, at least zero.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or max(self.low, default=0) > 0 or min(self.high, default=0) < 0:
            raise SpecError("channel ranges must be two lists of equal length, the low ones at most zero, the high ones at least zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerStatistics:
    """The numbers of one layer.

    Attributes:
        weight_bits: 8, or 4 for ``int4`` weights, which share scales in groups.
        weight_scale: real value of one step of the integer weights: one per output channel, or, for 4 bits, one per output channel and
            group in row-major order.
        bias: the layer's bias after correction, one per output channel.
        input: the range of its quantized input (``int8``).
        output: the ranges of its output, for runtimes whose integer kernels also write integers (``int8``).
    """

    weight_scale: tuple[float, ...]
    bias: tuple[float, ...]
    weight_bits: Literal[4, 8] = 8
    input: ActivationRange | None = None
    output: ChannelRanges | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NormStatistics:
    """What a LayerNorm sees, for files that hold no float at all.

    Attributes:
        largest_input: largest absolute value in the residual stream.
        least_sum: smallest sum of squares of a token's channels.
        largest_sum: largest sum of squares of a token's channels.
        largest_output: largest absolute value after the division by the standard deviation, before the norm's own weight.
    """

    largest_input: float
    least_sum: float
    largest_sum: float
    largest_output: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSensitivity:
    """How much quantizing one layer alone changes the heatmaps.

    Attributes:
        layer: its name.
        error: root mean square of the change, relative to that of the heatmaps.
    """

    layer: str
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What the statistics were taken from.

    Attributes:
        photos: number of photos that were read.
        skipped: number of photos that couldn't be used.
        crops: number of person crops that calibration ran on.
        sha256: hash of those crops, in hex.
    """

    photos: int
    skipped: int
    crops: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What calibration measured and NNCF computed from it.

    Attributes:
        layers: by layer name; those that aren't here stay in float.
        smoothing: SmoothQuant's factors, by layer name: what the layer's input channels are multiplied by, and its weights divided by.
            They are folded into the layer before.
        norms: by name of the LayerNorm (``int8``).
        scores: by name of the attention: the largest absolute score before its softmax (``int8``).
        calibration: where activations were measured; ``None`` for decisions about weights alone.
        sensitivity: the layers that were quantized, the most sensitive first.
        tools: name → version of the packages that decided.
    """

    layers: dict[str, LayerStatistics]
    smoothing: dict[str, tuple[float, ...]] = field(default_factory=dict)
    norms: dict[str, NormStatistics] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    calibration: Calibration | None = None
    sensitivity: tuple[LayerSensitivity, ...] = ()
    tools: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """One decision about one model.

    Attributes:
        model: name of the model.
        weights_sha256: hash of the model's weights (``fingerprint``): a decision holds for no others.
        recipe: what was asked for, and what stays in float.
        statistics: the numbers.
    """

    model: str
    weights_sha256: str
    recipe: QuantizationRecipe
    statistics: Statistics

    def to_json(self) -> str:
        """Return JSON text: one line for each recipe field and each row of numbers."""
        document = {"edgepose_quantization": QUANTIZATION_VERSION} | to_document(self)
        return _indent(document) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str = "recipe") -> "Quantization":
        """Read what ``to_json`` wrote; ``where`` names it in errors.

        Raises:
            SpecError: the text isn't JSON, is of another version, or a field is missing, unknown or wrong.
        """
        document = parse_json(text, where=where)
        if not isinstance(document, dict) or "edgepose_quantization" not in document:
            raise SpecError(f"{where} isn't an edgepose quantization recipe: it has no field 'edgepose_quantization'")
        version = document.pop("edgepose_quantization")
        if version != QUANTIZATION_VERSION:
            raise SpecError(f"{where} has version {describe(version)}; this edgepose reads version {QUANTIZATION_VERSION}")
        return from_document(cls, document, where=where)

    @classmethod
    def load(cls, path: Path) -> "Quantization":
        """Read a file.

        Raises:
            InputError: it can't be read, or is implausibly large.
            SpecError: it isn't what ``save`` wrote.
        """
        return cls.from_json(read_bytes(path, what="the quantization recipe", max_bytes=_MAX_BYTES), where=path.name)

    def save(self, path: Path) -> None:
        """Write a file, whole or not at all.

        Raises:
            EdgePoseError: it can't be written.
        """
        try:
            with staged_file(path) as staged:
                staged.write_text(self.to_json(), encoding="utf-8")
        except OSError as error:
            raise EdgePoseError(f"{path} can't be written: {error.strerror or error}") from None

    def sha256(self) -> str:
        """Return the hash, in hex, of the document."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def with_float(self, layers: tuple[str, ...]) -> "Quantization":
        """Return a copy in which ``layers`` stay in float too."""
        names = tuple(dict.fromkeys((*self.recipe.float_layers, *layers)))
        return dataclasses.replace(self, recipe=dataclasses.replace(self.recipe, float_layers=names))


def _indent(value: object, depth: int = 0) -> str:
    """Format JSON with objects spread over lines and lists of numbers on one."""
    pad = "  " * (depth + 1)
    if isinstance(value, dict) and value:
        rows = (f"{pad}{json.dumps(key)}: {_indent(item, depth + 1)}" for key, item in value.items())
        return "{\n" + ",\n".join(rows) + "\n" + "  " * depth + "}"
    if isinstance(value, list) and any(isinstance(item, dict | str) for item in value):
        return "[\n" + ",\n".join(f"{pad}{json.dumps(item)}" for item in value) + "\n" + "  " * depth + "]"
    return json.dumps(value, allow_nan=False)
