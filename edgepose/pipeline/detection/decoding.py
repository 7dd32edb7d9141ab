"""What detectors' networks say of each cell → boxes of people: numpy, whatever ran the network.

RTMDet's after mmdetection (``RTMDetHead``: points without offset, distances to the sides), YOLOX's after Megvii-BaseDetection/YOLOX
(``demo_postprocess``); both Apache-2.0, written anew.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepose.pipeline.detection.nms import keep_best
from edgepose.pipeline.detection.spec import DetectorSpec

__all__ = ["decode", "decode_rtmdet", "decode_suppressed", "decode_yolox"]

Array = npt.NDArray[np.float32]
Outputs = Sequence[npt.NDArray[Any]]
Boxes = tuple[Array, Array]

LEAST_SCORE = 0.01
"""Below, a cell shows nobody: of thousands of cells, most. (mmdeploy's own graph says so below 0.05.)"""

MOST_CANDIDATES = 1000
"""Of the cells above, those with the highest scores are looked at; two hundred people don't have more. Bounds what a hostile file costs."""

_LARGEST_LOGARITHM = 20.0


def decode(outputs: Outputs, spec: DetectorSpec) -> Boxes:
    """Find the people.

    Args:
        outputs: as ``spec.outputs`` says.
        spec: the detector's.

    Returns:
        Boxes (N, 4) left, top, right, bottom in pixels of the input, which may reach beyond it; and scores (N,), from 0 to 1, the highest
        first. Float32, finite; each person once, of any score from ``LEAST_SCORE`` on.
    """
    return _DECODERS[spec.kind if spec.form == "cells" else spec.form](outputs, spec)


def decode_rtmdet(outputs: Outputs, spec: DetectorSpec) -> Boxes:
    """Decode RTMDet's ``scores`` (1, N, classes) and ``distances`` (1, N, 4); see ``decode``."""
    found, scores = _choose(np.asarray(outputs[0][0, :, spec.person], np.float32))
    cells, strides = _grid(spec.input.height, spec.input.width, spec.strides)
    points, distances = (cells * strides)[found], np.asarray(outputs[1][0], np.float32)[found]
    return _suppress(np.concatenate([points - distances[:, :2], points + distances[:, 2:]], axis=1), scores, spec)


def decode_yolox(outputs: Outputs, spec: DetectorSpec) -> Boxes:
    """Decode YOLOX's ``rows`` (1, N, 5 + classes); see ``decode``."""
    rows = np.asarray(outputs[0][0], np.float32)
    found, scores = _choose(rows[:, 4] * rows[:, 5 + spec.person])
    cells, strides = _grid(spec.input.height, spec.input.width, spec.strides)
    centres = (rows[found, :2] + cells[found]) * strides[found]
    halves = np.exp(np.minimum(rows[found, 2:4], _LARGEST_LOGARITHM)) * strides[found] / 2
    return _suppress(np.concatenate([centres - halves, centres + halves], axis=1), scores, spec)


def decode_suppressed(outputs: Outputs, spec: DetectorSpec) -> Boxes:
    """Read the people out of mmdeploy's ``dets`` (1, M, 5) and ``labels`` (1, M); rows that the graph fills up with score 0."""
    rows, labels = np.asarray(outputs[0][0], np.float32), outputs[1][0]
    rows = rows[(labels == spec.person) & np.isfinite(rows).all(axis=1) & (rows[:, 4] >= LEAST_SCORE)]
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    return rows[:, :4], np.minimum(rows[:, 4], np.float32(1))


_DECODERS: Mapping[str, Callable[[Outputs, DetectorSpec], Boxes]] = MappingProxyType(
    {"rtmdet": decode_rtmdet, "yolox": decode_yolox, "suppressed": decode_suppressed}
)


def _choose(scores: Array) -> tuple[npt.NDArray[np.intp], Array]:
    """Return the cells that may show somebody, the highest score first. NaN isn't above any limit."""
    found = np.flatnonzero(scores >= LEAST_SCORE)
    found = found[np.argsort(-scores[found], kind="stable")[:MOST_CANDIDATES]]
    return found, np.minimum(scores[found], np.float32(1))


def _suppress(boxes: Array, scores: Array, spec: DetectorSpec) -> Boxes:
    boxes = boxes.astype(np.float32)
    finite = np.isfinite(boxes).all(axis=1)
    boxes, scores = boxes[finite], scores[finite]
    kept = keep_best(boxes, scores, overlap=spec.overlap)
    return boxes[kept], scores[kept]


@cache
def _grid(height: int, width: int, strides: tuple[int, ...]) -> tuple[Array, Array]:
    """Column and row (N, 2) of each cell, and its stride (N, 1)."""
    cells, sizes = [], []
    for stride in strides:
        rows, columns = np.meshgrid(np.arange(height // stride), np.arange(width // stride), indexing="ij")
        cells.append(np.stack([columns, rows], axis=-1).reshape(-1, 2))
        sizes.append(np.full((len(cells[-1]), 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(sizes).astype(np.float32)
