"""The seams of the pipeline: what a source, a detector, a tracker, a smoother and a sink are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from edgepose.estimator import Poses
from edgepose.pipeline.frame import Detections, Failure, Frame, FramePoses

__all__ = ["Detector", "Sink", "Smoother", "Source", "SourceInfo", "SourceKind", "Tracker"]

SourceKind = Literal["pictures", "video", "camera", "stream", "raw", "iterable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """What a source is.

    Attributes:
        name: as it was given, without passwords.
        kind: pictures (one or many), a video file, a camera, a network stream, raw frames on a pipe, or a Python iterable.
        live: frames come whether or not somebody takes them: the oldest are dropped rather than lag behind.
        frames: how many there are, or ``None`` where nobody knows before the end.
        rate_hz: frames per second as the source states it, or ``None``.
        size: width and height of the first frame in pixels, or ``None`` where it isn't known or pictures differ.
        reader: what reads it, in words: "PyAV 18.1.0 (h264)", "OpenCV 5.0.0", …
    """

    name: str
    kind: SourceKind
    live: bool
    frames: int | None
    rate_hz: float | None
    size: tuple[int, int] | None
    reader: str


class Source(Protocol):
    """Where frames come from. Iterated once, by one thread; closed by any."""

    info: SourceInfo

    def __iter__(self) -> Iterator[Frame | Failure]:
        """Give the frames in order, and in their place those that can't be used.

        Raises:
            InputError: the source broke and can't go on (frames given before stand).
        """
        ...

    def close(self) -> None:
        """Free it; a thread that waits in it ends. Closing twice is allowed."""
        ...


class Detector(Protocol):
    """Who is in a frame.

    Attributes:
        description: how people are looked for, in words for tables and JSON: "rtmdet-nano on onnxruntime 1.32.0 (CPU)", "boxes.json".
        images_only: its answer depends on the image alone, so that boxes may be carried on in between.
    """

    description: str
    images_only: bool

    def find(self, frame: Frame) -> Detections:
        """Find the people; safe to call from several threads at once.

        Raises:
            InputError: the frame can't be used.
            EdgePoseError: the runtime failed.
        """
        ...

    def close(self) -> None:
        """Free it."""
        ...


class Tracker(Protocol):
    """Who is who. Used by one thread, frame after frame."""

    def carry(self, frame: Frame) -> Detections:
        """Return the boxes in which the people of the frame before are expected now; called on frames without detection."""
        ...

    def match(self, frame: Frame, detections: Detections) -> Detections:
        """Return the boxes to look at, given what the detector found: its own and those that it missed; called on frames with detection."""
        ...

    def update(self, frame: Frame, poses: Poses) -> tuple[Poses, npt.NDArray[np.int64]]:
        """Take note of the poses in the boxes that ``carry`` or ``match`` returned.

        Returns:
            The rows that are people who are (still) there, and their ids: int64 (N,).
        """
        ...


class Smoother(Protocol):
    """Keypoints without jitter. Used by one thread, frame after frame."""

    def smooth(self, time_s: float, poses: Poses, ids: npt.NDArray[np.int64]) -> Poses:
        """Return the poses with smoothed keypoints and scores; those of an id follow that id's earlier ones."""
        ...


class Sink(Protocol):
    """Where results go. Used by one thread, in the order of the frames."""

    def write(self, result: FramePoses | Failure) -> None:
        """Take a result.

        Raises:
            InputError: it can't be written, because the disk is full, say; what was written before stands.
        """
        ...

    def close(self) -> None:
        """Finish what is written: a file is whole after this. Closing twice is allowed."""
        ...
