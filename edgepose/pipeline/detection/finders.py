"""People without a network: from a file, from a function, or one as large as the picture."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgepose.boxes import BoxFile, BoxStatus, judge_boxes
from edgepose.pipeline.frame import Detections, Frame

__all__ = ["BoxFileDetector", "CallableDetector", "WholePictureDetector"]


class BoxFileDetector:
    """Boxes out of a file; see ``edgepose.boxes.load_boxes``.

    Args:
        boxes: what it holds.
        moving: frames are of a video or another source that moves, and are looked up by their index; pictures are by their name.
    """

    images_only = False

    def __init__(self, boxes: BoxFile, *, moving: bool = False) -> None:
        self.description = boxes.source
        self._boxes = boxes
        self._moving = moving

    def find(self, frame: Frame) -> Detections:
        """Return the boxes of the frame.

        Raises:
            InputError: the file says nothing about it, or its boxes are in another form than pixels.
        """
        if self._moving:
            return _take(self._boxes.rows_for_frame(frame.index, frame.name), frame)
        return _take(self._boxes.rows_for_image(frame.name), frame)

    def close(self) -> None:
        """Nothing is open."""


class CallableDetector:
    """A function from image (H, W, 3) uint8 RGB to rows (N, 4 to 6), as ``PoseEstimator`` takes them."""

    images_only = True

    def __init__(self, function: Callable[[npt.NDArray[np.uint8]], npt.ArrayLike]) -> None:
        self.description = getattr(function, "__name__", type(function).__name__)
        self._function = function

    def find(self, frame: Frame) -> Detections:
        """Ask the function.

        Raises:
            InputError: what it returned aren't such rows.
        """
        return _take(self._function(frame.image), frame)

    def close(self) -> None:
        """The function is the caller's."""


class WholePictureDetector:
    """One person, as large as the picture."""

    description = "the whole picture is one person"
    images_only = False

    def find(self, frame: Frame) -> Detections:
        """Return the picture's outline."""
        height, width = frame.image.shape[:2]
        return Detections(boxes_xyxy=np.array([[0, 0, width, height]], np.float32), scores=None)

    def close(self) -> None:
        """Nothing is open."""


def _take(rows: npt.ArrayLike, frame: Frame) -> Detections:
    """Check the form of rows; those that aren't people are left out, those that can't be used stay and get a reason later."""
    judged = judge_boxes(rows, frame.image.shape)
    people = np.array([status is not BoxStatus.NOT_A_PERSON for status in judged.status], dtype=np.bool_)
    # Not rounded: the poses are those of ``PoseEstimator`` with the same boxes, to the bit.
    boxes = judged.boxes_xyxy[people]
    return Detections(boxes_xyxy=boxes, scores=None if judged.scores is None else judged.scores[people].astype(np.float32))
