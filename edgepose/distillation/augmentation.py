"""One random warp per sample: half body, scale, shift, rotation, mirror, in UDP geometry; and the erased rectangle.

The steps and their distributions are those of mmpose's top-down pipeline (Apache-2.0), which trained ViTPose; the warp is
``edgepose.crop``'s, so that what is trained on is what is run later.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgepose.crop import pad_boxes, warp_matrices
from edgepose.distillation.recipe import Augmentation
from edgepose.skeleton import Skeleton
from edgepose.spec import Codec, InputSpec

__all__ = ["Body", "Sample", "augment"]

LOWER = ("hip", "knee", "ankle", "heel", "toe", "foot")
MIN_FOR_HALF = 8  # visible keypoints below which the box stays whole
MIN_IN_HALF = 3
HALF_MARGIN = 1.5  # a half-body box is this much larger than its keypoints' extent
MIN_HALF_PX = 8.0
SHRINK_FROM = 0.6  # below this scale the picture is blurred first: bilinear sampling alone would alias


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One training sample.

    Attributes:
        image: (height, width, 3) uint8, RGB.
        keypoints: (K, 3) float32: x and y in pixels of ``image``, and a weight; 0 where the keypoint isn't in it.
    """

    image: npt.NDArray[np.uint8]
    keypoints: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Body:
    """What augmentation needs to know of a skeleton.

    Attributes:
        flip_order: the index of each keypoint's mirror image.
        lower: (K,) whether it belongs to the lower body.
    """

    flip_order: tuple[int, ...]
    lower: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, skeleton: Skeleton) -> "Body":
        """Tell the halves by the keypoints' names."""
        lower = np.array([any(part in name for part in LOWER) for name in skeleton.keypoints])
        return cls(flip_order=skeleton.flip_order, lower=lower)


def augment(
    image: npt.NDArray[np.uint8],
    box_xyxy: npt.NDArray[np.float64],
    keypoints: npt.NDArray[np.float32],
    *,
    size: InputSpec,
    codec: Codec,
    body: Body,
    strength: Augmentation,
    random: np.random.Generator,
) -> Sample:
    """Cut a person out, changed at random.

    Args:
        image: (H, W, 3) uint8, RGB.
        box_xyxy: (4,) the person's box in image pixels.
        keypoints: (K, 3): x, y in image pixels, weight.
        size: of the network's input.
        codec: how the head is trained.
        body: mirror pairs and halves.
        strength: how much of everything.
        random: where chance comes from; always asked for the same amount, so that one change doesn't shift the others.
    """
    chance = random.random(8)
    normal = random.standard_normal(4)
    whole_box = _half_body(box_xyxy, keypoints, body, upper=chance[1] < 0.5) if chance[0] < strength.half_body else box_xyxy
    centres, sizes = pad_boxes(whole_box[None], size, codec)
    centres = centres + normal[:2] * strength.shift * sizes
    sizes = sizes * np.clip(1 + strength.scale * normal[2], 1 - strength.scale, 1 + strength.scale)
    matrix = warp_matrices(centres, sizes, size, codec)[0]
    if chance[2] < strength.rotation:
        limit = 2 * strength.rotation_deg
        matrix = _rotate(matrix, centres[0], float(np.clip(normal[3] * strength.rotation_deg, -limit, limit)))
    moved = np.column_stack([keypoints[:, :2] @ matrix[:, :2].T + matrix[:, 2], keypoints[:, 2]]).astype(np.float32)
    if chance[3] < strength.flip:
        matrix = np.array([[-1.0, 0.0], [0.0, 1.0]]) @ matrix + [[0, 0, size.width - 1.0], [0, 0, 0]]
        moved[:, 0] = size.width - 1 - moved[:, 0]
        moved = moved[list(body.flip_order)]
    warped = _warp(image, matrix, size)
    if chance[4] < strength.erase:
        _erase(warped, chance[5:8], random)
    inside = (moved[:, :2] > -1).all(axis=1) & (moved[:, 0] < size.width) & (moved[:, 1] < size.height)
    moved[~inside] = 0
    return Sample(image=warped, keypoints=moved)


def _half_body(box: npt.NDArray[np.float64], keypoints: npt.NDArray[np.float32], body: Body, *, upper: bool) -> npt.NDArray[np.float64]:
    """A box around the upper or the lower keypoints; the whole box where too few are labelled."""
    seen = keypoints[:, 2] > 0
    if seen.sum() < MIN_FOR_HALF:
        return box
    half = keypoints[seen & (body.lower ^ upper), :2].astype(np.float64)
    if len(half) < MIN_IN_HALF:
        return box
    low, high = half.min(axis=0), half.max(axis=0)
    sides = np.maximum((high - low) * HALF_MARGIN, MIN_HALF_PX)
    middle = (low + high) / 2
    return np.concatenate([middle - sides / 2, middle + sides / 2])


def _rotate(matrix: npt.NDArray[np.float64], centre: npt.NDArray[np.float64], degrees: float) -> npt.NDArray[np.float64]:
    """Turn the picture about the box's centre first."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    linear = matrix[:, :2] @ turn
    return np.column_stack([linear, matrix[:, 2] + matrix[:, :2] @ centre - linear @ centre])


def _warp(image: npt.NDArray[np.uint8], matrix: npt.NDArray[np.float64], size: InputSpec) -> npt.NDArray[np.uint8]:
    scale = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    if scale < SHRINK_FROM:
        image = cv2.GaussianBlur(image, (0, 0), 0.25 / scale)  # type: ignore[assignment]
    return cv2.warpAffine(image, matrix, (size.width, size.height), flags=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _erase(image: npt.NDArray[np.uint8], place: npt.NDArray[np.float64], random: np.random.Generator) -> None:
    """Paint a rectangle of a twelfth to a third of each side, in one colour."""
    height, width = image.shape[:2]
    sides = (1 / 12 + place[2] * random.random(2) * (1 / 3 - 1 / 12)) * (height, width)
    top, left = int(place[0] * height), int(place[1] * width)
    image[top : top + int(sides[0]), left : left + int(sides[1])] = random.integers(0, 256, 3)
