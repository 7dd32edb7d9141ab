"""Whom a model is run on: the annotated people, or what a detector found."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.boxes import MAX_COORDINATE_PX, MIN_SIDE_PX
from edgepose.document import parse_json
from edgepose.errors import InputError, SpecError
from edgepose.evaluation.annotations import WHOLEBODY_PARTS
from edgepose.evaluation.coco_file import to_numbers, whole_number
from edgepose.evaluation.dataset import Annotations, People

__all__ = ["annotated_people", "detected_people"]

_BODY = WHOLEBODY_PARTS["keypoints"]
_UNUSABLE_BOX = "boxes that can't be used"


def annotated_people(annotations: Annotations) -> People:
    """Return the annotated boxes, as the published evaluations with ground-truth boxes use them.

    From mmpose 0.x (Apache-2.0): boxes are cut at the picture's border and lose a pixel of width and height; left out are crowds, people
    without a labelled keypoint (COCO-WholeBody: of the body), and those without area. MPII's squares are taken as they are.
    """
    published = annotations.head_sizes is not None
    boxes = _square_boxes(annotations) if published else _clean_boxes(annotations)
    points = annotations.keypoints[:, :_BODY] if annotations.keypoints.shape[1] == sum(WHOLEBODY_PARTS.values()) else annotations.keypoints
    labelled = (points[:, :, 2] > 0).any(axis=1)
    if annotations.stated_keypoints is not None:
        labelled &= annotations.stated_keypoints > 0
    reasons = {
        "crowds": annotations.crowd,
        "people without labelled keypoints": ~labelled & (not published),
        "people without area": annotations.areas <= 0,
        _UNUSABLE_BOX: ~_usable(boxes, annotations.picture_sizes[annotations.pictures]),
    }
    skipped: dict[str, int] = {}
    kept = np.ones(len(boxes), np.bool_)
    for reason, left_out in reasons.items():
        if (kept & left_out).any():
            skipped[reason] = int((kept & left_out).sum())
        kept &= ~left_out
    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(annotations.pictures[rows], kind="stable")]
    return People(
        pictures=annotations.pictures[rows],
        boxes_xyxy=boxes[rows],
        scores=np.ones(len(rows)),
        categories=annotations.categories[rows],
        annotations=rows.astype(np.int64),
        skipped=skipped,
    )


def detected_people(path: str | Path, annotations: Annotations, *, min_score: float = 0.0) -> People:
    """Read a detector's results in COCO's form: a JSON list of ``image_id``, ``category_id``, ``bbox`` (x, y, width, height), ``score``.

    What can't be used, or isn't of a category that has annotated keypoints, is left out and counted in ``skipped``.

    Args:
        path: the file.
        annotations: the pictures, and which categories have keypoints.
        min_score: detections below are left out.

    Raises:
        InputError: the file can't be read, or no detection in it can be used.
        SpecError: its content isn't of that form.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"can't read the detections {str(path)!r}: {error.strerror or error}") from None
    document = parse_json(content, where=str(path))
    del content
    if not isinstance(document, list) or not all(isinstance(entry, dict) for entry in document):
        raise SpecError(f"{path} isn't a list of objects; expected COCO detections: image_id, category_id, bbox (x, y, w, h), score")
    if not document:
        raise InputError(f"{path} holds no detection at all: its list is empty")
    place = {int(identity): number for number, identity in enumerate(annotations.picture_ids)}
    categories = {int(category) for category in np.unique(annotations.categories)}
    skipped: Counter[str] = Counter()
    facts = np.zeros((len(document), 2), np.int64)  # picture, category
    rows = np.zeros((len(document), 5))  # box, score
    kept = 0
    for number, entry in enumerate(document):
        where = f"{path}: detection {number}"
        facts[kept] = place.get(whole_number(entry, "image_id", where), -1), whole_number(entry, "category_id", where)
        fault = _read_detection(entry, facts[kept], categories, min_score, rows[kept])
        if fault:
            skipped[fault] += 1
        else:
            kept += 1
    facts, rows = facts[:kept], rows[:kept]
    usable = _usable(rows[:, :4], annotations.picture_sizes[facts[:, 0]])
    if not usable.all():
        skipped[_UNUSABLE_BOX] += int((~usable).sum())
    if not usable.any():
        raise InputError(_nothing_left(path, document, annotations, skipped))
    order = np.flatnonzero(usable)
    order = order[np.argsort(facts[order, 0], kind="stable")]
    return People(
        pictures=facts[order, 0],
        boxes_xyxy=rows[order, :4],
        scores=rows[order, 4],
        categories=facts[order, 1],
        annotations=np.full(len(order), -1, np.int64),
        skipped=dict(skipped),
    )


def _clean_boxes(annotations: Annotations) -> NDArray[np.float64]:
    """Boxes (N, 4), left, top, right, bottom, inside the pictures; mmpose calls them ``clean_bbox``."""
    low = np.maximum(annotations.boxes_xywh[:, :2], 0)
    high = low + np.maximum(annotations.boxes_xywh[:, 2:] - 1, 0)
    sizes = annotations.picture_sizes[annotations.pictures]
    return np.concatenate([low, np.where(sizes > 0, np.minimum(high, sizes - 1), high)], axis=1)


def _square_boxes(annotations: Annotations) -> NDArray[np.float64]:
    low = annotations.boxes_xywh[:, :2]
    return np.concatenate([low, low + annotations.boxes_xywh[:, 2:]], axis=1)


def _usable(boxes: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which boxes (N, 4) ``check_boxes`` accepts for pictures of the sizes (N, 2); a size of 0 is unknown."""
    low, high = boxes[:, :2], boxes[:, 2:]
    fits = (high - low >= MIN_SIDE_PX) & (high > 0) & ((sizes == 0) | (low < sizes))
    usable: NDArray[np.bool_] = fits.all(axis=1) & (np.abs(boxes) <= MAX_COORDINATE_PX).all(axis=1)
    return usable


def _read_detection(
    entry: Mapping[str, object], facts: NDArray[np.int64], categories: set[int], min_score: float, row: NDArray[np.float64]
) -> str:
    """Write a detection's box and score to ``row``; returns why it can't be used, or nothing."""
    picture, category = facts
    if int(category) not in categories:
        return "detections of other categories"
    if picture < 0:
        return "detections of unknown pictures"
    box, score = to_numbers(entry.get("bbox"), 4), to_numbers([entry.get("score")])
    if box is None or min(box[2:]) < 0:
        return _UNUSABLE_BOX
    if score is None or score[0] < 0:
        return "detections without a usable score"
    if score[0] < min_score:
        return "detections below the least score"
    left, top, width, height = box
    row[:] = left, top, left + width, top + height, score[0]
    return ""


def _nothing_left(path: Path, document: list[Mapping[str, object]], annotations: Annotations, skipped: Mapping[str, int]) -> str:
    if skipped.get("detections of unknown pictures"):
        ids = [entry["image_id"] for entry in document[:3]]
        known = [int(identity) for identity in annotations.picture_ids[:3]]
        hint = f": its image ids begin {ids}, those of {annotations.source} {known}; is it of another data set?"
    else:
        hint = ""
    return f"none of the {len(document)} detections in {path} can be used ({', '.join(f'{n} {why}' for why, n in skipped.items())}){hint}"
