"""People's poses on an image."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgepose.drawing.body import draw_body, figure_of
from edgepose.drawing.box import draw_box
from edgepose.drawing.colours import BOX, colour_id
from edgepose.drawing.label import Label, draw_labels
from edgepose.drawing.strokes import FURTHEST_PX
from edgepose.errors import InputError
from edgepose.estimator import Poses
from edgepose.image import check_image

__all__ = ["draw_poses"]

THINNEST_PX = 0.8
THICKEST = 1 / 40  # a line's width as a part of the person's size, at most: of small people in large pictures
BOX_LINE = 0.5  # of the width of the person's lines
BOX_THINNEST_PX = 0.7
SPREADS = 4.0  # the size of a person in a tight box is about two standard deviations of the keypoints' places
FADE = 0.3  # scores above the least in which keypoints become opaque


def draw_poses(
    image: npt.NDArray[np.uint8],
    poses: Poses,
    *,
    min_score: float = 0.3,
    boxes: bool = True,
    ids: npt.ArrayLike | None = None,
    labels: Sequence[str] | None = None,
) -> npt.NDArray[np.uint8]:
    """Draw poses on a copy of an image.

    The person's left side is orange, the right side blue, the middle green, as the keypoints' names say. Lines grow with the person,
    more slowly than it, and are thinner between close keypoints, so that faces and hands stay readable. A keypoint fades in from
    ``min_score`` on: the less certain it is, the fainter it and its links are, and the hollower its joint. Larger people are drawn over
    smaller ones.

    Args:
        image: (H, W, 3) uint8, RGB.
        poses: what ``PoseEstimator`` returned for it; rows of boxes that can't be used aren't drawn.
        min_score: keypoints with this score or a lower one are left out, and links that end in them.
        boxes: draw the boxes, too.
        ids: N whole numbers: who is who. Box and label have the id's colour, which is the same in every image.
        labels: N short texts, written at the boxes, behind the ids; an empty one isn't.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        InputError: the image isn't one, ``min_score`` is NaN, or there aren't as many ids or labels as rows.
    """
    if np.isnan(min_score):
        raise InputError("min_score is NaN; expected a number")
    canvas = check_image(image).copy()
    numbers = _check_ids(ids, len(poses))
    texts = _check_labels(labels, len(poses))
    figure = figure_of(poses.skeleton)
    points = poses.keypoints_xy.astype(np.float64)
    with np.errstate(invalid="ignore"):
        drawable = (np.abs(points) < FURTHEST_PX).all(axis=2)
    opacities = np.where(drawable, _fade(poses.scores, min_score), 0.0)
    boxes_xyxy = np.clip(np.nan_to_num(poses.boxes_xyxy.astype(np.float64)), -FURTHEST_PX, FURTHEST_PX)
    sizes = [_size(box, *each) for box, *each in zip(boxes_xyxy, points, opacities, strict=True)]
    widths = [_width(size, max(canvas.shape[:2])) for size in sizes]
    order = sorted(np.flatnonzero(poses.usable).tolist(), key=sizes.__getitem__)
    colours = [BOX] * len(poses) if numbers is None else [colour_id(number) for number in numbers]
    if boxes:
        for person in order:
            draw_box(canvas, boxes_xyxy[person], colours[person], min(max(BOX_LINE * widths[person], BOX_THINNEST_PX), widths[person]))
    for person in order:
        draw_body(canvas, figure, points[person], opacities[person], widths[person])
    shown = [(person, text) for person in order if (text := _text(person, numbers, texts))]
    draw_labels(canvas, [Label(text, colours[person], boxes_xyxy[person], sizes[person]) for person, text in shown])
    return canvas


def _check_ids(ids: npt.ArrayLike | None, people: int) -> list[int] | None:
    if ids is None:
        return None
    numbers = np.asarray(ids)
    if numbers.shape != (people,) or (people and numbers.dtype.kind not in "iu"):
        raise InputError(f"ids are {numbers.dtype} {numbers.shape}; expected one whole number for each of the {people} rows")
    return [int(number) for number in numbers]


def _check_labels(labels: Sequence[str] | None, people: int) -> list[str] | None:
    if labels is None:
        return None
    texts = list(labels)
    if isinstance(labels, str) or len(texts) != people or not all(isinstance(text, str) for text in texts):
        raise InputError(f"labels are {labels!r:.200}; expected one string for each of the {people} rows")
    return texts


def _text(person: int, numbers: list[int] | None, texts: list[str] | None) -> str:
    return " ".join(part for part in ("" if numbers is None else str(numbers[person]), "" if texts is None else texts[person]) if part)


def _fade(scores: npt.NDArray[np.float32], min_score: float) -> npt.NDArray[np.float64]:
    """0 at ``min_score``, 1 some way above it, without a step: what is drawn on a video doesn't jump.

    Scores above 1 are rare, so a high ``min_score`` leaves less of a way.
    """
    way = min(FADE, max((1.0 - min_score) / 2, 0.05))
    with np.errstate(invalid="ignore"):  # scores and min_score may be infinite
        share = np.clip((scores.astype(np.float64) - min_score) / way, 0.0, 1.0)
    return np.asarray(np.nan_to_num(share * (2.0 - share)))


def _size(box: npt.NDArray[np.float64], points: npt.NDArray[np.float64], opacities: npt.NDArray[np.float64]) -> float:
    """The root of the box's area in pixels, or less where the box is much larger than the person, as that of the whole image is.

    How far keypoints spread counts them by their opacity, so that the size doesn't jump when one appears.
    """
    size = math.sqrt(max(float(box[2] - box[0]), 1.0) * max(float(box[3] - box[1]), 1.0))
    seen = opacities > 0
    if not seen.any():
        return size
    weights = opacities[seen] / opacities[seen].sum()
    distances = points[seen] - weights @ points[seen]
    spread = math.sqrt(float(weights @ np.square(distances).sum(axis=1)))
    return max(min(size, SPREADS * spread), size / 4)


def _width(size: float, longer: float) -> float:
    """The width of a person's lines in pixels: a seventieth of one of 100 pixels, a hundred-and-twentieth of one of 1500.

    Wider in pictures of more than 1000 pixels, which are looked at from further away.
    """
    grown = 0.0359 * math.pow(size, 0.8) * math.pow(max(1.0, longer / 1000), 0.2)
    return max(min(grown, THICKEST * size), THINNEST_PX)
