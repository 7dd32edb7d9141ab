"""Person boxes: whether they can be used, and which can't and why. ``edgepose.box_forms`` reads them from files."""

import numbers
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepose.box_file import BoxFile
from edgepose.box_forms import load_boxes
from edgepose.box_rows import PERSON_CLASS, split_rows
from edgepose.errors import InputError

__all__ = ["BoxFile", "BoxStatus", "JudgedBoxes", "check_boxes", "check_form", "judge_boxes", "load_boxes"]

# Crop geometry is float32, as published: beyond this range its rounding would reach the size of the smallest box.
MAX_COORDINATE_PX = 100_000
MIN_SIDE_PX = 0.1

# Boxes that lie in this corner of a picture of at least this size are shares of its sides, not pixels: a person isn't that small.
_SHARE, _LEAST_PICTURE_PX = 1.5, 16


class BoxStatus(StrEnum):
    """Whether a box can be used, and if not, why."""

    USABLE = "usable"
    NOT_FINITE = "not-finite"
    INVERTED = "inverted"
    TOO_SMALL = "too-small"
    TOO_FAR = "too-far"
    OUTSIDE = "outside"
    NOT_A_PERSON = "not-a-person"
    LEFT_OUT = "left-out"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JudgedBoxes:
    """Boxes as they were given, one row for each, and what can be done with them.

    Attributes:
        boxes_xyxy: float64 (N, 4), left, top, right, bottom in image pixels; those that can't be used may hold anything.
        scores: float64 (N,), the detector's, from 0 to 1; ``None`` where it gave none.
        status: N, whether each can be used.
        reasons: N, in words with the box's number and value; empty for those that can.
    """

    boxes_xyxy: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64] | None
    status: tuple[BoxStatus, ...]
    reasons: tuple[str, ...]

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Bool (N,), which can be used."""
        return np.array([status is BoxStatus.USABLE for status in self.status], dtype=np.bool_)

    def leave_out(self, rows: npt.NDArray[np.bool_], why: str) -> "JudgedBoxes":
        """Return the same boxes, some of which aren't to be used, though they could be: bool (N,)."""
        status, reasons = list(self.status), list(self.reasons)
        for index in np.flatnonzero(rows):
            status[index], reasons[index] = BoxStatus.LEFT_OUT, f"box {index}: {why}"
        return replace(self, status=tuple(status), reasons=tuple(reasons))


def judge_boxes(boxes: npt.ArrayLike, image_shape: tuple[int, ...], *, form_is_known: bool = False) -> JudgedBoxes:
    """Tell the boxes that can be used with an image from those that can't.

    Args:
        boxes: (N, 4) left, top, right, bottom in image pixels, which may reach beyond the image; (N, 5), a detector's rows with a score
            from 0 to 1; or (N, 6), with score and class, of which COCO's class 0 are people. Lists, arrays and tensors of any library;
            nothing at all, ``(0,)`` or ``(0, 6)``, say, is nobody.
        image_shape: height, width, … of the image.
        form_is_known: they come from where they can't be in another form, such as a data set's annotations.

    Raises:
        InputError: they aren't rows of numbers of that form, or all of them are in another form: shares of the picture's sides instead of
            pixels, or left, top, width and height.
    """
    rows, scores, classes = split_rows(_to_array(boxes))
    height, width = image_shape[:2]
    if not form_is_known:
        check_form(rows, image_shape)
    low, high = rows[:, :2], rows[:, 2:]
    with np.errstate(invalid="ignore", over="ignore"):
        sides = high - low
        outside = (high <= 0) | (low >= np.array([width, height]))
        # ``any`` and ``all`` of numpy's stubs may be a single value.
        faults: list[tuple[BoxStatus, Any, str]] = [
            (BoxStatus.NOT_FINITE, ~np.isfinite(rows).all(axis=1), "every number must be finite"),
            (
                BoxStatus.INVERTED,
                (sides < 0).any(axis=1),
                "left must be less than right and top less than bottom (not x, y, width, height)",
            ),
            (BoxStatus.TOO_SMALL, (sides < MIN_SIDE_PX).any(axis=1), f"width and height must be at least {MIN_SIDE_PX} pixels"),
            (BoxStatus.TOO_FAR, (np.abs(rows) > MAX_COORDINATE_PX).any(axis=1), f"coordinates must lie between ±{MAX_COORDINATE_PX}"),
            (
                BoxStatus.OUTSIDE,
                outside.any(axis=1),
                f"it lies outside the image of {width}×{height} pixels; a part of it must be inside",
            ),
        ]
    if classes is not None:
        why = f"its class isn't {PERSON_CLASS}, which are COCO's people; leave the column of classes out to take every box"
        faults.append((BoxStatus.NOT_A_PERSON, classes != PERSON_CLASS, why))
    status, reasons = [BoxStatus.USABLE] * len(rows), [""] * len(rows)
    for fault, wrong, why in reversed(faults):  # the first that applies stands in the end
        for index in np.flatnonzero(wrong):
            status[index] = fault
            reasons[index] = f"box {index} is {[float(f'{value:.6g}') for value in rows[index]]}: {why}"
    return JudgedBoxes(boxes_xyxy=rows, scores=scores, status=tuple(status), reasons=tuple(reasons))


def check_boxes(boxes: npt.ArrayLike, image_shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Check boxes of which each must be usable.

    Args:
        boxes: see ``judge_boxes``.
        image_shape: height, width, … of the image.

    Returns:
        (N, 4) float64.

    Raises:
        InputError: they don't have that form, or a box is NaN, infinite, inverted, without area, too far away, wholly outside the image
            or not a person's.
    """
    judged = judge_boxes(boxes, image_shape)
    why = next(filter(None, judged.reasons), "")
    if why:
        raise InputError(why)
    return judged.boxes_xyxy


def _to_array(boxes: npt.ArrayLike) -> npt.NDArray[Any]:
    try:
        if isinstance(boxes, list | tuple) and any(hasattr(row, "detach") for row in boxes):
            boxes = [_leave_device(row) for row in boxes]
        given = np.asarray(_leave_device(boxes))
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"boxes don't make an array: {error}; expected (N, 4) numbers: left, top, right, bottom") from None
    if given.dtype.kind == "O" and all(isinstance(value, numbers.Real) and not isinstance(value, bool) for value in given.flat):
        try:
            given = given.astype(np.float64)
        except OverflowError as error:
            raise InputError(f"boxes hold a number that is too large: {error}") from None
    return given


def _leave_device(value: Any) -> Any:
    """A torch tensor without its gradient, in the CPU's memory, of a type that numpy knows; anything else as it is."""
    if not hasattr(value, "detach"):
        return value
    value = value.detach().cpu()
    return value.float() if "bfloat16" in str(value.dtype) else value


def check_form(rows: npt.NDArray[np.float64], image_shape: tuple[int, ...] | None = None) -> None:
    """Refuse boxes that seem to be in another form.

    Args:
        rows: (N, 4) left, top, right, bottom in pixels.
        image_shape: height, width, … of the image; ``None`` where they are of many.

    Raises:
        InputError: they are shares of the picture's sides, or left, top, width and height.
    """
    height, width = (image_shape or (MAX_COORDINATE_PX, MAX_COORDINATE_PX))[:2]
    finite = rows[np.isfinite(rows).all(axis=1)]
    if not len(finite):
        return
    low, high = finite[:, :2], finite[:, 2:]
    first = [float(f"{value:.6g}") for value in finite[0]]
    small = finite.min() > -_SHARE and finite.max() <= _SHARE and bool((high > low).all(axis=1).any())
    if small and min(width, height) >= _LEAST_PICTURE_PX:
        of = f"an image of {width}×{height}" if image_shape else "their images"
        by = f"({width}, {height}, {width}, {height})" if image_shape else "(width, height, width, height)"
        raise InputError(
            f"the boxes ({first} …) all lie in the first pixel of {of}: they seem to be shares of its width and height; give pixels: "
            f"multiply by {by}"
        )
    with np.errstate(over="ignore"):
        fits = ((low > -1) & (high > 0) & (low + high < np.array([width, height]) + 1)).all()
    if fits and 2 * int((high < low).any(axis=1).sum()) > len(finite):
        raise InputError(
            f"the boxes ({first} …) seem to be left, top, width, height: most have no right or bottom beyond their left or top; give left, "
            "top, right, bottom"
        )
