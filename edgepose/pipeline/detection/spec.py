"""``DetectorSpec``: everything needed to use a detector's file; it stands in the file, where a pose model's ``ModelSpec`` stands."""

import json
from dataclasses import dataclass, field
from typing import Literal

from edgepose.document import describe, from_document, parse_json, to_document
from edgepose.errors import SpecError
from edgepose.precision import PrecisionName
from edgepose.spec import Provenance

__all__ = ["DETECTOR_SPEC_VERSION", "DetectorExport", "DetectorInput", "DetectorParity", "DetectorSpec"]

DETECTOR_SPEC_VERSION = 1
_KEY = "edgepose_detector"
_SIDES = range(32, 2048 + 1, 32)
_MAX_CLASSES = 10_000
_MAX_STRIDES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorInput:
    """What the network takes: float32 (1, 3, height, width), ``(pixel - mean) / std`` of pixels in 0…255.

    The picture is scaled with its proportions into the upper left; beside and below it everything has the value ``pad`` before the mean is
    taken off.

    Attributes:
        height: pixels, a multiple of 32.
        width: pixels, a multiple of 32.
        channels: their order.
        mean: in the order of ``channels``.
        std: in the order of ``channels``.
        pad: 0 to 255.
    """

    height: int
    width: int
    channels: Literal["bgr", "rgb"] = "bgr"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    pad: int = 114

    def __post_init__(self) -> None:
        for name, side in (("height", self.height), ("width", self.width)):
            if side not in _SIDES:
                raise SpecError(f"a detector's input {name} is {side}; allowed: multiples of 32 from {_SIDES[0]} to {_SIDES[-1]}")
        if min(self.std) <= 0:
            raise SpecError(f"a detector's std is {self.std}; every value must be above zero")
        if not 0 <= self.pad <= 255:
            raise SpecError(f"a detector's pad is {self.pad}; allowed: 0 to 255")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorParity:
    """How far an executed file was from the published one on real pictures.

    Attributes:
        pictures: how many were compared.
        people: boxes that the published one found in them at the default score.
        missed: of those, how many the file has no box for.
        max_abs_score: largest difference of a score, over all cells.
        max_shift_px: largest distance of a box's side from the published one's, in pixels of the input; ``None`` where there are no boxes.
        runtime: what executed the file, e.g. ``openvino 2026.2.0 (CPU)``.
    """

    pictures: int
    people: int
    missed: int
    max_abs_score: float
    max_shift_px: float | None
    runtime: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorExport:
    """How a converted file was made.

    Attributes:
        target: ``openvino``, ``onnx``, ``litert`` or ``coreml``.
        precision: of weights and arithmetic.
        tools: name → version of the packages that wrote the file.
        details: target-specific facts.
        parity: the comparisons, one for each runtime that executed the file; empty only while it is being made.
    """

    target: str
    precision: PrecisionName
    tools: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    parity: tuple[DetectorParity, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorSpec:
    """Everything needed to use a detector without the code that trained it.

    ``cells`` is a network that ends before boxes are placed and suppressed, which ``decoding`` does:

    - ``rtmdet`` has two outputs, float32: ``scores`` (1, N, classes), probabilities; and ``distances`` (1, N, 4) from the cell's upper left
      corner to the left, top, right and bottom side, in pixels of the input;
    - ``yolox`` has one, float32: ``rows`` (1, N, 5 + classes): the centre's place in its cell (x, y, in strides), the logarithms of width
      and height in strides, and probabilities: that there is something, and what it would be.

    N are the cells of the grids of all ``strides``, in their order, each row by row from the upper left.

    ``suppressed`` is RTMDet as mmdeploy exports it: ``dets`` (1, M, 5), left, top, right, bottom and score; and ``labels`` (1, M).

    Attributes:
        name: short name, such as ``rtmdet-nano``.
        kind: the family, which says how boxes are decoded.
        form: where the network ends.
        input: what it takes.
        classes: how many it knows.
        person: which of them people are.
        strides: pixels of the input from one cell to the next.
        overlap: intersection over union from which two boxes are the same person; where the network doesn't suppress them itself.
        min_score: score from which a box is a person, unless something else is asked for.
        provenance: where the weights come from.
        export: how the file was made; ``None`` for one as published.
    """

    name: str
    kind: Literal["rtmdet", "yolox"]
    input: DetectorInput
    provenance: Provenance
    min_score: float
    overlap: float
    form: Literal["cells", "suppressed"] = "cells"
    classes: int = 1
    person: int = 0
    strides: tuple[int, ...] = (8, 16, 32)
    export: DetectorExport | None = None

    def __post_init__(self) -> None:
        if not self.name or not all(letter.isalnum() or letter in "-_.+" for letter in self.name) or self.name.startswith("."):
            raise SpecError(f"a detector's name is {describe(self.name)}; allowed: letters, digits, '-', '_', '.', '+'")
        if not 1 <= self.classes <= _MAX_CLASSES or not 0 <= self.person < self.classes:
            raise SpecError(f"a detector's people are class {self.person} of {self.classes}; allowed: one of up to {_MAX_CLASSES}")
        if not 1 <= len(self.strides) <= _MAX_STRIDES or not all(stride in (4, 8, 16, 32) for stride in self.strides):
            raise SpecError(f"a detector's strides are {self.strides[:_MAX_STRIDES]}; allowed: up to {_MAX_STRIDES} of 4, 8, 16 and 32")
        if self.form == "suppressed" and self.kind != "rtmdet":
            raise SpecError(f"a detector of kind {self.kind!r} has the form 'suppressed'; allowed: 'cells'")
        for name, value in (("min_score", self.min_score), ("overlap", self.overlap)):
            if not 0 <= value <= 1:
                raise SpecError(f"a detector's {name} is {value}; allowed: 0 to 1")

    @property
    def cells(self) -> int:
        """N, the number of cells of all grids."""
        return sum((self.input.height // stride) * (self.input.width // stride) for stride in self.strides)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Batch, channels, height and width."""
        return 1, 3, self.input.height, self.input.width

    @property
    def outputs(self) -> dict[str, tuple[int | None, ...]]:
        """Name → shape of each output, in the order in which ``decoding`` takes them; ``None`` depends on the picture."""
        if self.form == "suppressed":
            return {"dets": (1, None, 5), "labels": (1, None)}
        if self.kind == "rtmdet":
            return {"scores": (1, self.cells, self.classes), "distances": (1, self.cells, 4)}
        return {"rows": (1, self.cells, 5 + self.classes)}

    def to_json(self) -> str:
        """Return compact JSON text, ASCII only, with the format's version."""
        return json.dumps({_KEY: DETECTOR_SPEC_VERSION} | to_document(self), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str = "detector spec") -> "DetectorSpec":
        """Read what ``to_json`` wrote.

        Args:
            text: the JSON text.
            where: how error messages name the document.

        Raises:
            SpecError: the text isn't JSON, is no detector's spec or of another version, or a field is missing, unknown or wrong.
        """
        document = parse_json(text, where=where)
        if isinstance(document, dict) and "edgepose_spec" in document:
            raise SpecError(f"{where} is that of a pose model, not of a detector")
        if not isinstance(document, dict) or _KEY not in document:
            raise SpecError(f"{where} isn't that of a detector")
        version = document[_KEY]
        if version != DETECTOR_SPEC_VERSION:
            raise SpecError(f"{where} has version {describe(version)}; this edgepose reads {DETECTOR_SPEC_VERSION}: convert it again")
        return from_document(cls, {key: value for key, value in document.items() if key != _KEY}, where=where)
