"""Rows of boxes, with a detector's score and class or without."""

from typing import Any

import numpy as np
import numpy.typing as npt

from edgepose.errors import InputError

__all__ = ["PERSON_CLASS", "split_rows"]

PERSON_CLASS = 0
"""People among the classes of detectors that were trained on COCO (as a COCO file's ``category_id`` they are 1)."""

ROWS = "(N, 4): left, top, right, bottom; (N, 5): with a score from 0 to 1; or (N, 6): with score and class"


def split_rows(
    rows: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None, npt.NDArray[np.float64] | None]:
    """Split a detector's rows into boxes, scores and classes.

    Args:
        rows: (N, 4), (N, 5) or (N, 6); no number at all, in whatever shape a detector gives for nobody.

    Returns:
        Boxes (N, 4), scores (N,) or ``None``, and classes (N,) or ``None``, float64.

    Raises:
        InputError: another shape, not numbers, or the fifth and sixth column can't be score and class.
    """
    if rows.size == 0 and (rows.ndim == 1 or (rows.ndim == 2 and len(rows) <= 1)):
        return np.empty((0, 4)), None, None
    if rows.dtype.kind not in "iuf":
        raise InputError(f"boxes have dtype {rows.dtype}; expected integers or floats")
    if rows.ndim != 2 or not 4 <= rows.shape[1] <= 6:
        hint = "; put a single box into a list" if rows.shape == (4,) else ""
        raise InputError(f"boxes have shape {rows.shape}; expected {ROWS}{hint}")
    values = rows.astype(np.float64)
    boxes = np.ascontiguousarray(values[:, :4])
    if values.shape[1] == 4:
        return boxes, None, None
    scores = values[:, 4]
    if not ((scores >= 0) & (scores <= 1)).all():
        wrong = float(scores[~((scores >= 0) & (scores <= 1))][0])
        raise InputError(f"boxes have {values.shape[1]} columns, but the fifth isn't a score: it holds {wrong:.6g}; expected {ROWS}")
    if values.shape[1] == 5:
        return boxes, scores, None
    classes = values[:, 5]
    whole = np.isfinite(classes) & (classes == np.floor(classes)) & (classes >= 0)
    if not whole.all():
        raise InputError(f"boxes have six columns, but the last isn't a class: it holds {float(classes[~whole][0]):.6g}; expected {ROWS}")
    return boxes, scores, classes
