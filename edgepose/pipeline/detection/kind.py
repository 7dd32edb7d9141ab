"""What a family of detectors has in common: what goes in, what comes out, and how to read it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepose.runtime.ports import Port

__all__ = ["DetectorKind"]

Image = npt.NDArray[np.uint8]
Boxes = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorKind:
    """A family of detectors.

    Attributes:
        name: as it appears in descriptions where a file is named, not a detector.
        default_size: height and width of the input where the file leaves it open.
        default_min_score: score from which a box is a person, unless something else is asked for. Measured: of pictures without people,
            at most one in twenty then shows somebody.
        recognise: whether a network with these inputs and outputs is one.
        prepare: (height, width, 3) uint8, RGB, letterboxed → the network's input (1, 3, height, width).
        decode: the network's outputs, and the input's height and width → boxes (N, 4) left, top, right, bottom in pixels of the input, and
            scores (N,); people alone, each once, but of any score.
    """

    name: str
    default_size: tuple[int, int]
    default_min_score: float
    recognise: Callable[[Sequence[Port], Sequence[Port]], bool]
    prepare: Callable[[Image], npt.NDArray[np.float32]]
    decode: Callable[[Sequence[npt.NDArray[Any]], int, int], Boxes]
