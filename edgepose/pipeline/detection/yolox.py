"""YOLOX as its authors export it: one row for each cell of three grids, neither placed nor suppressed.

Decoding after Megvii-BaseDetection/YOLOX (``demo_postprocess``, Apache-2.0), written anew.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepose.pipeline.detection.kind import DetectorKind
from edgepose.pipeline.detection.nms import keep_best
from edgepose.runtime.ports import Port

__all__ = ["YOLOX"]

_STRIDES = (8, 16, 32)
_PERSON = 0
_OVERLAP = 0.45
_LEAST_SCORE = 0.01
"""Below, a row isn't a box: of thousands, most."""


def _count(height: int, width: int) -> int:
    return sum((height // stride) * (width // stride) for stride in _STRIDES)


def _recognise(inputs: Sequence[Port], outputs: Sequence[Port]) -> bool:
    if len(inputs) != 1 or len(outputs) != 1:
        return False
    given, found = inputs[0].shape, outputs[0].shape
    if given is None or found is None or len(given) != 4 or len(found) != 3 or None in given[2:] or found[2] is None:
        return False
    height, width = (side or 0 for side in given[2:])
    return found[2] > 5 and found[1] in (None, _count(height, width))


def _prepare(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1), dtype=np.float32)[None]


@cache
def _grid(height: int, width: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Column and row (N, 2) of each cell, and its stride (N, 1)."""
    cells, strides = [], []
    for stride in _STRIDES:
        rows, columns = np.meshgrid(np.arange(height // stride), np.arange(width // stride), indexing="ij")
        cells.append(np.stack([columns, rows], axis=-1).reshape(-1, 2))
        strides.append(np.full((cells[-1].shape[0], 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _decode(outputs: Sequence[npt.NDArray[Any]], height: int, width: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    rows = outputs[0][0].astype(np.float32)
    cells, strides = _grid(height, width)
    scores = rows[:, 4] * rows[:, 5 + _PERSON]
    found = np.flatnonzero(scores >= _LEAST_SCORE)
    centres = (rows[found, :2] + cells[found]) * strides[found]
    halves = np.exp(np.clip(rows[found, 2:4], None, 20)) * strides[found] / 2
    boxes = np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32)
    kept = keep_best(boxes, scores[found], overlap=_OVERLAP)
    return boxes[kept], scores[found][kept]


YOLOX = DetectorKind(name="YOLOX", default_size=(416, 416), default_min_score=0.5, recognise=_recognise, prepare=_prepare, decode=_decode)
