"""Drawing poses on images."""

import cv2
import numpy as np
import numpy.typing as npt

from edgepose.errors import InputError
from edgepose.estimator import Poses
from edgepose.image import check_image

__all__ = ["draw_poses"]

Colour = tuple[int, int, int]

LEFT: Colour = (255, 138, 0)  # the person's own left
RIGHT: Colour = (0, 170, 255)
CENTRE: Colour = (120, 220, 60)
BOX: Colour = (235, 235, 235)
OUTLINE: Colour = (20, 20, 20)

LINE_SHARE = 1 / 70  # line width as a part of the person's size
FRACTION_BITS = 4  # OpenCV draws at sixteenths of a pixel
FURTHEST_PX = 100_000.0  # keypoints beyond aren't drawn: OpenCV's fixed-point coordinates would overflow


def draw_poses(image: npt.NDArray[np.uint8], poses: Poses, *, min_score: float = 0.3, boxes: bool = True) -> npt.NDArray[np.uint8]:
    """Draw poses on a copy of an image.

    The person's left side is orange, the right side blue, the middle green, as the keypoints' names say. Lines are as thick as the
    person is large, and thinner between close keypoints, so that faces and hands stay readable.

    Args:
        image: (H, W, 3) uint8, RGB.
        poses: what ``PoseEstimator`` returned for it; rows of boxes that can't be used aren't drawn.
        min_score: keypoints with a lower score are left out, and links that end in them.
        boxes: draw the boxes, too.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        InputError: the image isn't one, or ``min_score`` is NaN.
    """
    if np.isnan(min_score):
        raise InputError("min_score is NaN; expected a number")
    canvas = check_image(image).copy()
    skeleton = poses.skeleton
    sides = [_side(name) for name in skeleton.keypoints]
    links = np.array(skeleton.link_indices, dtype=np.intp).reshape(-1, 2)
    people = np.flatnonzero(poses.usable)
    boxes_xyxy = poses.boxes_xyxy[people]
    sizes = np.sqrt(np.prod(np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 1.0), axis=1))
    thickest = [float(width) for width in np.clip(sizes * LINE_SHARE, 1.0, max(1.0, max(image.shape[:2]) / 50))]
    if boxes:
        for box, width in zip(boxes_xyxy, thickest, strict=True):
            _draw_box(canvas, box, max(1, round(width / 3)))
    for points, scores, width in zip(poses.keypoints_xy[people], poses.scores[people], thickest, strict=True):
        with np.errstate(invalid="ignore"):
            shown = (scores >= min_score) & (np.abs(points) < FURTHEST_PX).all(axis=1)
        visible = links[shown[links].all(axis=1)]
        lengths = np.linalg.norm(points[visible[:, 0]] - points[visible[:, 1]], axis=1)
        widths = np.clip(lengths / 6, 1.0, width)
        _draw_links(canvas, points, visible, widths, sides)
        _draw_points(canvas, points, np.flatnonzero(shown), _radii(len(points), visible, widths, width), sides)
    return canvas


def _draw_box(canvas: npt.NDArray[np.uint8], box: npt.NDArray[np.float32], thickness: int) -> None:
    corners = _fixed(np.clip(box, -FURTHEST_PX, FURTHEST_PX).reshape(2, 2))
    for colour, extra in ((OUTLINE, 2), (BOX, 0)):
        cv2.rectangle(canvas, corners[0], corners[1], colour, thickness + extra, cv2.LINE_AA, FRACTION_BITS)


def _draw_links(
    canvas: npt.NDArray[np.uint8],
    points: npt.NDArray[np.float32],
    links: npt.NDArray[np.intp],
    widths: npt.NDArray[np.float32],
    sides: list[Colour],
) -> None:
    """Dark outlines first, so that no line's outline cuts through another line."""
    fixed = _fixed(points)
    for outlined in (True, False):
        for (start, end), width in zip(links, widths, strict=True):
            colour = OUTLINE if outlined else _link_colour(sides[start], sides[end])
            thickness = max(1, round(float(width))) + (2 if outlined else 0)
            cv2.line(canvas, fixed[start], fixed[end], colour, thickness, cv2.LINE_AA, FRACTION_BITS)


def _draw_points(
    canvas: npt.NDArray[np.uint8],
    points: npt.NDArray[np.float32],
    shown: npt.NDArray[np.intp],
    radii: npt.NDArray[np.float64],
    sides: list[Colour],
) -> None:
    fixed = _fixed(points)
    for outlined in (True, False):
        for index in shown:
            radius = round((radii[index] + (1.0 if outlined else 0.0)) * (1 << FRACTION_BITS))
            cv2.circle(canvas, fixed[index], radius, OUTLINE if outlined else sides[index], cv2.FILLED, cv2.LINE_AA, FRACTION_BITS)


def _radii(keypoints: int, links: npt.NDArray[np.intp], widths: npt.NDArray[np.float32], width: float) -> npt.NDArray[np.float64]:
    """Dots a little wider than the thickest line that ends in them; those without a line are as small as a thin one."""
    thickest = np.full(keypoints, max(1.0, width / 3))
    for end in (0, 1):
        np.maximum.at(thickest, links[:, end], widths)
    return thickest * 0.9 + 0.5


def _fixed(points: npt.NDArray[np.float32]) -> list[tuple[int, int]]:
    """Coordinates in OpenCV's fixed-point form; those that can't be drawn become zero."""
    drawable = np.where(np.abs(points) <= FURTHEST_PX, points, 0.0)
    return [(int(x), int(y)) for x, y in np.rint(drawable * (1 << FRACTION_BITS))]


def _side(name: str) -> Colour:
    words = name.lower().replace("-", "_").split("_")
    if "left" in words or "l" in words:
        return LEFT
    return RIGHT if "right" in words or "r" in words else CENTRE


def _link_colour(start: Colour, end: Colour) -> Colour:
    """A link from one side to the other belongs to neither; one from the middle belongs to the side that it reaches."""
    if start == CENTRE:
        return end
    return start if end in (start, CENTRE) else CENTRE
