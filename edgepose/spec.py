"""``ModelSpec``: everything needed to use a model without the code that trained it.

A spec is a frozen dataclass with a versioned JSON form. It is written *into* every file edgepose makes, so that one file is enough to run:
what goes in (size, normalization), how heatmaps become keypoints (codec, skeleton), where the weights come from, and, for a converted
file, how it was made and how far its outputs were from the original model's when it was executed.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Literal

from edgepose.document import describe, from_document, parse_json, to_document
from edgepose.errors import SpecError
from edgepose.precision import PrecisionName
from edgepose.skeleton import Skeleton

__all__ = [
    "SPEC_VERSION",
    "Architecture",
    "Codec",
    "ExportRecord",
    "HalfRecord",
    "InputSpec",
    "ModelSpec",
    "Parity",
    "Provenance",
    "QuantizationRecord",
    "describe_half",
]

SPEC_VERSION = 1
HEATMAP_STRIDE = 4
MAX_INPUT_SIDE = 4096
MAX_DIM = 8192
MAX_DEPTH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What the network takes: float32 (N, 3, height, width), RGB, ``(pixel / 255 - mean) / std`` per channel.

    Attributes:
        height: pixels, a multiple of 16.
        width: pixels, a multiple of 16.
        mean: per channel, of pixels in 0…1.
        std: per channel, of pixels in 0…1.
    """

    height: int = 256
    width: int = 192
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        for side, value in (("height", self.height), ("width", self.width)):
            if value % 16 or not 32 <= value <= MAX_INPUT_SIDE:
                raise SpecError(f"input {side} is {value}; allowed: multiples of 16 from 32 to {MAX_INPUT_SIDE}")
        if min(self.std) <= 0:
            raise SpecError(f"input std is {self.std}; every value must be above zero")

    @property
    def heatmap_size(self) -> tuple[int, int]:
        """Height and width of the heatmaps."""
        return self.height // HEATMAP_STRIDE, self.width // HEATMAP_STRIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How a box becomes a crop and heatmaps become keypoints: a property of how the head was trained.

    Attributes:
        kind: ``udp``: unbiased (UDP) crop geometry with DARK refinement; ``standard``: mmpose's classic affine crop, a quarter-pixel
            offset towards the higher neighbour, and mirrored heatmaps shifted by one pixel in the flip test.
        padding: the box, grown to the input's aspect ratio, is enlarged by this factor.
        blur_kernel: side of the Gaussian kernel, in heatmap pixels, that smooths heatmaps before DARK (``udp`` only).
    """

    kind: Literal["udp", "standard"] = "udp"
    padding: float = 1.25
    blur_kernel: int = 11

    def __post_init__(self) -> None:
        if not 0.1 <= self.padding <= 10:
            raise SpecError(f"codec padding is {self.padding}; allowed: 0.1 to 10")
        if self.blur_kernel % 2 == 0 or not 1 <= self.blur_kernel <= 63:
            raise SpecError(f"codec blur_kernel is {self.blur_kernel}; allowed: odd numbers from 1 to 63")


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The network's shape: what a checkpoint reader inferred, and what rebuilds the torch model.

    Attributes:
        dim: channels of the token stream.
        depth: number of transformer blocks.
        heads: attention heads.
        head: ``classic`` or ``simple``.
        layer_norm_eps: epsilon of every LayerNorm (1e-6 in ViTPose, 1e-12 in Hugging Face's configurations).
    """

    dim: int
    depth: int
    heads: int
    head: Literal["classic", "simple"]
    layer_norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        if min(self.dim, self.depth, self.heads) < 1 or self.dim % self.heads:
            raise SpecError(f"architecture has dim {self.dim}, depth {self.depth}, heads {self.heads}; heads must divide dim")
        # ViTPose-H has 1280 channels and 32 blocks of 16 heads; nobody waits for a model to be made of a number out of a hostile file.
        if self.dim > MAX_DIM or self.depth > MAX_DEPTH:
            raise SpecError(f"architecture has dim {self.dim} and depth {self.depth}; allowed: up to {MAX_DIM} and {MAX_DEPTH}")
        if not 0 < self.layer_norm_eps < 1:
            raise SpecError(f"architecture has layer_norm_eps {self.layer_norm_eps}; allowed: between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where the weights come from.

    Attributes:
        source: file name or hub id of the checkpoint, never a path.
        sha256: hash of the checkpoint's weight file, in hex; empty where there is none.
        layout: ``vitpose``, ``mmpose``, ``huggingface``, ``edgepose``: the key layout it was read in.
        dataset: the data set whose head, and expert for ViTPose+, was taken.
        licence: SPDX id where known, else empty.
        notes: anything a user of the weights should know.
    """

    source: str
    sha256: str = ""
    layout: str = "edgepose"
    dataset: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far an executed artifact was from a reference on real crops.

    Attributes:
        crops: number of crops compared.
        max_abs: largest absolute heatmap difference.
        relative: ``max_abs`` over the reference's largest absolute value.
        shift_px: mean keypoint distance in input pixels, over the keypoints compared; ``None`` where there are none.
        max_shift_px: largest such distance, or ``None``.
        compared: number of keypoints in ``shift_px``.
        undecided: keypoints left out. For fp32 and fp16: those whose reference heatmap has a second peak within twice ``max_abs`` of the
            first, or one so flat that noise of that size moves it: an untrained head's, say. For quantized files: those that the float
            model scores below 0.2.
        runtime: what executed the artifact, e.g. ``onnxruntime 1.32.0 (CPUExecutionProvider)``.
        reference: ``float``: the float32 torch model; ``simulated``: the torch model with the rounding that NNCF decided.
        relative_rms: root mean square of the heatmap difference over that of the reference; ``None`` for fp32 and fp16.
        p95_shift_px: 95th percentile of the keypoint distances, or ``None``.
        moved: share of the keypoints compared that moved by more than 2 pixels, or ``None``.
        allowed_rms: what ``relative_rms`` was held to: a few times what rounding alone changes in this model; ``None`` where it wasn't.
    """

    crops: int
    max_abs: float
    relative: float
    shift_px: float | None
    max_shift_px: float | None
    compared: int
    undecided: int
    runtime: str
    reference: Literal["float", "simulated"] = "float"
    relative_rms: float | None = None
    p95_shift_px: float | None = None
    moved: float | None = None
    allowed_rms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationRecord:
    """The decision that a quantized file was made from.

    Attributes:
        sha256: hash of the decision's JSON document, in hex; files of one decision have the same.
        quantized_layers: number of layers with integer weights.
        float_layers: the layers that stay in float (16 bits in ``int8-full``).
        calibration_crops: number of crops that it was calibrated on, or ``None`` for decisions about weights alone.
    """

    sha256: str
    quantized_layers: int
    float_layers: tuple[str, ...]
    calibration_crops: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfRecord:
    """What the network does in half precision, evaluated operator by operator before the file was written.

    Attributes:
        fit: whether it is for devices that compute in half precision.
        operator: the first that overflows there, or the one with the largest value.
        largest: that operator's largest absolute operand, weight or result on the crops.
        relative: largest heatmap error in half precision, relative to the largest value; ``None`` where heatmaps aren't finite.
        float32: operators that the file keeps in float32.
        stream_scale: what the residual stream is scaled by.
        note: what a user of the file should know, or empty.
    """

    fit: bool
    operator: str
    largest: float
    relative: float | None
    float32: tuple[str, ...] = ()
    stream_scale: float = 1.0
    note: str = ""

    def __post_init__(self) -> None:
        if not 2.0**-24 <= self.stream_scale <= 1:
            raise SpecError(f"stream_scale is {self.stream_scale}; allowed: 2^-24 to 1")


def describe_half(half: HalfRecord) -> str:
    """Return in words what a user of the file should know, or an empty string."""
    parts = [] if half.fit else ["not for devices that compute in half precision"]
    if half.float32:
        parts.append(f"in float32: {', '.join(half.float32)}")
    if half.stream_scale != 1:
        parts.append(
            f"the residual stream is scaled by 1/{1 / half.stream_scale:.0f}, which changes no result and keeps it in half precision"
        )
    return "; ".join([*parts, half.note] if half.note else parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRecord:
    """How a converted file was made, and what executing it showed.

    Attributes:
        target: ``openvino``, ``onnx``, ``litert`` or ``coreml``.
        precision: of weights and arithmetic: the name of a ``Precision``.
        batch: the static batch size, or ``None`` where any size runs.
        tools: name → version of the packages that wrote the file.
        details: target-specific facts, e.g. the ONNX opset.
        parity: the comparisons made before the file got its name, one per runtime that executed it, and for quantized files two: with the
            simulated and with the float model; empty only while it is being made.
        quantization: the decision behind a quantized file.
        half: what the network does in half precision; ``None`` for fp32, integers alone, and files of before.
    """

    target: str
    precision: PrecisionName
    batch: int | None
    tools: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    parity: tuple[Parity, ...] = ()
    quantization: QuantizationRecord | None = None
    half: HalfRecord | None = None

    def __post_init__(self) -> None:
        if self.batch is not None and not 1 <= self.batch <= 4096:
            raise SpecError(f"batch is {self.batch}; allowed: 1 to 4096, or null for dynamic")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Everything needed to use a model without its training code.

    Attributes:
        name: short name, used for file names, e.g. ``vitpose-s-coco``.
        architecture: the network's shape.
        skeleton: the keypoints, in the order of the heatmaps.
        input: size and normalization.
        codec: crop geometry and heatmap decoding.
        provenance: where the weights come from.
        export: how the file was made; ``None`` for weights that have not been converted.
    """

    name: str
    architecture: Architecture
    skeleton: Skeleton
    provenance: Provenance
    input: InputSpec = InputSpec()
    codec: Codec = Codec()
    export: ExportRecord | None = None

    def __post_init__(self) -> None:
        if not self.name or not all(letter.isalnum() or letter in "-_.+" for letter in self.name) or self.name.startswith("."):
            raise SpecError(f"model name is {self.name!r}; allowed: letters, digits, '-', '_', '.', '+'")

    @property
    def keypoints(self) -> int:
        """Number of keypoints, K."""
        return len(self.skeleton.keypoints)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one input."""
        return 3, self.input.height, self.input.width

    @property
    def heatmap_shape(self) -> tuple[int, int, int]:
        """Keypoints, height and width of one output."""
        return self.keypoints, *self.input.heatmap_size

    def to_json(self) -> str:
        """Return compact JSON text, ASCII only, with the format's version."""
        return json.dumps({"edgepose_spec": SPEC_VERSION} | to_document(self), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str = "spec") -> "ModelSpec":
        """Read what ``to_json`` wrote.

        Args:
            text: the JSON text.
            where: how error messages name the document.

        Raises:
            SpecError: the text isn't JSON, is of another version, or a field is missing, unknown or wrong.
        """
        return cls.from_document(parse_json(text, where=where), where=where)

    @classmethod
    def from_document(cls, document: object, *, where: str = "spec") -> "ModelSpec":
        """Read the parsed form of what ``to_json`` wrote; see ``from_json``."""
        if isinstance(document, dict) and "edgepose_detector" in document:
            raise SpecError(f"{where} is that of a detector of people, not of a pose model: give the file as the detector")
        if not isinstance(document, dict) or "edgepose_spec" not in document:
            raise SpecError(f"{where} isn't an edgepose spec")
        version = document["edgepose_spec"]
        if version != SPEC_VERSION:
            raise SpecError(f"{where} has version {describe(version)}; this edgepose reads version {SPEC_VERSION}: convert the model again")
        return from_document(cls, {key: value for key, value in document.items() if key != "edgepose_spec"}, where=where)

    def replace_export(self, export: ExportRecord) -> "ModelSpec":
        """Return a copy that records how it was exported."""
        return dataclasses.replace(self, export=export)
