"""What ``Session.run`` adds to the runtime's own call, on the same loaded model.

    python -m edgepose_benchmarks.session_overhead ARTIFACT... [--rounds N] [--threads N] [--device DEVICE]

Each round times the raw call and ``Session.run`` once, in an order that changes from round to round, so that both see the same machine.
The raw call is the fastest that the runtime's documentation shows for one NumPy batch in and heatmaps in memory of their own out. The
overhead is the median of the rounds' differences over the median raw call; the range is the 95 % interval of that median by its order
statistics, so that noise can be told from cost.
"""

import argparse
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.runtime import Session, load
from edgepose_benchmarks.statistics import median_interval

__all__ = ["Overhead", "main", "measure"]

Array = NDArray[np.float32]
Call = Callable[[Array], Array]

WARM_UP_ROUNDS = 10
NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """One artifact's measurement.

    Attributes:
        raw_ms: median of the raw calls.
        session_ms: median of ``Session.run``.
        added_ms: median of the rounds' differences.
        added_low_ms: lower end of its 95 % interval.
        added_high_ms: upper end of its 95 % interval.
    """

    raw_ms: float
    session_ms: float
    added_ms: float
    added_low_ms: float
    added_high_ms: float

    def percent(self, milliseconds: float) -> float:
        """``milliseconds`` in percent of the raw call."""
        return 100 * milliseconds / self.raw_ms


def measure(raw: Call, run: Call, batch: Array, rounds: int) -> Overhead:
    """Time both calls ``rounds`` times, alternating."""
    order = random.Random(0)  # noqa: S311  nothing secret
    raw_ns: list[int] = []
    session_ns: list[int] = []
    for number in range(WARM_UP_ROUNDS + rounds):
        turns = [(raw, raw_ns), (run, session_ns)]
        order.shuffle(turns)
        for call, times in turns:
            start = perf_counter_ns()
            call(batch)
            if number >= WARM_UP_ROUNDS:
                times.append(perf_counter_ns() - start)
            else:
                times.clear()
    added = median_interval([after - before for before, after in zip(raw_ns, session_ns, strict=True)])
    return Overhead(
        raw_ms=statistics.median(raw_ns) / NS_PER_MS,
        session_ms=statistics.median(session_ns) / NS_PER_MS,
        added_ms=added.value / NS_PER_MS,
        added_low_ms=(added.low or 0.0) / NS_PER_MS,
        added_high_ms=(added.high or 0.0) / NS_PER_MS,
    )


def raw_call(session: Session) -> Call:
    """The runtime's own call on the model that ``session`` has loaded.

    Raises:
        KeyError: the runtime has no raw call here.
    """
    return _RAW_CALLS[session.info.runtime](session._engine)  # the same loaded model, not a second copy of it


def _openvino(engine: Any) -> Call:
    request = engine._compiled.create_infer_request()
    return lambda batch: request.infer([batch], share_inputs=True)[0]


def _onnxruntime(engine: Any) -> Call:
    native = engine._session
    names, name = [native.get_outputs()[0].name], native.get_inputs()[0].name
    return lambda batch: native.run(names, {name: batch})[0]


def _litert(engine: Any) -> Call:
    interpreter = engine._idle.get()
    engine._idle.put(interpreter)
    input_index, output_index = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def call(batch: Array) -> Array:
        interpreter.set_tensor(input_index, batch)
        interpreter.invoke()
        heatmaps: Array = interpreter.get_tensor(output_index)
        return heatmaps

    return call


_RAW_CALLS: dict[str, Callable[[Any], Call]] = {"openvino": _openvino, "onnxruntime": _onnxruntime, "litert": _litert}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the artifacts that are named and print a table."""
    parser = argparse.ArgumentParser(description="Time Session.run against the runtime's own call.")
    parser.add_argument("artifacts", nargs="+", metavar="ARTIFACT", help="OpenVINO, ONNX or TFLite files that edgepose converted")
    parser.add_argument("--rounds", type=int, default=300, help="timed rounds for each artifact (default: 300)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: the runtime's choice)")
    parser.add_argument("--device", default="cpu", help="as for edgepose.load (default: cpu)")
    options = parser.parse_args(arguments)
    print("| artifact | runtime | batch | raw ms | Session.run ms | added | 95 % interval |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for path in options.artifacts:
        with load(path, options.device, threads=options.threads) as session:
            batch = np.random.default_rng(0).standard_normal((session.info.batch or 1, *session.spec.input_shape)).astype(np.float32)
            overhead = measure(raw_call(session), session.run, batch, options.rounds)
            low, high = overhead.percent(overhead.added_low_ms), overhead.percent(overhead.added_high_ms)
            print(
                f"| {session.spec.name} | {session.info} | {len(batch)} | {overhead.raw_ms:.3f} | {overhead.session_ms:.3f} "
                f"| {1000 * overhead.added_ms:+.0f} µs, {overhead.percent(overhead.added_ms):+.2f} % | {low:+.2f} … {high:+.2f} % |",
                flush=True,
            )


if __name__ == "__main__":
    main()
