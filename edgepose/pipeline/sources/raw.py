"""Raw frames on a pipe, one after the other without any header, as ``ffmpeg -f rawvideo`` writes them."""

import threading
from collections.abc import Iterator
from typing import BinaryIO

import cv2
import numpy as np
import numpy.typing as npt

from edgepose.errors import InputError
from edgepose.pipeline.frame import Failure, Frame
from edgepose.pipeline.protocols import SourceInfo

__all__ = ["PIXEL_FORMATS", "RawSource"]

# Name as FFmpeg's → bytes per two pixels, and OpenCV's conversion.
PIXEL_FORMATS: dict[str, tuple[int, int | None]] = {
    "rgb24": (6, None),
    "bgr24": (6, cv2.COLOR_BGR2RGB),
    "rgba": (8, cv2.COLOR_RGBA2RGB),
    "bgra": (8, cv2.COLOR_BGRA2RGB),
    "gray": (2, cv2.COLOR_GRAY2RGB),
    "yuv420p": (3, cv2.COLOR_YUV2RGB_I420),
    "nv12": (3, cv2.COLOR_YUV2RGB_NV12),
}


class RawSource:
    """Frames of one size from a binary stream.

    Args:
        file: read to its end; not closed.
        size: width and height in pixels.
        pixel_format: see ``PIXEL_FORMATS``.
        rate_hz: frames per second, for their times; ``None``: frames have none.

    Raises:
        InputError: an unknown pixel format, or odd sides where it shares colours between pixels.
    """

    def __init__(self, file: BinaryIO, size: tuple[int, int], *, pixel_format: str, rate_hz: float | None) -> None:
        if pixel_format not in PIXEL_FORMATS:
            raise InputError(f"pixel format is {pixel_format!r}; allowed: {', '.join(PIXEL_FORMATS)}")
        if PIXEL_FORMATS[pixel_format][0] == 3 and (size[0] % 2 or size[1] % 2):
            raise InputError(f"size is {size[0]}×{size[1]}; {pixel_format} needs even sides")
        self.info = SourceInfo(
            name="standard input", kind="raw", live=False, frames=None, rate_hz=rate_hz, size=size, reader=f"raw {pixel_format}"
        )
        self._file = file
        self._size = size
        self._format = pixel_format
        self._rate_hz = rate_hz
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame | Failure]:
        width, height = self._size
        expected = width * height * PIXEL_FORMATS[self._format][0] // 2
        index = 0
        while not self._closed.is_set():
            content = self._read(expected)
            if not content:
                return
            time_s = None if self._rate_hz is None else index / self._rate_hz
            if len(content) < expected:
                reason = f"frame {index}: the input ended after {len(content)} of its {expected} bytes ({width}×{height} {self._format})"
                yield Failure(index=index, time_s=time_s, name=self.info.name, reason=reason)
                return
            yield Frame(image=self._convert(np.frombuffer(content, np.uint8)), index=index, time_s=time_s, name=self.info.name)
            index += 1

    def close(self) -> None:
        """Stop at the next frame."""
        self._closed.set()

    def _read(self, size: int) -> bytearray:
        content = bytearray()
        while len(content) < size and (piece := self._file.read(size - len(content))):
            content += piece
        return content

    def _convert(self, values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        width, height = self._size
        twice, code = PIXEL_FORMATS[self._format]
        shape = (height * 3 // 2, width) if twice == 3 else (height, width) if twice == 2 else (height, width, twice // 2)
        image = values.reshape(shape)
        return image.copy() if code is None else cv2.cvtColor(image, code).astype(np.uint8, copy=False)
