"""Sinks in a thread of their own, so that drawing and encoding don't hold up the stream."""

import threading
from collections.abc import Sequence

from edgepose.errors import InputError
from edgepose.pipeline.frame import Failure, FramePoses
from edgepose.pipeline.protocols import Sink
from edgepose.pipeline.queues import BoundedQueue, QueueEnded

__all__ = ["SinkThread"]

_QUEUE = 4


class SinkThread:
    """A sink that hands results on to others, in order, in a thread. What goes wrong there is raised at the next ``write`` or ``close``.

    Args:
        sinks: each gets every result; all are closed, whatever happens to one.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self._queue: BoundedQueue[FramePoses | Failure] = BoundedQueue(_QUEUE)
        self._error: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="edgepose-sinks", daemon=True)
        self._thread.start()

    def write(self, result: FramePoses | Failure) -> None:
        """Take a result; waits where the sinks are behind.

        Raises:
            InputError: it is closed, or has raised what went wrong before.
            BaseException: what a sink raised.
        """
        if self._closed:
            raise InputError("what results are written to is closed, or has failed before; open it again")
        try:
            self._queue.put(result)
        except QueueEnded:
            self._closed = True
            self._raise()

    def close(self) -> None:
        """Write what waits, and close the sinks. Closing twice is allowed.

        Raises:
            BaseException: what a sink raised, if ``write`` hasn't.
        """
        self._closed = True
        self._queue.end()
        self._thread.join()
        self._raise()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self) -> None:
        try:
            while True:
                result, _ = self._queue.get()
                for sink in self._sinks:
                    sink.write(result)
        except QueueEnded:
            pass
        except BaseException as error:  # raised where the results come from
            self._error = error
            self._queue.close()
        for sink in self._sinks:
            try:
                sink.close()
            except BaseException as error:  # the others are to be closed, too
                self._error = self._error or error
