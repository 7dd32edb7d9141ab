"""One box for each person: of boxes that overlap, the one with the highest score."""

import numpy as np
import numpy.typing as npt

__all__ = ["keep_best"]


def keep_best(boxes_xyxy: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], *, overlap: float) -> npt.NDArray[np.intp]:
    """Suppress what isn't the maximum (greedy NMS).

    Args:
        boxes_xyxy: (N, 4).
        scores: (N,).
        overlap: intersection over union from which two boxes are the same person.

    Returns:
        Indices of the boxes that stay, the highest score first.
    """
    order = np.argsort(-scores, kind="stable")
    areas = np.prod(np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0), axis=1)
    kept: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes_xyxy[best, :2], boxes_xyxy[rest, :2])
        high = np.minimum(boxes_xyxy[best, 2:], boxes_xyxy[rest, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        union = areas[best] + areas[rest] - shared
        order = rest[shared < overlap * np.maximum(union, 1e-9)]
    return np.array(kept, np.intp)
