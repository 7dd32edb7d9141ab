"""Cameras, and video files where PyAV isn't installed, through OpenCV."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

from edgepose.errors import InputError
from edgepose.pipeline.frame import Failure, Frame
from edgepose.pipeline.protocols import SourceInfo, SourceKind
from edgepose.pipeline.sources.options import SourceOptions

__all__ = ["OpenCVSource", "list_cameras", "open_camera", "open_video"]


class OpenCVSource:
    """Frames of a ``cv2.VideoCapture``."""

    def __init__(self, capture: Any, name: str, kind: SourceKind, options: SourceOptions) -> None:
        width, height, count, rate = (
            capture.get(which)
            for which in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS)
        )
        if width * height > options.max_pixels:
            capture.release()
            raise InputError(f"can't use {name!r}: {width:.0f}×{height:.0f} pixels; allowed: {options.max_pixels} (max_pixels)")
        self._live = kind == "camera"
        self.info = SourceInfo(
            name=name,
            kind=kind,
            live=self._live,
            frames=int(count) if count > 0 and not self._live else None,
            rate_hz=float(rate) if 0 < rate < 100_000 else None,
            size=(int(width), int(height)) if width else None,
            reader=f"OpenCV {cv2.__version__} ({capture.getBackendName()})",
        )
        self._capture = capture
        self._name = name
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame | Failure]:
        index, begin = 0, None
        try:
            while not self._closed.is_set():
                done, image = self._capture.read()
                if not done:
                    break
                now = time.monotonic() if self._live else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
                begin = now if begin is None else begin
                yield Frame(image=cv2.cvtColor(image, cv2.COLOR_BGR2RGB), index=index, time_s=now - begin, name=self._name)
                index += 1
        finally:
            self._capture.release()
        if self._closed.is_set():
            return
        if self._live:
            raise InputError(f"{self._name}: gives no more frames, after {index}: it was unplugged, or another program took it")
        if self.info.frames and index < self.info.frames:
            reason = f"{self._name}: the video breaks off after {index} of {self.info.frames} frames"
            yield Failure(index=index, time_s=None, name=self._name, reason=reason)

    def close(self) -> None:
        """Stop at the next frame."""
        self._closed.set()


def open_video(path: Path, options: SourceOptions) -> OpenCVSource:
    """Open a video file.

    Raises:
        InputError: OpenCV can't.
    """
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise InputError(f"can't read {str(path)!r}: not a video that OpenCV reads; with PyAV (pip install 'edgepose[video]') more are")
    return OpenCVSource(capture, str(path), "video", options)


def open_camera(number: int, options: SourceOptions) -> OpenCVSource:
    """Open a camera.

    Raises:
        InputError: it isn't there, or another program has it.
    """
    cameras = list_cameras()
    name = f"camera {number}"
    if cameras is not None and number not in cameras:
        there = ", ".join(f"camera {each}" for each in cameras) or "no camera at all"
        raise InputError(f"there is no {name} on this machine; there is {there}")
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise InputError(f"can't open {name}: another program has it, or you may not use it")
    if options.size is not None:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.size[1])
    if options.rate_hz is not None:
        capture.set(cv2.CAP_PROP_FPS, options.rate_hz)
    return OpenCVSource(capture, name, "camera", options)


def list_cameras() -> list[int] | None:
    """Return the numbers of the cameras on a Linux machine; ``None`` where nobody can tell without opening each."""
    if not sys.platform.startswith("linux"):
        return None
    return sorted(int(file.name[5:]) for file in Path("/dev").glob("video*") if file.name[5:].isdecimal())
