"""What a graph may take, from what its spec says it is: limits that every ViTPose meets, and a bomb doesn't.

A file can state any size in a few bytes. What a ViTPose of a given width, depth and input needs is known, so a graph of that spec that
needs several times as much isn't one, and is refused before anything is allocated for it.
"""

import math
from dataclasses import dataclass
from typing import Self

from edgepose.errors import SpecError
from edgepose.spec import HEATMAP_STRIDE, ModelSpec

__all__ = ["DECONV_CHANNELS", "PATCH", "Limits", "count_parameters"]

PATCH = 16
DECONV_CHANNELS = 256
_DECONV_TAPS, _FINAL_TAPS, _MLP = 16, 9, 4

_MAX_TENSOR_ELEMENTS = 1 << 28
"""Of one value, for the whole batch: 1 GB in float32. ViTPose-H at 384×288 has a tenth of that for a batch of 8."""
_MAX_TENSOR_ELEMENTS_EACH = 1 << 26
"""The same for one crop."""
_SLACK_ELEMENTS = 1 << 16

# A graph's own operators, on top of what the network is: the converters write up to 130 for a block, constants included.
_OPERATORS_PER_BLOCK, _OTHER_OPERATORS = 400, 1000
# How far above the network's own numbers a graph may be: files of every format and precision use a quarter of the work, half of the values.
_TENSOR_FACTOR, _TOTAL_FACTOR, _WORK_FACTOR = 4, 6, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a graph may take.

    Attributes:
        batch: crops at once; 1 where the graph takes any number.
        tokens: positions of the token stream.
        operators: constants included.
        tensor_elements: of the largest value.
        total_elements: of all results together.
        multiplications: of all operators together.
        weights: fewest and most elements of all constants together.
    """

    batch: int
    tokens: int
    operators: int
    tensor_elements: int
    total_elements: int
    multiplications: int
    weights: tuple[int, int]

    @classmethod
    def of(cls, spec: ModelSpec, *, batch: int | None = None) -> Self:
        """Return the limits of a file.

        Args:
            spec: what the file says it is.
            batch: crops at once, where the spec doesn't say.

        Raises:
            SpecError: no machine that edgepose runs on could hold the network that the spec describes.
        """
        network, batch = spec.architecture, max(1, batch or (spec.export.batch if spec.export else None) or 1)
        tokens = (spec.input.height // PATCH) * (spec.input.width // PATCH)
        pixels = math.prod(spec.input.heatmap_size)
        attention = network.heads * tokens**2
        stream = network.dim * tokens
        channels = DECONV_CHANNELS if network.head == "classic" else network.dim
        maps = max(channels, spec.keypoints) * pixels
        largest = max(3 * spec.input.height * spec.input.width, _MLP * stream, attention, maps)
        if largest > _MAX_TENSOR_ELEMENTS_EACH or largest * batch > _MAX_TENSOR_ELEMENTS:
            raise SpecError(
                f"the spec describes a network with values of {largest} numbers (input {spec.input.height}x{spec.input.width}, dim "
                f"{network.dim}, {network.heads} heads, {spec.keypoints} keypoints) for each of {batch} crops; allowed: "
                f"{_MAX_TENSOR_ELEMENTS_EACH}, and {_MAX_TENSOR_ELEMENTS} together"
            )
        # Weights that are computed from integers are results, too.
        heaviest = max(
            _MLP * network.dim**2, _DECONV_TAPS * DECONV_CHANNELS * max(network.dim, DECONV_CHANNELS), 3 * PATCH**2 * network.dim
        )
        total = network.depth * (4 * attention + 24 * stream) + 6 * maps + 4 * stream
        parameters = count_parameters(spec)
        # Twice, because integers may stand beside what they stand for, and every constant is counted.
        weights = (parameters * 9 // 10, 2 * parameters + _SLACK_ELEMENTS)
        return cls(
            batch=batch,
            tokens=tokens,
            operators=_OPERATORS_PER_BLOCK * network.depth + _OTHER_OPERATORS,
            tensor_elements=min(max(_TENSOR_FACTOR * largest * batch, heaviest) + _SLACK_ELEMENTS, _MAX_TENSOR_ELEMENTS),
            total_elements=_TOTAL_FACTOR * total * batch + 3 * parameters + 10 * _SLACK_ELEMENTS,
            multiplications=_WORK_FACTOR * (_count_multiplications(spec) + total) * batch + 3 * parameters + 100 * _SLACK_ELEMENTS,
            weights=weights,
        )


def count_parameters(spec: ModelSpec) -> int:
    """Return how many weights the network of a spec has, BatchNorm folded."""
    network = spec.architecture
    dim, hidden = network.dim, _MLP * network.dim
    tokens = (spec.input.height // PATCH) * (spec.input.width // PATCH)
    patches = dim * (3 * PATCH**2 + 1) + tokens * dim
    block = 4 * dim * (dim + 1) + dim * hidden * 2 + hidden + dim + 4 * dim
    if network.head == "classic":
        head = DECONV_CHANNELS * _DECONV_TAPS * (dim + DECONV_CHANNELS) + 2 * DECONV_CHANNELS + spec.keypoints * (DECONV_CHANNELS + 1)
    else:
        head = spec.keypoints * (dim * _FINAL_TAPS + 1)
    return patches + network.depth * block + 2 * dim + head


def _count_multiplications(spec: ModelSpec) -> int:
    """Of one crop."""
    network = spec.architecture
    dim, tokens = network.dim, (spec.input.height // PATCH) * (spec.input.width // PATCH)
    block = 12 * dim**2 * tokens + 2 * dim * tokens**2
    pixels = tokens * (PATCH // HEATMAP_STRIDE) ** 2
    if network.head == "classic":
        head = tokens * _DECONV_TAPS * DECONV_CHANNELS * (dim + 4 * DECONV_CHANNELS) + pixels * DECONV_CHANNELS * spec.keypoints
    else:
        head = pixels * dim * _FINAL_TAPS * spec.keypoints
    return tokens * dim * 3 * PATCH**2 + network.depth * block + head
