"""One annotated person of a COCO file: box, area, crowd and keypoints, as numbers that can be trusted."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import SpecError
from edgepose.evaluation import kinds
from edgepose.evaluation.coco_file import Entry, read_number, read_numbers, read_whole, shown, to_numbers
from edgepose.findings import Findings, Kind

__all__ = ["read_area", "read_box", "read_crowd", "read_keypoints", "read_label_count"]

_CROWDS: Mapping[str, bool] = {"0": False, "false": False, "no": False, "": False, "1": True, "true": True, "yes": True}
_NOTHING = ("", "nan", "none", "null", "inf", "-inf")
_MOST_POLYGONS = 1000
_LEAST_SHARE, _MOST_SHARE = 0.05, 1.1  # of the box, that an outline can have


def read_box(entry: Entry, where: str, findings: Findings) -> Sequence[float] | None:
    """Return left, top, width, height, or ``None`` where the box can't be used."""
    box = to_numbers(entry.get("bbox"), 4)
    if box is None:
        box = read_numbers(entry.get("bbox"), 4)
        if box is not None:
            findings.add(kinds.BOX_AS_TEXT, where)
    return None if box is None or min(box[2:]) < 0 else box


def read_area(entry: Entry, box: Sequence[float] | None, where: str, findings: Findings) -> float:
    """Return a labelled person's area in square pixels; NaN where 0.53 of the box stands for it.

    An area that is missing, or not above 0 (labelling tools write 0 for "unknown"), is that of the outline where there is one that fits
    the box.
    """
    stated = entry.get("area")
    area = read_number(stated)
    if area is not None and area > 0:
        if isinstance(stated, str):
            findings.add(kinds.AREA_AS_TEXT, f"{where}: {shown(stated)}")
        return area
    outline = _outline_area(entry.get("segmentation"))
    if box is not None and not _LEAST_SHARE <= outline / max(box[2] * box[3], 1e-9) <= _MOST_SHARE:
        outline = 0.0
    if stated is None:
        findings.add(kinds.NO_AREA_OUTLINE if outline else kinds.NO_AREA_BOX, where)
    else:
        findings.add(kinds.BAD_AREA_OUTLINE if outline else kinds.BAD_AREA_BOX, f"{where}: {shown(stated)}")
    return outline or float("nan")


def read_crowd(entry: Entry, where: str, findings: Findings) -> bool:
    """Return whether the annotation is of a crowd.

    Raises:
        SpecError: it says something else than yes or no.
    """
    crowd = entry.get("iscrowd", 0)
    if isinstance(crowd, int | float) and crowd in (0, 1):
        return bool(crowd)
    read = False if crowd is None else _CROWDS.get(crowd.strip().lower()) if isinstance(crowd, str) else None
    if read is None:
        raise SpecError(f"{where}: 'iscrowd' is {shown(crowd)}; expected 0 or 1")
    findings.add(kinds.CROWD_OTHERWISE, f"{where}: {shown(crowd)}")
    return read


def read_keypoints(value: object, count: int, where: str, findings: Findings, *, scored: bool = False) -> NDArray[np.float64] | Kind:
    """Return x, y and visibility of a list of ``count`` keypoints, (count, 3), all finite, or why it can't be used.

    A keypoint without a label may stand anywhere, also nowhere; one with a label that stands nowhere loses the label, visibly. Visibilities
    may be ``scored``: above 0 without a warning.
    """
    row = to_numbers(value)
    points = np.reshape(np.array(row, np.float64), (-1, 3)) if row is not None and len(row) == 3 * count else None
    if points is None:
        read = _read_leniently(value, count, where, findings)
        if isinstance(read, Kind):
            return read
        points = _settle(read, where, findings)
    labelled = points[:, 2] > 0
    if not scored and ((points[:, 2] != 0) & (points[:, 2] != 1) & (points[:, 2] != 2)).any():
        findings.add(kinds.ODD_VISIBILITY, f"{where}: {shown(float(points[:, 2].max()))}")
    at_origin = int((labelled & (points[:, 0] == 0) & (points[:, 1] == 0)).sum())
    if at_origin:
        findings.add(kinds.AT_ORIGIN, where, count=at_origin)
    return points


def read_label_count(entry: Entry, visibilities: NDArray[np.float64], where: str, findings: Findings) -> int:
    """Return how many keypoints count as labelled, of which only 0 means something: nobody is expected to find the person.

    The file's own number is kept where it agrees with the labels in this, or where it is 0 and all labels are occluded, which is
    CrowdPose's way of counting.
    """
    labelled = int((visibilities > 0).sum())
    stated = entry.get("num_keypoints")
    if stated is None:
        return labelled
    number = read_whole(stated)
    if number is None or number < 0 or type(stated) is not int:
        findings.add(kinds.COUNT_OTHERWISE, f"{where}: {shown(stated)}")
        number = labelled if number is None or number < 0 else number
    if number > 0 and not labelled:
        findings.add(kinds.COUNT_UNLABELLED, where)
        return 0
    if number == 0 and labelled:
        if (visibilities <= 1).all():
            findings.add(kinds.COUNT_OCCLUDED, where)
            return 0
        findings.add(kinds.COUNT_ZERO, where)
        return labelled
    return number


def _read_leniently(value: object, count: int, where: str, findings: Findings) -> NDArray[np.float64] | Kind:
    """Read nested lists, text and what isn't finite; (count, 3), NaN where there is no number."""
    if not isinstance(value, list):
        return kinds.BAD_KEYPOINTS
    nested = len(value) == count and all(isinstance(each, list) and len(each) == 3 for each in value)
    flat = [number for each in cast("list[list[object]]", value) for number in each] if nested else value
    if len(flat) != 3 * count:
        plain = all(each is None or isinstance(each, int | float | str) for each in flat)
        return kinds.OTHER_COUNT if plain else kinds.BAD_KEYPOINTS
    numbers = np.full(3 * count, np.nan)
    text = False
    for place, each in enumerate(flat):
        # A visibility may be true or false; a place can't.
        number = 2.0 * each if isinstance(each, bool) and place % 3 == 2 else read_number(each)
        if number is not None:
            numbers[place] = number
            text |= isinstance(each, str | bool)
        elif isinstance(each, bool | list | dict) or (isinstance(each, str) and each.strip().lower() not in _NOTHING):
            return kinds.BAD_KEYPOINTS
    if nested:
        findings.add(kinds.NESTED, where)
    if text:
        findings.add(kinds.KEYPOINTS_AS_TEXT, where)
    return numbers.reshape(count, 3)


def _settle(points: NDArray[np.float64], where: str, findings: Findings) -> NDArray[np.float64]:
    """Decide about keypoints (K, 3) that aren't finite."""
    placed = np.isfinite(points[:, :2]).all(axis=1)
    labelled = points[:, 2] > 0
    unknown = np.isnan(points[:, 2]) & placed & (points[:, :2] != 0).any(axis=1)
    for kind, rows in (
        (kinds.LABELLED_PLACE, labelled & ~placed),
        (kinds.NO_VISIBILITY, unknown),
        (kinds.UNLABELLED_PLACE, ~labelled & ~placed),
    ):
        if rows.any():
            findings.add(kind, f"{where}: keypoint {int(rows.argmax())}", count=int(rows.sum()))
    settled = points.copy()
    settled[~placed] = 0
    settled[np.isnan(settled[:, 2]), 2] = 0
    return settled


def _outline_area(segmentation: object) -> float:
    """Return the area of polygons, each a flat list of x and y, or of uncompressed runs; 0 where there are none."""
    if isinstance(segmentation, dict):
        runs = read_numbers(segmentation.get("counts"))
        return float(sum(runs[1::2])) if runs and min(runs) >= 0 else 0.0
    if not isinstance(segmentation, list) or len(segmentation) > _MOST_POLYGONS:
        return 0.0
    total = 0.0
    for polygon in segmentation:
        numbers = to_numbers(polygon)
        if numbers is None or len(numbers) < 6 or len(numbers) % 2:
            return 0.0
        x, y = np.reshape(np.array(numbers, np.float64), (-1, 2)).T
        total += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    return total
