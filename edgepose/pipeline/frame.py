"""What travels through the pipeline: a frame, what was found in it, or why it couldn't be used."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgepose.estimator import Poses

__all__ = ["Detections", "Failure", "Frame", "FramePoses"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """A picture of a source.

    Attributes:
        image: (H, W, 3) uint8, RGB, upright.
        index: from 0, in the order of the source; frames that failed or were dropped are counted, too.
        time_s: the source's own time: seconds since its first frame (of a live source: the first that arrived); ``None`` where it has no
            time, as pictures do.
        name: of a picture: its path as it was given or found; else the source's name, without passwords.
    """

    image: npt.NDArray[np.uint8]
    index: int
    time_s: float | None
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A frame that couldn't be read or used; the stream goes on.

    Attributes:
        index: see ``Frame``.
        time_s: see ``Frame``.
        name: see ``Frame``.
        reason: what was wrong, for people; it names the picture or frame.
    """

    index: int
    time_s: float | None
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detections:
    """The people that a detector found.

    Attributes:
        boxes_xyxy: float32 or float64 (N, 4), left, top, right, bottom in image pixels; as exact as whoever found them knows.
        scores: float32 (N,), from 0 to 1; ``None`` where the boxes came without, as annotations do.
    """

    boxes_xyxy: npt.NDArray[np.float32] | npt.NDArray[np.float64]
    scores: npt.NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.boxes_xyxy)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FramePoses:
    """The people of one frame.

    Attributes:
        frame: the frame.
        poses: N rows, one for each person that was looked for; none where there is nobody.
        ids: int64 (N,), from 1: the same number is the same person, as far as the tracker can tell; ``None`` without tracking.
        detected: whether the detector ran on this frame; otherwise boxes were carried on from the frame before.
        dropped: frames of a live source that were dropped before this one, since the one before.
        latency_s: seconds from the frame's arrival to its poses.
    """

    frame: Frame
    poses: Poses
    ids: npt.NDArray[np.int64] | None
    detected: bool
    dropped: int = 0
    latency_s: float = 0.0

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """The frame's image."""
        return self.frame.image

    @property
    def index(self) -> int:
        """The frame's index."""
        return self.frame.index

    @property
    def time_s(self) -> float | None:
        """The frame's time."""
        return self.frame.time_s

    @property
    def name(self) -> str:
        """The frame's name."""
        return self.frame.name
