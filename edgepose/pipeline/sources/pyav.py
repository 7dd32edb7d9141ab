"""Video files, network streams and containers on a pipe, through PyAV (FFmpeg).

A container may name other files and addresses (playlists do), so a local file is handed over as bytes, with every protocol forbidden, and
an address may lead to other addresses, but to no file.
"""

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from edgepose.errors import InputError
from edgepose.image_format import describe_foreign
from edgepose.pipeline.frame import Failure, Frame
from edgepose.pipeline.protocols import SourceInfo, SourceKind
from edgepose.pipeline.sources.options import SourceOptions
from edgepose.runtime.packages import import_package

__all__ = ["PyAVSource", "hide_password", "open_address", "open_container", "open_video"]

_LOG = logging.getLogger(__name__)
_LIVE_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "srt")
_NETWORK = "http,https,httpproxy,tcp,tls,udp,rtp,rtsp,rtmp,rtmps,srt,crypto,hls,data"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_HEAD_BYTES = 4096


class _Lost(Exception):  # noqa: N818  # may end well
    """The connection broke, or nothing came for too long."""


class PyAVSource:
    """Frames of one video stream, with the times that its container states.

    Made by ``open_video``, ``open_address`` and ``open_container``.
    """

    def __init__(self, place: str | BinaryIO, name: str, kind: SourceKind, options: SourceOptions, *, live: bool | None) -> None:
        self._av = import_package("av", extra="video", purpose="reading video with exact times")
        self._place = place
        self._name = name
        self._kind = kind
        self._options = options
        self._closed = threading.Event()
        self._container, self._stream = self._open()
        context = self._stream.codec_context
        known_end = self._container.duration is not None or self._stream.frames > 0
        self._live = not known_end if live is None else live
        # Threads that decode whole frames each hand them over late.
        self._stream.thread_type = "SLICE" if self._live else "AUTO"
        self.info = SourceInfo(
            name=name,
            kind=kind,
            live=self._live,
            frames=self._stream.frames or None,
            rate_hz=float(self._stream.average_rate) if self._stream.average_rate else None,
            size=(context.width, context.height) if context.width else None,
            reader=f"PyAV {self._av.__version__} ({context.name}{', ' + options.hardware if options.hardware else ''})",
        )

    def __iter__(self) -> Iterator[Frame | Failure]:
        index, attempts, shift_s, begin = 0, 0, 0.0, time.monotonic()
        while not self._closed.is_set():
            try:
                for item in self._read(index, shift_s):
                    index, attempts = item.index + 1, 0
                    yield item
            except _Lost as lost:
                reason = f"{self._name}: {lost} after {index} frames"
                if attempts >= self._options.reconnect:
                    tried = f"; {attempts} more tries failed" if attempts else ""
                    raise InputError(f"{reason}{tried}") from None
                attempts += 1
                pause_s = min(_FIRST_PAUSE_S * 2 ** (attempts - 1), _LONGEST_PAUSE_S)
                if attempts == 1:
                    yield Failure(index=index, time_s=time.monotonic() - begin, name=self._name, reason=f"{reason}; connecting again")
                    index += 1
                _LOG.warning("%s; try %d of %d in %.1f s", reason, attempts, self._options.reconnect, pause_s)
                self._container.close()
                self._closed.wait(pause_s)
                shift_s = self._reopen(begin)
            else:
                return
        self._container.close()

    def close(self) -> None:
        """Stop at the next frame; a read that waits for a network ends with its time-out."""
        self._closed.set()

    def _reopen(self, begin: float) -> float:
        """Connect again; returns the seconds since the first frame. A failure shows at the next read."""
        try:
            self._container, self._stream = self._open()
        except InputError:
            self._stream = None
        return time.monotonic() - begin

    def _read(self, index: int, shift_s: float) -> Iterator[Frame | Failure]:
        """Yield frames until the end.

        Raises:
            _Lost: the end wasn't one.
        """
        if self._stream is None:
            raise _Lost("can't be reached")
        first_s: float | None = None
        last_s = 0.0
        first_index = index
        for packet in self._demux():
            if self._closed.is_set():
                return
            try:
                frames = packet.decode()
            except self._av.error.EOFError:
                break
            except self._av.error.FFmpegError as error:
                yield self._fail(index, None, f"a packet can't be decoded: {error.strerror}")
                index += 1
                continue
            for frame in frames:
                stated = frame.time if frame.time is not None else self._guess(index - first_index)
                first_s = stated if first_s is None else first_s
                last_s = last_s if stated is None else stated
                yield self._take(frame, index, None if stated is None or first_s is None else shift_s + stated - first_s)
                index += 1
        if self._live:
            raise _Lost("the connection ended")
        expected = self._stream.frames
        if first_index == 0 and 0 < index < expected and self._ends_early(last_s):
            yield self._fail(index, None, f"the video breaks off after {index} of {expected} frames")

    def _demux(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except self._av.error.EOFError:
                return
            except self._av.error.ExitError:
                raise _Lost(f"nothing came for {self._options.timeout_s:g} s") from None
            except (OSError, self._av.error.FFmpegError) as error:
                if isinstance(self._place, str):
                    raise _Lost(f"the connection broke ({error.strerror or error})") from None
                return
            yield packet

    def _ends_early(self, last_s: float) -> bool:
        """Whether the last frame lies well before the end that is stated: the stated number of frames alone may count empty ones."""
        duration, start = self._container.duration, self._container.start_time or 0
        frame_s = 1 / float(self._stream.average_rate) if self._stream.average_rate else 0.0
        return duration is not None and last_s + 2 * frame_s < (duration + start) / self._av.time_base

    def _guess(self, number: int) -> float | None:
        rate = self._options.rate_hz or (float(self._stream.average_rate) if self._stream.average_rate else None)
        return None if rate is None else number / rate

    def _take(self, frame: Any, index: int, time_s: float | None) -> Frame | Failure:
        if frame.width * frame.height > self._options.max_pixels:
            return self._fail(index, time_s, f"{frame.width}×{frame.height} pixels; allowed: {self._options.max_pixels} (max_pixels)")
        try:
            image: npt.NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
        except (ValueError, self._av.error.FFmpegError) as error:
            return self._fail(index, time_s, f"can't be converted to RGB: {error}")
        # How the picture is to be turned, against the clock: phones record lying pictures.
        turns = round((getattr(frame, "rotation", 0) or 0) / 90) % 4
        return Frame(image=np.ascontiguousarray(np.rot90(image, turns)) if turns else image, index=index, time_s=time_s, name=self._name)

    def _fail(self, index: int, time_s: float | None, reason: str) -> Failure:
        return Failure(index=index, time_s=time_s, name=self._name, reason=f"{self._name}: frame {index}: {reason}")

    def _open(self) -> tuple[Any, Any]:
        """Open the container and find its video.

        Raises:
            InputError: it can't be opened in time, or holds no video.
        """
        options = self._options
        network = isinstance(self._place, str)
        settings = {"protocol_whitelist": _NETWORK if network else "none", "max_pixels": str(options.max_pixels)}
        if network and str(self._place).startswith("rtsp"):
            settings["rtsp_transport"] = "tcp"
        if not network and self._kind == "video":
            self._place.seek(0)  # type: ignore[union-attr]  # a file
        try:
            container = self._av.open(
                self._place, options=settings, timeout=options.timeout_s if network else None, hwaccel=self._choose_hardware()
            )
        except self._av.error.ExitError:
            raise InputError(f"can't open {self._name!r}: nothing came for {options.timeout_s:g} s (timeout_s)") from None
        except (OSError, ValueError, self._av.error.FFmpegError) as error:
            raise InputError(f"can't open {self._name!r}: {self._explain(error)}") from None
        if not container.streams.video:
            kinds = sorted({stream.type for stream in container.streams})
            container.close()
            raise InputError(f"can't use {self._name!r}: it holds no video, only {', '.join(kinds) or 'nothing'}")
        return container, container.streams.video[0]

    def _explain(self, error: Exception) -> str:
        if not isinstance(self._place, str) and self._kind == "video":
            self._place.seek(0)
            head = self._place.read(_HEAD_BYTES)
            if not head:
                return "the file is empty"
            return f"not a video that FFmpeg reads, or cut off ({describe_foreign(head, self._name, failed=True) or _reason(error)})"
        return _reason(error)

    def _choose_hardware(self) -> Any:
        wanted = self._options.hardware
        if wanted is None:
            return None
        hwaccel = import_package("av.codec.hwaccel", extra="video", purpose="decoding in hardware")
        known = hwaccel.hwdevices_available()
        if wanted not in known:
            raise InputError(f"hardware is {wanted!r}; this build of FFmpeg has: {', '.join(known) or 'none'}")
        try:
            return hwaccel.HWAccel(device_type=wanted, allow_software_fallback=False)
        except (RuntimeError, OSError, self._av.error.FFmpegError) as error:
            raise InputError(f"can't decode with {wanted!r} on this machine: {_reason(error)}") from None


def open_video(path: Path, options: SourceOptions) -> PyAVSource:
    """Open a video file.

    Raises:
        InputError: it can't be read, or isn't a video.
        MissingDependencyError: PyAV isn't installed.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"can't read {str(path)!r}: {error.strerror or error}") from None
    return PyAVSource(file, str(path), "video", options, live=False)


def open_container(file: BinaryIO, options: SourceOptions) -> PyAVSource:
    """Open a container (MPEG-TS, Matroska, Motion JPEG …) that comes through a pipe; errors as of ``open_video``."""
    return PyAVSource(file, "standard input", "raw", options, live=False)


def open_address(address: str, options: SourceOptions) -> PyAVSource:
    """Open a network address; errors as of ``open_video``."""
    live = True if urlsplit(address).scheme.lower() in _LIVE_SCHEMES else None
    return PyAVSource(address, hide_password(address), "stream", options, live=live)


def hide_password(address: str) -> str:
    """Return the address without user and password, for names and errors."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
