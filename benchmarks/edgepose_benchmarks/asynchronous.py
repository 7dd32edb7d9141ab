"""Several calls at once on OpenVINO: threads that call, against its own ``AsyncInferQueue``, on the same compiled model.

    python -m edgepose_benchmarks.asynchronous ARTIFACT... [--streams 2] [--threads 2] [--rounds 20] [--seconds 1]

The offline scenario uses threads for every runtime. This shows what that costs where the runtime has a queue of its own: each round runs
both for a while, in an order drawn by lot. The figure is the median of the rounds' ratios, with its 95 % interval.
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.cli.table import format_table
from edgepose.errors import InputError
from edgepose.runtime import Session, load
from edgepose.runtime.openvino import import_openvino
from edgepose_benchmarks.loadgen import Limit, keep_busy
from edgepose_benchmarks.statistics import median_interval

__all__ = ["main"]

Crops = list[NDArray[np.float32]]

INPUTS = 8


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="Threads that call against OpenVINO's asynchronous queue.")
    parser.add_argument("artifacts", nargs="+", type=Path, metavar="ARTIFACT", help="OpenVINO files")
    parser.add_argument("--streams", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each, in each round (default: 1)")
    options = parser.parse_args(arguments)
    rows = []
    for path in options.artifacts:
        with load(path, "cpu", options.threads, streams=options.streams) as session:
            if session.info.runtime != "openvino":
                raise InputError(f"{path} runs on {session.info.runtime}, which has no queue of its own; name an OpenVINO file")
            threads, queue = _take_turns(session, rounds=options.rounds, seconds=options.seconds)
        ratio = median_interval([own / other for own, other in zip(threads, queue, strict=True)])
        interval = f"{ratio.value:.3f} [{ratio.low or 0:.3f}, {ratio.high or 0:.3f}]"
        rows.append([path.name, f"{median(threads):.1f}", f"{median(queue):.1f}", interval])
    print(format_table(["file", "threads, crops/s", "AsyncInferQueue, crops/s", "threads / queue"], rows, right=(1, 2, 3)))
    print(f"\n{options.streams} streams, {options.threads} threads, {options.rounds} rounds of {options.seconds:g} s each")


def _take_turns(session: Session, *, rounds: int, seconds: float) -> tuple[list[float], list[float]]:
    """Crops per second of both, in each round after one that warms up."""
    generator = np.random.default_rng(0)
    crops = [generator.standard_normal((1, *session.spec.input_shape)).astype(np.float32) for _ in range(INPUTS)]
    ways: list[Callable[[], float]] = [_threads(session, crops, seconds), _queue(session, crops, seconds)]
    figures: tuple[list[float], list[float]] = ([], [])
    order = random.Random(0)  # noqa: S311  nothing secret
    for number in range(rounds + 1):
        for which in order.sample((0, 1), 2):
            figure = ways[which]()
            if number:
                figures[which].append(figure)
    return figures


def _threads(session: Session, crops: Crops, seconds: float) -> Callable[[], float]:
    def run() -> float:
        gaps = keep_busy(lambda index: session.run(crops[index % INPUTS]), session.info.streams, Limit(seconds=seconds, least=2))
        return len(gaps) / (sum(gaps) * 1e-9)

    return run


def _queue(session: Session, crops: Crops, seconds: float) -> Callable[[], float]:
    engine: Any = session._engine  # the same compiled model, not a second one of it
    width = session.info.streams
    queue = import_openvino().AsyncInferQueue(engine._compiled, width)
    ends: list[int] = []

    def finish(request: Any, _: None) -> None:
        request.get_output_tensor(0).data.copy()  # as a session does
        ends.append(time.perf_counter_ns())

    queue.set_callback(finish)

    def run() -> float:
        ends.clear()
        start, index = time.perf_counter(), 0
        while time.perf_counter() - start < seconds or index < width + 2:
            queue.start_async([crops[index % INPUTS]], None, share_inputs=True)
            index += 1
        queue.wait_all()  # before anything else: requests under way don't survive the queue
        kept = sorted(ends)[: len(ends) - width + 1]
        return (len(kept) - 1) / ((kept[-1] - kept[0]) * 1e-9)

    return run


if __name__ == "__main__":
    main()
