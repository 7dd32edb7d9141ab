"""What the models get: crops and frames of real photos, never zeros.

Activations decide which branches denormal numbers, saturation and sparsity take, and quantized models see the values that they were
calibrated for. Inputs are made on the host and travel as one ``.npz`` file, so that a device needs no OpenCV to measure inference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InputError
from edgepose.spec import Codec, InputSpec

__all__ = ["Inputs", "Photo", "make_inputs", "read_photos"]

FRAME_HEIGHT, FRAME_WIDTH = 720, 1280
MIN_CROPS = 8
JITTER = 0.04


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Photo:
    """A photo and the people in it.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        boxes_xyxy: (N, 4), image pixels.
    """

    image: NDArray[np.uint8]
    boxes_xyxy: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inputs:
    """What one model gets.

    Attributes:
        crops: float32 (M, 3, H, W), normalized; M is at least ``MIN_CROPS``.
        frames: uint8 (F, 720, 1280, 3), RGB; empty for the inference stage.
        boxes_xyxy: (F, people, 4), frame pixels.
    """

    crops: NDArray[np.float32]
    frames: NDArray[np.uint8]
    boxes_xyxy: NDArray[np.float64]

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file."""
        np.savez(path, crops=self.crops, frames=self.frames, boxes_xyxy=self.boxes_xyxy)

    @classmethod
    def load(cls, path: Path) -> "Inputs":
        """Read what ``save`` wrote."""
        with np.load(path) as arrays:
            return cls(crops=arrays["crops"], frames=arrays["frames"], boxes_xyxy=arrays["boxes_xyxy"])

    def batches(self, size: int) -> list[NDArray[np.float32]]:
        """Cut the crops into C-contiguous batches of ``size``, again from the first one when they run out."""
        count = max(1, len(self.crops) // size)
        return [np.ascontiguousarray(np.take(self.crops, range(i * size, (i + 1) * size), axis=0, mode="wrap")) for i in range(count)]


def read_photos(paths: Sequence[Path], boxes: Path | None) -> list[Photo]:
    """Read photos and their boxes.

    Args:
        paths: image files; none takes the sample photo with its four people.
        boxes: a file that ``edgepose.boxes.load_boxes`` reads; ``None`` takes each image as one box, or the sample photo's own boxes.

    Raises:
        InputError: an image can't be used, or there is no box that can.
        SpecError: the boxes file has another form.
    """
    from edgepose.assets import SAMPLE_BOXES, SAMPLE_IMAGE
    from edgepose.boxes import judge_boxes, load_boxes
    from edgepose.image import read_image

    if not paths:
        paths, boxes = [SAMPLE_IMAGE], boxes or SAMPLE_BOXES
    file = load_boxes(boxes) if boxes else None
    if file:
        file.check_names(paths)
    photos = []
    for path in paths:
        image = read_image(path)
        whole = [[0, 0, image.shape[1], image.shape[0]]]
        judged = judge_boxes(file.for_image(path) if file else whole, image.shape)
        photos.append(Photo(image=image, boxes_xyxy=judged.boxes_xyxy[judged.usable]))
    if not any(len(photo.boxes_xyxy) for photo in photos):
        raise InputError(f"{boxes} holds no boxes for these photos: there is nothing to measure on")
    return [photo for photo in photos if len(photo.boxes_xyxy)]


def make_inputs(photos: Sequence[Photo], input_spec: InputSpec, codec: Codec, *, people: int | None) -> Inputs:
    """Make the crops of one model, and frames with ``people`` boxes each if that isn't ``None``.

    People are repeated, each time with a slightly different box, until there are enough.
    """
    from edgepose.crop import crop

    generator = np.random.default_rng(0)
    each = -(-MIN_CROPS // len(photos))
    crops = [crop(photo.image, _repeat(photo, each, generator), input_spec, codec).batch for photo in photos]
    framed = [_frame(photo) for photo in photos] if people else []
    frames = np.empty((len(framed), FRAME_HEIGHT, FRAME_WIDTH, 3), np.uint8)
    boxes_xyxy = np.empty((len(framed), people or 0, 4))
    for index, photo in enumerate(framed):
        frames[index] = photo.image
        boxes_xyxy[index] = _repeat(photo, people or 0, generator)
    return Inputs(crops=np.concatenate(crops), frames=frames, boxes_xyxy=boxes_xyxy)


def _repeat(photo: Photo, count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """``count`` boxes: the photo's own, then the same again, moved by a few percent of their size."""
    boxes = np.resize(photo.boxes_xyxy, (count, 4))
    sizes = boxes[:, 2:] - boxes[:, :2]
    moves = generator.uniform(-JITTER, JITTER, (count, 2)) * sizes
    moves[: len(photo.boxes_xyxy)] = 0
    moved: NDArray[np.float64] = boxes + np.tile(moves, 2)
    height, width = photo.image.shape[:2]
    # A box that reached the border only just stays inside.
    inside = (moved[:, 2:] > 1).all(axis=1) & (moved[:, 0] < width - 1) & (moved[:, 1] < height - 1)
    return np.where(inside[:, None], moved, boxes)


def _frame(photo: Photo) -> Photo:
    """The photo, scaled into a frame and mirrored at its borders where it has another shape."""
    import cv2

    height, width = photo.image.shape[:2]
    scale = min(FRAME_WIDTH / width, FRAME_HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = photo.image if size == (width, height) else cv2.resize(photo.image, size, interpolation=cv2.INTER_AREA)
    framed = cv2.copyMakeBorder(image, 0, FRAME_HEIGHT - size[1], 0, FRAME_WIDTH - size[0], cv2.BORDER_REFLECT_101)
    return Photo(image=np.asarray(framed, np.uint8), boxes_xyxy=photo.boxes_xyxy * scale)
