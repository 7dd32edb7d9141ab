"""Annotated video: H.264 where the build of FFmpeg has it, else Motion JPEG; through OpenCV where PyAV isn't installed.

The file grows under its final name and can be played at any time up to what has been written, because that is what somebody wants who
ends a recording with a power switch: an MP4 is written in fragments of a second, Matroska and AVI can be read up to where they end.
"""

import shutil
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
_TICKS_HZ = 90_000  # exact for all usual rates
_RATE_HZ = 25.0  # of a source without times or rate
_RATES_HZ = (1.0, 1000.0)
_KEY_S = 1.0  # what is lost at most, of the video's time, when the process is killed
_LONGEST = 2**30  # ticks from one frame to the next: FFmpeg's MP4 goes wrong near 2**31
_LONGEST_AVI = 50_000  # frames that are left out in a row: FFmpeg refuses 60,000
_LEAST_FREE = 4 << 20  # bytes
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
        # AVI has a constant rate: each tick that has no frame of its own takes room.
        is_avi = path.suffix.lower() == ".avi"
        self._ticks = _get_rate(context) if is_avi else Fraction(_TICKS_HZ)
        self._longest = _LONGEST_AVI if is_avi else _LONGEST
        self._last: npt.NDArray[np.uint8] | None = None
        self._last_pts = -1
        self._key_pts = 0
        self._failed = self._closed = False

    def write(self, result: FramePoses | Failure) -> None:
        """Encode a frame; a failure leaves a gap in time."""
        if isinstance(result, Failure) or self._closed:
            return
        image = draw_result(result, self._context)
        if self._stream is None:
            self._begin(image)
        image = _fit(image, self._stream.width, self._stream.height)
        time_s = result.index / float(_get_rate(self._context)) if result.time_s is None else result.time_s
        pts = max(round(time_s * self._ticks), self._last_pts + 1)
        while self._last is not None and pts - self._last_pts > self._longest:
            self._encode(self._last, self._last_pts + self._longest)
        self._encode(image, pts)
        self._last = image

    def close(self) -> None:
        """Finish the file."""
        if self._closed:
            return
        self._closed = True
        try:
            try:
                if self._stream is not None and not self._failed:
                    for packet in self._stream.encode(None):
                        self._container.mux(packet)
            finally:
                self._container.close()
        except (OSError, self._av.error.FFmpegError) as error:
            raise InputError(f"can't finish {str(self._path)!r}: {error.strerror or error}") from None
        if self._stream is None and not self._path.stat().st_size:
            self._path.unlink()  # a video without a frame is no video; one that was there before stays

    def _begin(self, image: npt.NDArray[np.uint8]) -> None:
        """Start the stream with the first frame's size; H.264 halves colours, so sides are even."""
        rate = _get_rate(self._context)
        stream = self._container.add_stream(self._encoder, rate=rate, options=_QUALITY.get(self._encoder, {}))
        stream.height, stream.width = (side + side % 2 for side in image.shape[:2])
        stream.pix_fmt = "yuvj420p" if self._encoder == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = stream.time_base = 1 / self._ticks
        stream.codec_context.gop_size = max(1, round(rate * Fraction(_KEY_S)))
        self._stream = stream

    def _encode(self, image: npt.NDArray[np.uint8], pts: int) -> None:
        frame = self._av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = pts, 1 / self._ticks
        if pts - self._key_pts >= _KEY_S * self._ticks:  # frames may come far more slowly than the source states
            frame.pict_type = self._av.video.frame.PictureType.I
            self._key_pts = pts
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except (OSError, self._av.error.FFmpegError) as error:
            self._failed = True
            raise InputError(f"can't write {str(self._path)!r}: {error.strerror or error}") from None
        self._last_pts = pts


class OpenCVVideoSink:
    """Motion JPEG at a constant rate.

    OpenCV says nothing where it can't write, so that room is looked for before each frame, and the last frame in the end.

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
        self._frames = 0

    def write(self, result: FramePoses | Failure) -> None:
        """Encode a frame.

        Raises:
            InputError: OpenCV can't write the format, or the disk is nearly full: what was written before stands.
        """
        if isinstance(result, Failure):
            return
        free = shutil.disk_usage(self._path.parent).free
        if free < _LEAST_FREE:
            raise InputError(
                f"can't write {str(self._path)!r}: the disk has {free >> 10} KiB left; {_LEAST_FREE >> 10} are kept for its index"
            )
        image = draw_result(result, self._context)
        if self._writer is None:
            self._size = (image.shape[1], image.shape[0])
            rate = float(_get_rate(self._context))
            self._writer = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*"MJPG"), rate, self._size)
            if not self._writer.isOpened():
                raise InputError(f"can't write {str(self._path)!r}: OpenCV has no encoder for it")
        self._writer.write(cv2.cvtColor(_fit(image, *self._size), cv2.COLOR_RGB2BGR))
        self._frames += 1

    def close(self) -> None:
        """Finish the file.

        Raises:
            InputError: not all frames are in it.
        """
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        video = cv2.VideoCapture(str(self._path))
        known = video.get(cv2.CAP_PROP_FRAME_COUNT)
        video.set(cv2.CAP_PROP_POS_FRAMES, self._frames - 1)
        is_whole = known == self._frames and video.read()[0]
        video.release()
        if not is_whole:
            raise InputError(f"can't write {str(self._path)!r}: its {self._frames} frames aren't all in it; is the disk full?")


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


def _get_rate(context: SinkContext) -> Fraction:
    """Return frames per second, as the source states them where that can be."""
    rate_hz = context.info.rate_hz
    lowest, highest = _RATES_HZ
    # Written so that NaN isn't taken, either.
    stated = rate_hz if rate_hz is not None and 0 < rate_hz < float("inf") else _RATE_HZ
    return Fraction(min(max(stated, lowest), highest)).limit_denominator(1001)


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
