"""The process that measures: ``python -m edgepose_benchmarks.worker``, asked and answering as ``protocol`` says.

It measures one model and ends, so that a crash costs one case, its peak memory is the model's, and each run starts from nothing. It is
what is pushed to a remote device, too: it needs Python, numpy and the runtime; end to end, OpenCV as well.
"""

import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import open_artifact
from edgepose.errors import DeviceError, EdgePoseError
from edgepose.runtime import Session, load
from edgepose.runtime.registry import RUNTIMES, profile
from edgepose.runtime.request import DeviceRequest
from edgepose_benchmarks.case import BenchmarkCase
from edgepose_benchmarks.environment import Monitor, describe_machine, read_memory
from edgepose_benchmarks.inputs import Inputs
from edgepose_benchmarks.loadgen import Call as NumberedCall
from edgepose_benchmarks.loadgen import Limit, Pipeline, keep_busy, run_queries, run_singly, serve
from edgepose_benchmarks.peak import measure_peak
from edgepose_benchmarks.protocol import (
    Answer,
    Describe,
    Described,
    Failed,
    FindPeak,
    FoundPeak,
    Measure,
    Measured,
    Message,
    Open,
    Opened,
    ProfiledOperators,
    ProfileOperators,
    Serve,
    ServedQueries,
    decode,
    encode,
)
from edgepose_benchmarks.result import OperatorShare, Profiled, SessionFacts

__all__ = ["Call", "answer_messages", "main"]

Call = Callable[[NDArray[np.float32]], NDArray[np.float32]]

_MODULES = {
    "onnxruntime": ("onnxruntime",),
    "litert": ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"),
    "coreml": ("coremltools",),
    "torch": ("torch",),
}
_CPUS = ("cpu", "cpuexecutionprovider")


class _Measurement:
    """An opened model.

    Args:
        request: what to open.
        wrap: put around ``Session.run`` by whoever wants to change what is measured, such as a self-check that plants a slowdown.
    """

    def __init__(self, request: Open, wrap: Callable[[Call], Call]) -> None:
        self.case = request.case
        self.import_s = _import_runtime(request.case, request.artifact)
        self.memory_before = read_memory()[0]
        start = time.perf_counter_ns()
        self.session = _load(request.case, request.artifact)
        self.load_s = _since(start)
        self.inputs = Inputs.load(Path(request.inputs))
        self.batches = self.inputs.batches(self.case.batch)
        self.run = wrap(self.session.run)
        start = time.perf_counter_ns()
        self.run(self.batches[0])
        self.first_s = _since(start)

    def opened(self) -> Opened:
        info = self.session.info
        facts = SessionFacts(
            runtime=info.runtime, version=info.version, device=info.device, streams=info.streams, batch=info.batch, details=info.details
        )
        return Opened(session=facts, load_s=self.load_s, import_s=self.import_s, first_s=self.first_s)

    def measure(self, request: Measure) -> Measured:
        limit = Limit(seconds=request.seconds, least=request.least, most=request.most)
        stages: dict[str, list[int]] = {}
        monitor = Monitor()
        if self.case.stage == "end-to-end":
            samples, stages = self._measure_frames(limit)
        elif self.case.scenario == "single-stream":
            samples = run_singly(self._call(), limit)
        elif self.case.scenario == "multi-stream":
            with Pipeline(self._call(), self._streams()) as pipeline:
                samples = run_queries(pipeline, limit)
        else:
            samples = keep_busy(self._call(), self._streams(), limit)
        conditions = monitor.stop(self.memory_before)
        return Measured(
            samples_ns=tuple(samples), stages_ns={name: tuple(values) for name, values in stages.items()}, conditions=conditions
        )

    def serve(self, request: Serve) -> ServedQueries:
        monitor = Monitor()
        with Pipeline(self._call(), self._streams()) as pipeline:
            served = serve(
                pipeline,
                rate_hz=request.rate_hz,
                queries=request.queries,
                allowed=request.allowed,
                bound_s=self.case.bound_s or 0.0,
                seed=request.seed,
            )
        return ServedQueries(
            latencies_ns=tuple(served.latencies_ns),
            late=served.late,
            hopeless=served.hopeless,
            conditions=monitor.stop(self.memory_before),
        )

    def _call(self) -> NumberedCall:
        batches, run = self.batches, self.run
        return lambda index: run(batches[index % len(batches)])

    def _streams(self) -> int:
        # Multi-stream asks for its streams even where the runtime takes the calls one by one.
        return self.case.streams or self.session.info.streams

    def _measure_frames(self, limit: Limit) -> tuple[list[int], dict[str, list[int]]]:
        try:
            from edgepose.estimator import PoseEstimator
        except ImportError as error:
            raise DeviceError(f"the end-to-end stage needs OpenCV, which isn't installed here: {error}") from None
        watch = _Stopwatch(self.session, self.run)
        estimator = PoseEstimator(cast("Session", watch))
        frames, boxes = self.inputs.frames, self.inputs.boxes_xyxy
        estimator(frames[0], boxes[0])
        crops: list[int] = []
        inferences: list[int] = []
        decodes: list[int] = []

        def estimate(index: int) -> None:
            number = index % len(frames)
            start = time.perf_counter_ns()
            estimator(frames[number], boxes[number])
            end = time.perf_counter_ns()
            crops.append(watch.start_ns - start)
            inferences.append(watch.end_ns - watch.start_ns)
            decodes.append(end - watch.end_ns)

        samples = run_singly(estimate, limit)
        return samples, {"crop": crops, "inference": inferences, "decode": decodes}


class _Stopwatch:
    """A session that notes when it ran."""

    def __init__(self, session: Session, run: Call) -> None:
        self.spec = session.spec
        self.start_ns = self.end_ns = 0
        self._run = run

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.start_ns = time.perf_counter_ns()
        heatmaps = self._run(batch)
        self.end_ns = time.perf_counter_ns()
        return heatmaps


class _Worker:
    """One process's answers.

    Args:
        wrap: see ``_Measurement``.
    """

    def __init__(self, wrap: Callable[[Call], Call]) -> None:
        self._wrap = wrap
        self._opened: _Measurement | None = None

    def reply(self, message: Message) -> Answer:
        if isinstance(message, Describe):
            return Described(machine=describe_machine(message.name))
        if isinstance(message, FindPeak):
            return FoundPeak(peak=measure_peak(message.precision, device=message.device, threads=message.threads))
        if isinstance(message, ProfileOperators):
            return ProfiledOperators(profile=_profile(message))
        if isinstance(message, Open):
            self._opened = _Measurement(message, self._wrap)
            return self._opened.opened()
        if self._opened is None:
            return Failed(error=f"{type(message).__name__} was asked for before Open")
        return self._opened.measure(message) if isinstance(message, Measure) else self._opened.serve(message)


def main(wrap: Callable[[Call], Call] = lambda run: run) -> int:
    """Measure as asked; ``wrap`` is put around ``Session.run``."""
    return answer_messages(_Worker(wrap).reply)


def answer_messages(reply: Callable[[Message], Answer]) -> int:
    """Read messages from standard input and write what ``reply`` makes of them to standard output, until the input ends."""
    # Runtimes write to the standard output as they like: from here on that is standard error, and the answers go where it was.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            try:
                answer = reply(cast("Message", decode(line)))
            except (EdgePoseError, OSError, MemoryError) as error:
                answer = Failed(error=str(error) or type(error).__name__)
            answers.write(encode(answer) + "\n")
            answers.flush()
    return 0


def _load(case: BenchmarkCase, artifact: str) -> Session:
    # Multi-stream means that many calls arrive at once; how many of them the runtime takes at once is its business.
    if case.scenario == "multi-stream":
        try:
            return load(artifact, case.device, case.threads, case.options, streams=case.streams)
        except DeviceError:
            return load(artifact, case.device, case.threads, case.options)
    return load(artifact, case.device, case.threads, case.options, streams=case.streams)


def _import_runtime(case: BenchmarkCase, artifact: str) -> float:
    """Import the package of the runtime that will open the file; return the seconds it took."""
    format_name = open_artifact(artifact).format
    wanted = DeviceRequest.parse(case.device).runtime
    start = time.perf_counter_ns()
    for entry in RUNTIMES:
        if format_name not in entry.formats or wanted not in (None, entry.name):
            continue
        if entry.name == "openvino" and importlib.util.find_spec("openvino") is not None:
            importlib.import_module("edgepose.runtime.openvino").import_openvino()
        for module in _MODULES.get(entry.name, ()):
            if importlib.util.find_spec(module.partition(".")[0]) is not None:
                importlib.import_module(module)
                break
    return _since(start)


def _profile(request: ProfileOperators) -> Profiled:
    case = request.case
    with load(request.artifact, case.device, case.threads, case.options) as session:
        size = session.info.batch or case.batch
    batch = Inputs.load(Path(request.inputs)).batches(size)[0]
    found = profile(request.artifact, batch, calls=request.calls, device=case.device, threads=case.threads, options=case.options)
    groups: dict[tuple[str, str], list[tuple[float | None, float]]] = {}
    for operator in found.operators:
        groups.setdefault((operator.kind, operator.device), []).append((operator.seconds, operator.share))
    shares = [
        OperatorShare(
            kind=kind,
            device=device,
            count=len(times),
            seconds=None if any(seconds is None for seconds, _ in times) else sum(seconds or 0.0 for seconds, _ in times),
            share=sum(share for _, share in times),
        )
        for (kind, device), times in groups.items()
    ]
    accelerated = sum(share.count for share in shares if share.device.lower() not in _CPUS) / max(1, sum(share.count for share in shares))
    return Profiled(source=found.source, operators=tuple(sorted(shares, key=lambda share: -share.share)), accelerated=accelerated)


def _since(start_ns: int) -> float:
    return (time.perf_counter_ns() - start_ns) * 1e-9


if __name__ == "__main__":
    sys.exit(main())
