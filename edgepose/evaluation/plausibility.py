"""Whether numbers can mean what they should: files that are in another unit or order give figures near 0, without a hint.

What is clearly wrong is refused, with what it looks like and how to mend it; what is merely strange is a warning. Right files pass: what
is compared are two readings of the same numbers, and the usual one has to be much worse.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InputError
from edgepose.evaluation import kinds
from edgepose.evaluation.dataset import Annotations
from edgepose.findings import Findings, Kind

__all__ = ["check_annotations", "check_detections", "check_people", "check_scores"]

_NORMALISED = 2.0  # no box or keypoint in pixels stays below this; normalised ones may reach a little beyond 1
_LEAST_LABELS, _LEAST_EXTENT_PX = 3, 3.0  # keypoints that make a person's extent
_CLEARLY, _NEARLY_ALL = 0.15, 0.9  # by how much another reading has to fit better, and of what share of the people
_SAME, _NEAR = 0.5, 1 / 3  # IoU of two boxes of one person, and of boxes that have to do with each other
_MANY = 5  # boxes that show a unit
_MORE = 0.1  # share of labelled people who have a box in another reading only, from which that is meant
_FEW = 0.2  # share of labelled people with a near detection, below which something is wrong
_PICTURES, _BOXES = 2000, 100  # what is looked at: pictures, and boxes of each
_LEAST_SHARE, _MOST_SHARE = 0.05, 1.1  # of the box, that the area of half of the people should have
_BEYOND = 0.05  # share of labelled keypoints that may lie outside the picture: some data sets label people who are cut off
_FAR = 0.5  # of the box's sides: keypoints farther out aren't this person's

_Boxes = NDArray[np.float64]


def check_annotations(annotations: Annotations, path: Path, findings: Findings) -> None:
    """Look at boxes, areas and keypoints of the labelled people.

    Raises:
        InputError: see ``check_people``.
    """
    judged = (annotations.keypoints[:, :, 2] > 0).any(axis=1) & ~annotations.crowd
    boxes = annotations.boxes_xywh[judged]
    boxed = (boxes[:, 2:] > 0).all(axis=1)
    sizes = annotations.picture_sizes[annotations.pictures[judged]]
    check_people(boxes, annotations.keypoints[judged], sizes, path, findings)
    share = annotations.areas[judged][boxed] / np.maximum(boxes[boxed, 2:].prod(axis=1), 1e-9)
    if (~np.isnan(share)).any() and not _LEAST_SHARE <= (median := float(np.nanmedian(share))) <= _MOST_SHARE:
        findings.add(kinds.ODD_AREAS, f"half of them are {'below' if median < 1 else 'above'} {median:.2g} of the box", count=0)
    _find_repeated(annotations, judged, findings)


def check_people(boxes_xywh: _Boxes, points: NDArray[np.float64], sizes: NDArray[np.int64], path: Path, findings: Findings) -> None:
    """Look at boxes and keypoints of labelled people.

    Args:
        boxes_xywh: (N, 4), as the file has them.
        points: (N, K, 3), x, y and visibility.
        sizes: (N, 2), width and height of their pictures; 0 where they are unknown.
        path: the file, for messages.
        findings: is told what is odd.

    Raises:
        InputError: they are normalised, or another reading of the boxes or keypoints fits much better: boxes by their right and bottom or
            by their centre, keypoints relative to their box, x and y exchanged.
    """
    labelled = points[:, :, 2] > 0
    boxed = (boxes_xywh[:, 2:] > 0).all(axis=1)
    boxes = boxes_xywh[boxed]
    if _is_normalised(boxes):
        _refuse(kinds.NORMALISED_BOXES, path, f"the first is {_listed(boxes[0])}", findings)
    if _is_normalised(points[labelled][:, :2]):
        _refuse(kinds.NORMALISED_KEYPOINTS, path, f"the first is {_listed(points[labelled][0, :2])}", findings)
    if _is_percent(_as_corners(boxes), sizes[boxed]):
        findings.add(kinds.MAYBE_PERCENT, f"the first box is {_listed(boxes[0])}", count=0)
    _check_extents(boxes, points[boxed], path, findings)
    beyond = ((points[:, :, :2] < -1) | ((points[:, :, :2] > sizes[:, None] + 1) & (sizes[:, None] > 0))).any(axis=2) & labelled
    if beyond.sum() > _BEYOND * labelled.sum():
        place = points[beyond][0, :2]
        findings.add(kinds.OUTSIDE_PICTURE, f"one at {_listed(place)}", count=int(beyond.sum()))


def check_scores(scores: NDArray[np.float64], path: Path, findings: Findings, *, min_score: float) -> None:
    """Look at the scores of detections.

    Raises:
        InputError: they look like percent, and the least score isn't.
    """
    above = int((scores > 1).sum())
    if not above:
        return
    if 0 < min_score <= 1:
        _refuse(kinds.PERCENT_AND_LIMIT, path, f"the highest is {scores.max():g}, --min-box-score {min_score:g}", findings)
    findings.add(kinds.SCORES_ABOVE_ONE, f"{scores.max():g}", count=above)


def check_detections(
    boxes_xywh: _Boxes,
    pictures: NDArray[np.int64],
    scores: NDArray[np.float64],
    annotations: Annotations,
    path: Path,
    findings: Findings,
    *,
    by_name: NDArray[np.int64] | None = None,
) -> None:
    """Compare detected boxes with those of the labelled people on the same pictures.

    Args:
        boxes_xywh: (D, 4), as the file has them.
        pictures: (D,), index of the picture.
        scores: (D,).
        annotations: whom to find.
        path: the file, for messages.
        findings: is told what is odd.
        by_name: (D,), the pictures whose file names the ids could be, or ``None`` where they aren't all names of pictures.

    Raises:
        InputError: they are normalised, or another reading of the four numbers, or of the ids, fits much better.
    """
    if _is_normalised(boxes_xywh):
        _refuse(kinds.NORMALISED_DETECTIONS, path, f"the first is {_listed(boxes_xywh[0])}", findings)
    if _is_percent(_as_corners(boxes_xywh), annotations.picture_sizes[pictures]):
        findings.add(kinds.MAYBE_PERCENT_DETECTIONS, f"the first box is {_listed(boxes_xywh[0])}", count=0)
    groups = list(_side_by_side(boxes_xywh, pictures, scores, annotations))
    people = sum(len(wanted) for wanted, _ in groups)
    if not people:
        return

    def found(read: Callable[[_Boxes], _Boxes], least: float) -> int:
        return sum(int((_overlaps(wanted, read(given)).max(axis=1) >= least).sum()) for wanted, given in groups)

    usual = found(_as_corners, _SAME)
    for name, read in _OTHER_READINGS.items():
        other = found(read, _SAME)
        if other >= 2 * usual and other - usual >= max(_MORE * people, min(people, 3)):
            _refuse(
                kinds.OTHER_DETECTION_BOXES, path, f"{other} of {people} labelled people have a box where they are read as {name}, {usual} "
                "otherwise", findings,
            )  # fmt: skip
    if by_name is not None:
        others = list(_side_by_side(boxes_xywh, by_name, scores, annotations))
        other = sum(int((_overlaps(wanted, _as_corners(given)).max(axis=1) >= _SAME).sum()) for wanted, given in others)
        if other >= 2 * usual and other - usual >= max(_MORE * people, min(people, 3)):
            _refuse(kinds.IDS_OF_NAMES, path, f"{other} labelled people have a box so, {usual} otherwise", findings)
    near = found(_as_corners, _NEAR)
    if near < _FEW * people:
        findings.add(kinds.FEW_OVERLAPS, f"{near} of {people} people are met by one", count=people - near)


def _check_extents(boxes_xywh: _Boxes, points: NDArray[np.float64], path: Path, findings: Findings) -> None:
    """Compare the boxes with the extent of the keypoints in them."""
    labelled = points[:, :, 2] > 0
    xy = points[:, :, :2]
    low = np.where(labelled[..., None], xy, np.inf).min(axis=1, initial=np.inf)
    high = np.where(labelled[..., None], xy, -np.inf).max(axis=1, initial=-np.inf)
    known = (labelled.sum(axis=1) >= _LEAST_LABELS) & (high - low > _LEAST_EXTENT_PX).all(axis=1)
    reach = _FAR * boxes_xywh[:, None, 2:]
    inside = ((xy >= boxes_xywh[:, None, :2] - reach) & (xy <= boxes_xywh[:, None, :2] + boxes_xywh[:, None, 2:] + reach)).all(axis=2)
    far = (inside & labelled).sum(axis=1) < 0.5 * labelled.sum(axis=1)
    if known.any():
        extents, boxes = np.concatenate([low, high], axis=1)[known], boxes_xywh[known]
        corners = _as_corners(boxes)
        usual = _fit(extents, corners).mean()
        others = {
            kinds.CORNER_BOXES: _fit(extents, boxes),
            kinds.CENTRE_BOXES: _fit(extents, _from_centre(boxes)),
            kinds.RELATIVE_KEYPOINTS: _fit(extents + np.tile(boxes[:, :2], 2), corners),
            kinds.SWAPPED_KEYPOINTS: _fit(extents[:, [1, 0, 3, 2]], corners),
        }
        best = max(others, key=lambda kind: float(others[kind].mean()))
        fit = others[best]
        if (fit > 0).mean() >= _NEARLY_ALL and fit.mean() >= usual + _CLEARLY:
            example = f"they fill {fit.mean():.2f} of a box so, {usual:.2f} otherwise; the first box is {_listed(boxes[0])}"
            _refuse(best, path, example, findings)
    if far.any():
        findings.add(kinds.OUTSIDE_BOX, f"the one with the box {_listed(boxes_xywh[int(far.argmax())])}", count=int(far.sum()))


def _find_repeated(annotations: Annotations, judged: NDArray[np.bool_], findings: Findings) -> None:
    seen: set[tuple[int, bytes, bytes]] = set()
    for row in np.flatnonzero(judged):
        key = int(annotations.pictures[row]), annotations.boxes_xywh[row].tobytes(), annotations.keypoints[row].tobytes()
        if key in seen:
            findings.add(kinds.PERSON_TWICE, f"annotation id {annotations.ids[row]}")
        seen.add(key)


def _is_normalised(numbers: NDArray[np.float64]) -> bool:
    return bool(numbers.size and np.abs(numbers).max() <= _NORMALISED and (numbers != np.round(numbers)).any())


def _is_percent(corners: _Boxes, sizes: NDArray[np.int64]) -> bool:
    """Whether boxes that are known to lie in larger pictures end at 100."""
    return len(corners) >= _MANY and bool(np.abs(corners).max() <= 101) and bool((sizes > 150).all()) and bool(corners.max() > 50)


def _as_corners(boxes_xywh: _Boxes) -> _Boxes:
    return np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1)


def _from_centre(boxes: _Boxes) -> _Boxes:
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)


_OTHER_READINGS: dict[str, Callable[[_Boxes], _Boxes]] = {
    "left, top, right, bottom": lambda boxes: boxes,
    "centre, width, height": _from_centre,
    "top, left, bottom, right": lambda boxes: boxes[:, [1, 0, 3, 2]],
    "top, left, height, width": lambda boxes: _as_corners(boxes[:, [1, 0, 3, 2]]),
}


def _overlaps(boxes: _Boxes, others: _Boxes) -> NDArray[np.float64]:
    """IoU (N, M) of boxes that are left, top, right, bottom; 0 for those that are no boxes."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return _ratio(np.maximum(high - low, 0).prod(axis=2), _area(boxes)[:, None], _area(others)[None])


def _fit(boxes: _Boxes, others: _Boxes) -> NDArray[np.float64]:
    """IoU (N,) of each box with its counterpart."""
    shared = np.maximum(np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2]), 0).prod(axis=1)
    return _ratio(shared, _area(boxes), _area(others))


def _ratio(shared: NDArray[np.float64], area: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    whole = area + other - shared
    ratio: NDArray[np.float64] = np.divide(shared, whole, out=np.zeros_like(shared), where=(whole > 0) & (area > 0) & (other > 0))
    return ratio


def _area(boxes: _Boxes) -> NDArray[np.float64]:
    area: NDArray[np.float64] = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
    return area


def _side_by_side(
    boxes: _Boxes, pictures: NDArray[np.int64], scores: NDArray[np.float64], annotations: Annotations
) -> Iterator[tuple[_Boxes, _Boxes]]:
    """Yield the labelled people's boxes (left, top, right, bottom) and the detections' as given, picture by picture, of a sample."""
    judged = (annotations.keypoints[:, :, 2] > 0).any(axis=1) & ~annotations.crowd & (annotations.boxes_xywh[:, 2:] > 0).all(axis=1)
    people = np.flatnonzero(judged)
    people = people[np.argsort(annotations.pictures[people], kind="stable")]
    best = np.lexsort((-scores, pictures))
    both = np.intersect1d(annotations.pictures[people], pictures)
    for picture in both[:: max(1, len(both) // _PICTURES)]:
        first, last = np.searchsorted(annotations.pictures[people], [picture, picture + 1])
        start, stop = np.searchsorted(pictures[best], [picture, picture + 1])
        wanted, given = people[first:last][:_BOXES], best[start:stop][:_BOXES]
        yield _as_corners(annotations.boxes_xywh[wanted]), boxes[given]


def _refuse(kind: Kind, path: Path, example: str, findings: Findings) -> None:
    raise InputError(f"{path}: {findings.add(kind, example, count=0)}")


def _listed(numbers: NDArray[np.float64]) -> str:
    return "[" + ", ".join(f"{number:.5g}" for number in numbers) + "]"
