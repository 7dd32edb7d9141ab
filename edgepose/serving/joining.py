"""Calls of several requests joined into one call of the model."""

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgepose.errors import EdgePoseError
from edgepose.pipeline.queues import BoundedQueue, QueueEnded
from edgepose.runtime.session import Session

__all__ = ["JoinedSession"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Call:
    batch: npt.NDArray[np.float32]
    answer: "Future[npt.NDArray[np.float32]]"


class JoinedSession:
    """Runs a session for many threads: what arrives within a few milliseconds, or while the model is busy, goes into one batch.

    Args:
        session: the loaded model; closed by whoever opened it.
        window_s: how long the first call waits for others.
        max_batch: crops in one call of the model; larger calls go alone.
        waiting: calls that wait at most; more make their callers wait.

    Attributes:
        spec: the session's.
        info: the session's.
        calls: how often the model ran.
    """

    def __init__(self, session: Session, *, window_s: float = 0.004, max_batch: int = 16, waiting: int = 64) -> None:
        self.spec = session.spec
        self.info = session.info
        self.calls = 0
        self._session = session
        self._window_s = window_s
        self._max_batch = max_batch
        self._queue: BoundedQueue[_Call] = BoundedQueue(waiting)
        self._thread = threading.Thread(target=self._work, name="edgepose-join", daemon=True)
        self._thread.start()

    def run(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Compute heatmaps; see ``Session.run``.

        Raises:
            EdgePoseError: as ``Session.run``, or this is closed.
        """
        call = _Call(batch=batch, answer=Future())
        try:
            self._queue.put(call)
        except QueueEnded:
            raise EdgePoseError("the server is ending") from None
        return call.answer.result()

    def close(self) -> None:
        """Answer what waits, and refuse more."""
        self._queue.end()
        self._thread.join()
        self._queue.close()

    def _work(self) -> None:
        held: _Call | None = None
        while True:
            try:
                first = held or self._queue.get()[0]
            except QueueEnded:
                return
            calls, held = self._gather(first)
            self._answer(calls)

    def _gather(self, first: _Call) -> tuple[list[_Call], _Call | None]:
        """Take what comes within the window, and hold back what would be too much."""
        calls, crops, deadline = [first], len(first.batch), time.monotonic() + self._window_s
        while crops < self._max_batch:
            following = self._queue.take_within(deadline - time.monotonic())
            if following is None:
                break
            if crops + len(following.batch) > self._max_batch:
                return calls, following
            calls.append(following)
            crops += len(following.batch)
        return calls, None

    def _answer(self, calls: list[_Call]) -> None:
        self.calls += 1
        try:
            heatmaps = self._session.run(calls[0].batch if len(calls) == 1 else np.concatenate([call.batch for call in calls]))
        except Exception as error:  # raised where each call was made
            for call in calls:
                call.answer.set_exception(error)
            return
        start = 0
        for call in calls:
            call.answer.set_result(heatmaps[start : start + len(call.batch)])
            start += len(call.batch)
