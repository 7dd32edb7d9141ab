"""Load: how calls follow each other. The four scenarios of MLPerf's inference benchmark (arXiv 1911.02549), written anew.

Nothing here knows the model: a call is a function of the number of its input. Times are ``perf_counter_ns``.

Several calls at once are threads that call: each runtime runs those on its streams, and what a call raises is raised here. OpenVINO's own
``AsyncInferQueue`` is no faster (``edgepose_benchmarks.asynchronous`` measures both side by side), and less safe in Python: dropping it
with requests under way corrupts memory, and a callback that raises twice ends the process (OpenVINO 2026.4).
"""

import gc
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

__all__ = ["PATIENCE", "Call", "Limit", "Pipeline", "Served", "keep_busy", "run_queries", "run_singly", "serve"]

PATIENCE = 3  # a slow model may take this many times the wanted seconds to reach the wanted number of samples
_NS = 1_000_000_000

Call = Callable[[int], object]
"""What is measured; gets the number of its input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """When to stop: after ``seconds`` if there are ``least`` samples by then, else when there are, but not after thrice the time.

    With ``seconds`` 0 their number alone counts.

    Attributes:
        seconds: wanted time.
        least: wanted samples.
        most: never more samples than that.
    """

    seconds: float
    least: int
    most: int | None = None

    def reached(self, start_ns: int, count: int) -> bool:
        """Whether to stop now."""
        elapsed = (time.perf_counter_ns() - start_ns) / _NS
        if self.most is not None and count >= self.most:
            return True
        return count > 0 and elapsed >= self.seconds and (count >= self.least or elapsed >= PATIENCE * self.seconds > 0)


class Pipeline:
    """Keeps at most ``width`` calls under way, each in a thread of its own. A context manager.

    Args:
        call: what is called.
        width: calls at once.
    """

    def __init__(self, call: Call, width: int) -> None:
        self.width = width
        self._call = call
        self._free = threading.Semaphore(width)
        self._pool = ThreadPoolExecutor(width)
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown()

    def submit(self, index: int, done: Callable[[int], None]) -> None:
        """Start the call number ``index`` as soon as there is room.

        Args:
            index: of the input.
            done: gets the time of completion, in the thread that completed it.

        Raises:
            Exception: what an earlier call failed with.
        """
        self._free.acquire()
        if self._failure is not None:
            self._free.release()
            raise self._failure
        future = self._pool.submit(self._call, index)
        future.add_done_callback(lambda finished: self._finish(finished, done))

    def drain(self) -> None:
        """Wait for all calls.

        Raises:
            Exception: what one of them failed with.
        """
        for _ in range(self.width):
            self._free.acquire()
        self._free.release(self.width)
        if self._failure is not None:
            raise self._failure

    def _finish(self, future: Future[object], done: Callable[[int], None]) -> None:
        now = time.perf_counter_ns()
        error = future.exception()
        if error is None:
            done(now)
        else:
            self._failure = error
        self._free.release()


def run_singly(call: Call, limit: Limit) -> list[int]:
    """Single-stream: the next call starts when the last one is answered. Returns latencies in nanoseconds."""
    samples: list[int] = []
    clock, append = time.perf_counter_ns, samples.append
    with _no_collections():
        start = clock()
        while not limit.reached(start, len(samples)):
            index = len(samples)
            before = clock()
            call(index)
            append(clock() - before)
    return samples


def run_queries(pipeline: Pipeline, limit: Limit) -> list[int]:
    """Multi-stream: as many calls as there are streams arrive at once; the next ones when all are answered.

    Returns:
        For each such query, nanoseconds until its last call was answered.
    """
    samples: list[int] = []
    with _no_collections():
        start = time.perf_counter_ns()
        while not limit.reached(start, len(samples)):
            ends: list[int] = []
            before = time.perf_counter_ns()
            for stream in range(pipeline.width):
                pipeline.submit(len(samples) * pipeline.width + stream, ends.append)
            pipeline.drain()
            samples.append(max(ends) - before)
    return samples


def keep_busy(call: Call, width: int, limit: Limit) -> list[int]:
    """Offline: there is always more to do, so ``width`` threads call one time after the other, with nobody between them to wait for.

    Returns:
        The nanoseconds from each completion to the next, of all threads together.

    Raises:
        Exception: what a call failed with.
    """
    ends: list[int] = []
    indices = itertools.count()
    failed = threading.Event()
    clock = time.perf_counter_ns

    def work() -> None:
        try:
            # Appending to a list and counting are atomic.
            while not failed.is_set() and not limit.reached(start, len(ends) - 1):
                call(next(indices))
                ends.append(clock())
        except BaseException:
            failed.set()
            raise

    with _no_collections(), ThreadPoolExecutor(width) as pool:
        start = clock()
        workers = [pool.submit(work) for _ in range(width)]
    for worker in workers:
        worker.result()
    ends.sort()
    # What was still under way at the end had the machine to itself more and more.
    kept = ends[: max(2, len(ends) - width + 1)]
    return [after - before for before, after in itertools.pairwise(kept)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What became of the calls of one trial.

    Attributes:
        latencies_ns: from arrival to completion, of the calls that were answered, in the order of their completion.
        late: how many of them took longer than the bound.
        hopeless: more were late than allowed. If calls were left then, they weren't made.
    """

    latencies_ns: list[int]
    late: int
    hopeless: bool


def serve(pipeline: Pipeline, *, rate_hz: float, queries: int, allowed: int, bound_s: float, seed: int) -> Served:
    """Server: calls arrive at random, independently of each other (a Poisson process), whether or not earlier ones are answered.

    Latency counts from the arrival as planned, so that waiting for a free stream, or for this very loop, is a part of it.

    Args:
        pipeline: takes the calls.
        rate_hz: mean number of calls per second.
        queries: number of calls.
        allowed: how many of them may be late; the trial ends when more are.
        bound_s: a call is late when its latency is above.
        seed: of the times of arrival.
    """
    gaps = np.random.default_rng(seed).exponential(_NS / rate_hz, queries)
    arrivals = np.cumsum(gaps).astype(np.int64)
    bound_ns = int(bound_s * _NS)
    latencies: list[int] = []
    lates: list[int] = []

    def record(now: int, arrival: int) -> None:
        latencies.append(now - arrival)
        if now - arrival > bound_ns:
            lates.append(now)

    with _no_collections():
        start = time.perf_counter_ns()
        for index, offset in enumerate(arrivals):
            arrival = start + int(offset)
            wait = (arrival - time.perf_counter_ns()) / _NS
            if wait > 0:
                time.sleep(wait)
            if len(lates) > allowed:
                break
            pipeline.submit(index, lambda now, arrival=arrival: record(now, arrival))  # type: ignore[misc]  # the default binds it early
        pipeline.drain()
    return Served(latencies_ns=latencies, late=len(lates), hopeless=len(lates) > allowed)


@contextmanager
def _no_collections() -> Iterator[None]:
    """Keep Python's garbage collector from running in the middle of a measurement."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
