"""Whom a model is run on where no detector says so: the annotated people."""

import numpy as np
from numpy.typing import NDArray

from edgepose.boxes import MAX_COORDINATE_PX, MIN_SIDE_PX
from edgepose.evaluation.categories import WHOLEBODY_PARTS
from edgepose.evaluation.dataset import Annotations, People

__all__ = ["annotated_people", "usable_boxes"]

_BODY = WHOLEBODY_PARTS["keypoints"]


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
        "boxes that can't be used": ~usable_boxes(boxes, annotations.picture_sizes[annotations.pictures]),
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


def _clean_boxes(annotations: Annotations) -> NDArray[np.float64]:
    """Boxes (N, 4), left, top, right, bottom, inside the pictures; mmpose calls them ``clean_bbox``."""
    low = np.maximum(annotations.boxes_xywh[:, :2], 0)
    high = low + np.maximum(annotations.boxes_xywh[:, 2:] - 1, 0)
    sizes = annotations.picture_sizes[annotations.pictures]
    return np.concatenate([low, np.where(sizes > 0, np.minimum(high, sizes - 1), high)], axis=1)


def _square_boxes(annotations: Annotations) -> NDArray[np.float64]:
    low = annotations.boxes_xywh[:, :2]
    return np.concatenate([low, low + annotations.boxes_xywh[:, 2:]], axis=1)


def usable_boxes(boxes: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which boxes (N, 4) ``check_boxes`` accepts for pictures of the sizes (N, 2); a size of 0 is unknown."""
    low, high = boxes[:, :2], boxes[:, 2:]
    fits = (high - low >= MIN_SIDE_PX) & (high > 0) & ((sizes == 0) | (low < sizes))
    usable: NDArray[np.bool_] = fits.all(axis=1) & (np.abs(boxes) <= MAX_COORDINATE_PX).all(axis=1)
    return usable
