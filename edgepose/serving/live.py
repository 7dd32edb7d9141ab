"""The newest frame of a stream, for any number of viewers."""

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

import cv2

from edgepose.drawing import draw_poses
from edgepose.errors import EdgePoseError
from edgepose.pipeline.frame import Failure, FramePoses
from edgepose.pipeline.stream import PoseStream

__all__ = ["LiveFrame", "LiveView"]

State = Literal["waiting", "running", "ended", "failed"]
_JPEG_QUALITY = 80
_RATE_S = 2.0  # over which frames are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFrame:
    """What viewers see.

    Attributes:
        number: grows with each frame; 0 before the first.
        jpeg: the drawing; empty where nobody looks.
        facts: of the frame and the stream, as JSON values.
    """

    number: int
    jpeg: bytes
    facts: dict[str, Any]


class LiveView:
    """Runs a stream in a thread and keeps its newest frame, so that a slow viewer costs nothing but their own frames.

    Frames are drawn and encoded once for all viewers, and only while there are some.

    Args:
        stream: closed with the view.
        min_score: keypoints from this score on are drawn.
        pace: show a file no faster than its frames follow each other.
    """

    def __init__(self, stream: PoseStream, *, min_score: float = 0.3, pace: bool = True) -> None:
        self.viewers = 0
        self._stream = stream
        self._min_score = min_score
        self._pace = pace and not stream.source.info.live
        self._changed = threading.Condition()
        self._state: State = "waiting"
        self._reason = ""
        self._newest = LiveFrame(number=0, jpeg=b"", facts=self._facts(None, 0.0))
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgepose-live", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def newest(self) -> LiveFrame:
        """The newest frame."""
        return self._newest

    @property
    def ended(self) -> bool:
        """Whether no more frames come."""
        return self._state in ("ended", "failed")

    def wait(self, number: int, seconds: float) -> LiveFrame | None:
        """Return a frame newer than ``number`` as soon as there is one; ``None`` where none comes in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest.number > number or self._closed.is_set(), seconds)
            return self._newest if self._newest.number > number else None

    def close(self) -> None:
        """Stop the stream."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        self._stream.close()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        times: deque[float] = deque()
        begin: tuple[float, float] | None = None
        try:
            for result in self._stream.results():
                if self._closed.is_set():
                    return
                if isinstance(result, Failure):
                    self._reason = result.reason
                    continue
                now = time.monotonic()
                if self._pace and result.time_s is not None:
                    begin = begin or (now, result.time_s)
                    self._closed.wait(max(0.0, begin[0] + result.time_s - begin[1] - now))
                times.append(time.monotonic())
                while times[0] < times[-1] - _RATE_S:
                    times.popleft()
                rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
                self._state, self._reason = "running", ""
                self._show(result, rate)
            self._end("ended", "")
        except EdgePoseError as error:
            self._end("failed", str(error))
        except Exception as error:  # shown on the page instead of dying in a thread
            self._end("failed", f"{type(error).__name__}: {error}")

    def _show(self, result: FramePoses, rate_hz: float) -> None:
        jpeg = b""
        if self.viewers:
            drawn = draw_poses(result.image, result.poses, min_score=self._min_score, ids=result.ids)
            done, encoded = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            jpeg = encoded.tobytes() if done else b""
        self._publish(jpeg, self._facts(result, rate_hz))

    def _end(self, state: State, reason: str) -> None:
        self._state, self._reason = state, reason
        self._publish(self._newest.jpeg, self._facts(None, 0.0))

    def _publish(self, jpeg: bytes, facts: dict[str, Any]) -> None:
        with self._changed:
            self._newest = LiveFrame(number=self._newest.number + 1, jpeg=jpeg, facts=facts)
            self._changed.notify_all()

    def _facts(self, result: FramePoses | None, rate_hz: float) -> dict[str, Any]:
        totals = self._stream.totals
        facts: dict[str, Any] = {
            "state": self._state,
            "reason": self._reason,
            "frames": totals.frames,
            "failures": totals.failures,
            "dropped": totals.dropped,
            "frames_per_second": round(rate_hz, 1),
        }
        if result is not None:
            facts |= {
                "index": result.index,
                "time_s": result.time_s,
                "people": len(result.poses),
                "ids": None if result.ids is None else result.ids.tolist(),
                "latency_ms": round(result.latency_s * 1e3, 1),
            }
        return facts
