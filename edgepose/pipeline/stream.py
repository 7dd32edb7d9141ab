"""Frames → poses, one after the other, while the next frames are already being read and looked at.

```
source ─→ frames ─→ detection ─→ seen ─→ crop, run, decode ─→ tracking ─→ smoothing ─→ results ─→ whoever iterates
 thread   (queue)    thread     (queue)                   thread                       (queue)
```

Detection depends on the image alone, so it runs ahead. Boxes that are carried on from the pose before don't: with a tracker, one
frame's poses come after those of the frame before, and its people are divided among the session's streams; without one, several frames
run at the same time. Every queue is bounded. A live source's queue drops the oldest frames; a file's makes the source wait.
"""

import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from edgepose.boxes import BoxStatus, judge_boxes
from edgepose.errors import InputError
from edgepose.estimator import PoseEstimator, Poses
from edgepose.image import check_image
from edgepose.pipeline.frame import Detections, Failure, Frame, FramePoses
from edgepose.pipeline.options import StreamOptions, Totals
from edgepose.pipeline.protocols import Detector, Smoother, Source, Tracker
from edgepose.pipeline.queues import BoundedQueue, QueueEnded
from edgepose.runtime.session import Session

__all__ = ["PoseStream"]

_LOG = logging.getLogger(__name__)
_QUEUE = 4
_LIVE_QUEUE = 1
_JOIN_S = 2.0
_FRAME_S = 1 / 30  # between frames of a source without times


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Arrived:
    """A frame, and when it came."""

    item: Frame | Failure
    at: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """A frame after detection; ``detections`` is ``None`` where the detector didn't run."""

    item: Frame | Failure
    at: float
    detections: Detections | None
    dropped: int


class PoseStream:
    """A running stream: an iterator of ``FramePoses``, and a context manager.

    Iterating gives frames with their poses in order; those that fail are logged. ``results`` gives both. The source is closed with it.

    Args:
        source: where frames come from.
        session: the pose model.
        detector: who is in them.
        tracker: who is who; ``None``: nobody asks.
        smoother: of keypoints; needs a tracker.
        options: see ``StreamOptions``.

    Attributes:
        source: as given.
        session: as given.
        detector: as given.

    Raises:
        InputError: options that need a tracker, or a detector that depends on the image alone, without one.
    """

    def __init__(
        self,
        source: Source,
        session: Session,
        detector: Detector,
        *,
        tracker: Tracker | None = None,
        smoother: Smoother | None = None,
        options: StreamOptions | None = None,
    ) -> None:
        options = options or StreamOptions()
        if tracker is None and (options.detect_every > 1 or smoother is not None):
            raise InputError(f"detect_every is {options.detect_every} and smoother {smoother!r}: both need a tracker (track=True)")
        self.source = source
        self.session = session
        self.detector = detector
        self._tracker = tracker
        self._smoother = smoother
        self._options = options
        self._closing = ExitStack()
        self._estimator = PoseEstimator(session, flip_test=options.flip_test)
        live = source.info.live
        self._frames: BoundedQueue[_Arrived] = BoundedQueue(_LIVE_QUEUE if live else _QUEUE, drop_oldest=live)
        self._seen: BoundedQueue[_Seen] = BoundedQueue(_LIVE_QUEUE if live else _QUEUE)
        self._results: BoundedQueue[Future[FramePoses | Failure]] = BoundedQueue(_LIVE_QUEUE if live else _QUEUE)
        self._workers = ThreadPoolExecutor(session.info.streams + (tracker is None), "edgepose-pose")
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._busy: dict[str, float] = defaultdict(float)
        self._begin = self._end = 0.0
        self._threads: list[threading.Thread] = []
        self._closed = False

    @property
    def totals(self) -> Totals:
        """What has been done so far; may be asked for from any thread, at any time."""
        with self._lock:
            seconds = (self._end or time.perf_counter()) - self._begin if self._begin else 0.0
            return Totals(seconds=seconds, busy_s=dict(self._busy), **self._counts)

    def results(self) -> Iterator[FramePoses | Failure]:
        """Yield frames with their poses, and in their place those that failed.

        Raises:
            InputError: the source broke, after the frames before.
            EdgePoseError: a runtime failed.
        """
        self._start()
        try:
            while True:
                try:
                    future, _ = self._results.get()
                    result = future.result()
                except (QueueEnded, CancelledError):  # cancelled: the stream was closed from another thread
                    return
                self._count(result)
                yield result
        finally:
            self.close()

    def __iter__(self) -> Iterator[FramePoses]:
        for result in self.results():
            if isinstance(result, Failure):
                _LOG.warning("frame %d: %s", result.index, result.reason)
            else:
                yield result

    def close(self) -> None:
        """Stop, close the source, and free what was opened for the stream. From any thread; closing twice is allowed."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._end = time.perf_counter()
        with self._closing:  # whatever fails, the rest is freed, too
            for queue in (self._frames, self._seen, self._results):
                queue.close()
            try:
                self.source.close()
            finally:
                # The calls that are running end first: what they use is freed last.
                self._workers.shutdown(wait=True, cancel_futures=True)
                deadline = time.monotonic() + _JOIN_S
                for thread in self._threads:
                    if thread is not threading.current_thread():
                        thread.join(max(0.0, deadline - time.monotonic()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close_also(self, close: Callable[[], None]) -> None:
        """Have something called when the stream is closed: what frees that which was opened for it."""
        self._closing.callback(close)

    def _start(self) -> None:
        with self._lock:
            if self._threads or self._closed:
                raise InputError("this stream has been iterated or closed; open another one")
            self._begin = time.perf_counter()
            stages = (("read", self._read, self._frames), ("detect", self._detect, self._seen), ("pose", self._pose, self._results))
            for name, work, output in stages:
                thread = threading.Thread(target=_carry_out, args=(work, output), name=f"edgepose-{name}", daemon=True)
                thread.start()
                self._threads.append(thread)

    def _read(self) -> None:
        frames = iter(self.source)
        while True:
            begin = time.perf_counter()
            item = next(frames, None)
            at = self._add("read", begin)
            if item is None:
                return
            self._frames.put(_Arrived(item=item, at=at))

    def _detect(self) -> None:
        since = self._options.detect_every
        carries = self._tracker is not None and self.detector.images_only
        while True:
            arrived, dropped = self._frames.get()
            self._increase("dropped", dropped)
            item, detections = _check(arrived.item), None
            if isinstance(item, Frame) and (since >= self._options.detect_every or not carries):
                begin = time.perf_counter()
                try:
                    detections = self._limit(self.detector.find(item))
                    since = 0
                except InputError as error:
                    item = _fail(item, error)
                    since = self._options.detect_every
                self._add("detect", begin)
                self._increase("detections")
            since += 1
            self._seen.put(_Seen(item=item, at=arrived.at, detections=detections, dropped=dropped))

    def _limit(self, found: Detections) -> Detections:
        """Leave out who is too many."""
        chosen = self._choose_people(found)
        return Detections(boxes_xyxy=found.boxes_xyxy[chosen], scores=None if found.scores is None else found.scores[chosen])

    def _choose_people(self, found: Detections) -> npt.NDArray[np.bool_]:
        """Return who is looked at, bool (N,): the highest detection scores, or whoever comes first where there are none."""
        most = self._options.max_people
        chosen = np.zeros(len(found), np.bool_)
        chosen[slice(most) if found.scores is None else np.argsort(-found.scores, kind="stable")[:most]] = True
        too_many = len(found) - most
        if too_many > 0 and self._increase("left_out", too_many) == too_many:
            _LOG.warning("%d people at once: %d are looked at (max_people)", len(found), most)
        return chosen

    def _pose(self) -> None:
        if self._tracker is None:
            while True:
                seen, _ = self._seen.get()
                self._results.put(self._workers.submit(self._find, seen))
        while True:
            seen, _ = self._seen.get()
            done: Future[FramePoses | Failure] = Future()
            done.set_result(self._follow(seen, self._tracker))
            self._results.put(done)

    def _find(self, seen: _Seen) -> FramePoses | Failure:
        """Without a tracker: the poses of one frame."""
        if isinstance(seen.item, Failure) or seen.detections is None:
            return seen.item if isinstance(seen.item, Failure) else _fail(seen.item, "nobody looked for people in it")
        begin = time.perf_counter()
        try:
            poses = self._estimate(seen.item, seen.detections)
            poses = poses.select(self._choose(poses))
        except InputError as error:
            return _fail(seen.item, error)
        finally:
            self._add("pose", begin)
        return _result(seen, seen.item, poses, None)

    def _follow(self, seen: _Seen, tracker: Tracker) -> FramePoses | Failure:
        """With a tracker: the poses of one frame, after those of the frame before."""
        frame = seen.item
        if isinstance(frame, Failure):
            return frame
        begin = time.perf_counter()
        looked_at = tracker.carry(frame) if seen.detections is None else tracker.match(frame, seen.detections)
        begin = self._add("track", begin)
        try:
            chosen = self._choose_people(looked_at)
            poses = self._estimate(frame, looked_at, chosen=chosen, parts=self.session.info.streams)
        except InputError as error:
            return _fail(frame, error)
        begin = self._add("pose", begin)
        poses, ids = tracker.update(frame, poses)
        kept = self._choose(poses)
        poses, ids = poses.select(kept), ids[kept]
        if self._smoother is not None:
            poses = self._smoother.smooth(frame.index * _FRAME_S if frame.time_s is None else frame.time_s, poses, ids)
        self._add("track", begin)
        return _result(seen, frame, poses, ids)

    def _estimate(self, frame: Frame, found: Detections, *, chosen: npt.NDArray[np.bool_] | None = None, parts: int = 1) -> Poses:
        """Return a row for each box; those that aren't chosen have no keypoints."""
        rows = np.asarray(found.boxes_xyxy, np.float64).reshape(-1, 4)
        if found.scores is not None:
            rows = np.concatenate([rows, np.asarray(found.scores, np.float64)[:, None]], axis=1)
        judged = judge_boxes(rows, frame.image.shape, form_is_known=True)
        if chosen is not None and not chosen.all():
            judged = judged.leave_out(~chosen, f"there are more than {self._options.max_people} people (max_people)")
        return self._estimator.estimate(frame.image, judged, workers=self._workers if parts > 1 else None, parts=parts)

    def _choose(self, poses: Poses) -> npt.NDArray[np.bool_]:
        """Return who was looked at and isn't somebody whom only the detector took for a person: bool (N,)."""
        chosen = np.array([status is not BoxStatus.LEFT_OUT for status in poses.status], np.bool_)
        if self.detector.images_only:
            chosen &= poses.scores.mean(axis=1) >= self._options.min_pose_score
        return chosen

    def _count(self, result: FramePoses | Failure) -> None:
        with self._lock:
            if isinstance(result, Failure):
                self._counts["failures"] += 1
            else:
                self._counts["frames"] += 1
                self._counts["people"] += int(result.poses.usable.sum())

    def _increase(self, what: str, by: int = 1) -> int:
        """Count; returns how many there are now."""
        with self._lock:
            self._counts[what] += by
            return self._counts[what]

    def _add(self, stage: str, begin: float) -> float:
        """Book the time since ``begin``; returns now."""
        now = time.perf_counter()
        with self._lock:
            self._busy[stage] += now - begin
        return now


def _carry_out(work: Callable[[], None], output: BoundedQueue) -> None:  # type: ignore[type-arg]  # any of the three
    """Run a stage until its input ends; whatever ends it, ends what comes behind, too."""
    try:
        work()
    except QueueEnded:
        output.end()
    except BaseException as error:  # raised where the results are taken
        output.end(error)
    else:
        output.end()


def _check(item: Frame | Failure) -> Frame | Failure:
    """Return the frame with an image that edgepose takes, or why it has none."""
    if isinstance(item, Failure):
        return item
    try:
        return replace(item, image=check_image(item.image))
    except InputError as error:
        return _fail(item, error)


def _fail(frame: Frame, why: InputError | str) -> Failure:
    return Failure(index=frame.index, time_s=frame.time_s, name=frame.name, reason=str(why))


def _result(seen: _Seen, frame: Frame, poses: Poses, ids: npt.NDArray[np.int64] | None) -> FramePoses:
    return FramePoses(
        frame=frame,
        poses=poses,
        ids=ids,
        detected=seen.detections is not None,
        dropped=seen.dropped,
        latency_s=time.perf_counter() - seen.at,
    )
