"""How alike two people are, by their boxes and by their keypoints; and who goes with whom."""

import numpy as np
import numpy.typing as npt

__all__ = ["assign", "masked_median", "overlaps", "pose_similarities"]

_SIGMA = 0.1
"""How far a keypoint may be, in shares of the person's size: about COCO's 2 σ of a hip. A tracker asks whose body a pose is, not how well
it fits, and a limb may have moved since."""


def overlaps(some: npt.ArrayLike, others: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return intersection over union.

    Args:
        some: (N, 4) left, top, right, bottom.
        others: (M, 4).

    Returns:
        (N, M), 0 to 1.
    """
    first, second = np.asarray(some, np.float64).reshape(-1, 4), np.asarray(others, np.float64).reshape(-1, 4)
    shared = np.ones((len(first), len(second)))
    for axis in (0, 1):
        low = np.maximum(first[:, None, axis], second[None, :, axis])
        high = np.minimum(first[:, None, axis + 2], second[None, :, axis + 2])
        shared *= np.maximum(high - low, 0)
    areas = [np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1) for boxes in (first, second)]
    result: npt.NDArray[np.float64] = shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)
    return result


def pose_similarities(
    some: npt.NDArray[np.float64], others: npt.NDArray[np.float64], counted: npt.NDArray[np.bool_], sizes: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return how alike poses are, pair by pair, as COCO's object keypoint similarity measures it, with one tolerance for all keypoints.

    Args:
        some: (P, K, 2), pixels.
        others: (P, K, 2).
        counted: (P, K), the keypoints that count.
        sizes: (P,), of the people: square roots of their boxes' areas, pixels.

    Returns:
        (P,), 0 to 1; NaN where no keypoint counts.
    """
    squared = np.square(some - others).sum(axis=2)
    alike = np.exp(-squared / (2 * np.square(_SIGMA * np.maximum(sizes, 1e-9))[:, None])) * counted
    number = counted.sum(axis=1)
    result: npt.NDArray[np.float64] = np.divide(alike.sum(axis=1), number, out=np.full(len(alike), np.nan), where=number > 0)
    return result


def assign(likeness: npt.NDArray[np.float64], least: float) -> list[tuple[int, int]]:
    """Pair rows and columns, the likest first.

    The best pairing as a whole would differ only where three boxes overlap alike, and takes the cube of their number.

    Args:
        likeness: (N, M).
        least: pairs that are less alike aren't made.
    """
    rows, columns = np.nonzero(likeness >= least)
    order = np.argsort(-likeness[rows, columns], kind="stable")
    pairs: list[tuple[int, int]] = []
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in taken_rows and column not in taken_columns:
            pairs.append((row, column))
            taken_rows.add(row)
            taken_columns.add(column)
    return pairs


def masked_median(values: npt.NDArray[np.float64], counted: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return medians along the second axis, of what counts; 0 where nothing does.

    Args:
        values: (N, K) or (N, K, D).
        counted: (N, K).

    Returns:
        (N,) or (N, D).
    """
    if values.ndim == 3:
        return np.stack([masked_median(values[..., axis], counted) for axis in range(values.shape[2])], axis=1)
    ordered = np.sort(np.where(counted, values, np.inf), axis=1)
    number = counted.sum(axis=1)
    rows = np.arange(len(values))
    middles = [ordered[rows, np.maximum(each, 0)] for each in ((number - 1) // 2, np.minimum(number // 2, values.shape[1] - 1))]
    result: npt.NDArray[np.float64] = np.where(number > 0, (middles[0] + middles[1]) / 2, 0.0)
    return result
