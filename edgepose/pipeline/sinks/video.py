"""Annotated video: H.264 where the build of FFmpeg has it, else Motion JPEG; through OpenCV where PyAV isn't installed.

The file grows under its final name and can be played at any time up to what has been written, because that is what somebody wants who
ends a recording with a power switch: an MP4 is written in fragments of a second, Matroska and AVI can be read up to where they end.
"""

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgepose.errors import InputError, MissingDependencyError
from edgepose.pipeline.frame import Failure, FramePoses
from edgepose.pipeline.sinks.context import SinkContext, draw_result, explain_write_error, prepare_file
from edgepose.runtime.packages import import_package

__all__ = ["OpenCVVideoSink", "PyAVVideoSink", "open_video_sink"]

SUFFIXES = (".mp4", ".mkv", ".mov", ".avi")
_ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "h264_v4l2m2m")
_TICKS = 90_000  # per second: exact for all usual rates
_RATE_HZ = 25.0  # of a source without times or rate
_FLUSHED = {"flush_packets": "1"}  # nothing waits in FFmpeg's buffer
_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
_CLUSTERED = {"cluster_time_limit": "500"}  # milliseconds
_LAYOUTS = {".mp4": _FRAGMENTED, ".mov": _FRAGMENTED, ".mkv": _CLUSTERED}
_QUALITY = {"libx264": {"preset": "veryfast", "crf": "20", "tune": "zerolatency"}, "mjpeg": {"q:v": "3"}}


class PyAVVideoSink:
    """Writes frames with the times of their source.

    Attributes:
        description: the encoder, in words.
    """

    def __init__(self, path: Path, context: SinkContext, av: Any) -> None:
        prepare_file(path, context)
        self._av = av
        self._path = path
        self._context = context
        encoder = next((name for name in _ENCODERS if _has(av, name)), "mjpeg")
        self.description = f"{'H.264' if encoder != 'mjpeg' else 'Motion JPEG (this build of FFmpeg has no H.264)'} by {encoder}"
        self._encoder = encoder
        settings = _FLUSHED | _LAYOUTS.get(path.suffix.lower(), {})
        try:
            self._container = av.open(str(path), "w", options=settings)
        except OSError as error:
            raise explain_write_error(path, error) from None
        self._stream: Any = None
        self._last_pts = -1
        self._closed = False

    def write(self, result: FramePoses | Failure) -> None:
        """Encode a frame; a failure leaves a gap in time."""
        if isinstance(result, Failure) or self._closed:
            return
        image = draw_result(result, self._context)
        if self._stream is None:
            self._begin(image)
        rate = self._context.info.rate_hz or _RATE_HZ
        time_s = result.index / rate if result.time_s is None else result.time_s
        frame = self._av.VideoFrame.from_ndarray(_fit(image, self._stream.width, self._stream.height), format="rgb24")
        frame.pts = self._last_pts = max(round(time_s * _TICKS), self._last_pts + 1)
        frame.time_base = Fraction(1, _TICKS)
        self._mux(frame)

    def close(self) -> None:
        """Finish the file."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._stream is not None:
                for packet in self._stream.encode(None):
                    self._container.mux(packet)
            self._container.close()
        except (OSError, self._av.error.FFmpegError) as error:
            raise InputError(f"can't finish {str(self._path)!r}: {error.strerror or error}") from None
        if self._stream is None:
            self._path.unlink(missing_ok=True)  # a video without a frame is no video

    def _begin(self, image: npt.NDArray[np.uint8]) -> None:
        """Start the stream with the first frame's size; H.264 halves colours, so sides are even."""
        rate = self._context.info.rate_hz or _RATE_HZ
        stream = self._container.add_stream(
            self._encoder, rate=Fraction(rate).limit_denominator(1001), options=_QUALITY.get(self._encoder, {})
        )
        stream.height, stream.width = (side + side % 2 for side in image.shape[:2])
        stream.pix_fmt = "yuvj420p" if self._encoder == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, _TICKS)
        stream.codec_context.gop_size = max(1, round(rate))
        self._stream = stream

    def _mux(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except (OSError, self._av.error.FFmpegError) as error:
            raise InputError(f"can't write {str(self._path)!r}: {error.strerror or error}") from None


class OpenCVVideoSink:
    """Motion JPEG at a constant rate.

    Attributes:
        description: the encoder, in words.
    """

    description = "Motion JPEG by OpenCV, at a constant rate (pip install 'edgepose[video]' writes H.264 with the source's times)"

    def __init__(self, path: Path, context: SinkContext) -> None:
        if path.suffix.lower() not in (".avi", ".mkv"):
            raise MissingDependencyError("av", extra="video", purpose=f"writing {path.suffix} (OpenCV writes .avi and .mkv)")
        prepare_file(path, context)
        self._path = path
        self._context = context
        self._writer: Any = None
        self._size = (0, 0)

    def write(self, result: FramePoses | Failure) -> None:
        """Encode a frame."""
        if isinstance(result, Failure):
            return
        image = draw_result(result, self._context)
        if self._writer is None:
            self._size = (image.shape[1], image.shape[0])
            rate = self._context.info.rate_hz or _RATE_HZ
            self._writer = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*"MJPG"), rate, self._size)
            if not self._writer.isOpened():
                raise InputError(f"can't write {str(self._path)!r}: OpenCV has no encoder for it")
        self._writer.write(cv2.cvtColor(_fit(image, *self._size), cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


def open_video_sink(path: Path, context: SinkContext) -> PyAVVideoSink | OpenCVVideoSink:
    """Open a video file for writing.

    Raises:
        InputError: it can't be written.
        MissingDependencyError: its format needs PyAV.
    """
    try:
        av = import_package("av", extra="video", purpose="writing H.264")
    except MissingDependencyError:
        return OpenCVVideoSink(path, context)
    return PyAVVideoSink(path, context, av)


def _has(av: Any, encoder: str) -> bool:
    try:
        av.codec.Codec(encoder, "w")
    except (ValueError, av.error.FFmpegError):
        return False
    return True


def _fit(image: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return an image of that size: one that is a pixel short is repeated at its edge, others are scaled into the middle."""
    if image.shape[:2] == (height, width):
        return image
    missing = height - image.shape[0], width - image.shape[1]
    if all(0 <= side <= 1 for side in missing):
        return np.pad(image, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    scale = min(height / image.shape[0], width / image.shape[1])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return canvas
