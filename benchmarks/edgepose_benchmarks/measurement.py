"""Measuring a case: fresh processes, one after the other, until the figure is known well enough or time is up."""

import dataclasses
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from edgepose.errors import EdgePoseError
from edgepose_benchmarks.early_stopping import allowed_late, needed_calls
from edgepose_benchmarks.job import Job, fill_result
from edgepose_benchmarks.link import WorkerLink
from edgepose_benchmarks.loadgen import PATIENCE
from edgepose_benchmarks.peak import find_arithmetic
from edgepose_benchmarks.protocol import (
    FindPeak,
    FoundPeak,
    Measure,
    Measured,
    Open,
    Opened,
    ProfiledOperators,
    ProfileOperators,
    Serve,
    ServedQueries,
)
from edgepose_benchmarks.result import BenchmarkResult, Conditions, Machine, Peak, Run, ServerTrial
from edgepose_benchmarks.stability import find_warnings
from edgepose_benchmarks.statistics import find_warmup, percentile
from edgepose_benchmarks.summary import main_interval, relative_width

__all__ = ["WorkerPlace", "measure_case", "open_worker"]

LEAST_SAMPLES = 30
PROFILE_CALLS = 10
SEARCH_STEPS = 6
LOWEST_SHARE = 1 / 16
CONFIRMATIONS = 4
BACK_OFF = 0.93
_NS = 1e-9


class WorkerPlace(Protocol):
    """A machine on which workers can be started."""

    def start(self, environment: Mapping[str, str] | None = None) -> WorkerLink:
        """Start one, with these variables."""
        ...

    def place(self, path: Path) -> str:
        """Bring a file or folder there, unless it is; return its path there."""
        ...


def open_worker(place: WorkerPlace, job: Job) -> tuple[WorkerLink, Opened]:
    """Start a process and load the model; whoever gets the process closes it.

    Raises:
        EdgePoseError: the model can't be loaded, or the process died.
    """
    link = place.start()
    try:
        opened = link.ask(
            Open(
                case=job.case,
                artifact=place.place(job.artifact.path),
                inputs=place.place(job.inputs.path(job.artifact.spec, job.case.people)),
            ),
            Opened,
            timeout_s=job.settings.timeout_s,
        )
    except BaseException:
        link.close()
        raise
    return link, opened


def measure_case(place: WorkerPlace, machine: Machine, job: Job) -> BenchmarkResult:
    """Measure; what goes wrong stands in the result."""
    return fill_result(job, machine, lambda started: _measure(place, job, started))


def _measure(place: WorkerPlace, job: Job, result: BenchmarkResult) -> BenchmarkResult:
    result = _measure_server(place, job, result) if job.case.scenario == "server" else _measure_runs(place, job, result)
    result = dataclasses.replace(
        result, kind="measured", warnings=find_warnings(result.runs, latencies=job.case.scenario in ("single-stream", "multi-stream"))
    )
    return _add_extras(place, job, result)


def _measure_runs(place: WorkerPlace, job: Job, result: BenchmarkResult) -> BenchmarkResult:
    settings = job.settings
    start = time.monotonic()
    while True:
        link, opened = open_worker(place, job)
        with link:
            measured = link.ask(
                Measure(seconds=settings.seconds, least=LEAST_SAMPLES), Measured, timeout_s=settings.timeout_s + PATIENCE * settings.seconds
            )
        samples = tuple(value * _NS for value in measured.samples_ns)
        run = _make_run(opened, samples, measured.conditions, measured.stages_ns)
        result = dataclasses.replace(result, session=opened.session, runs=(*result.runs, run))
        elapsed = time.monotonic() - start
        enough = len(result.runs) >= settings.processes and relative_width(main_interval(result)) <= settings.width
        # One more process would go beyond the time.
        over = len(result.runs) >= settings.processes and elapsed * (1 + 1 / len(result.runs)) > settings.time_s
        if enough or over:
            return result


def _make_run(opened: Opened, samples: tuple[float, ...], conditions: Conditions, stages_ns: Mapping[str, tuple[int, ...]]) -> Run:
    return Run(
        load_s=opened.load_s,
        import_s=opened.import_s,
        first_s=opened.first_s,
        samples_s=samples,
        warmup=find_warmup(samples),
        stages_s={name: tuple(value * _NS for value in values) for name, values in stages_ns.items()},
        conditions=conditions,
    )


def _measure_server(place: WorkerPlace, job: Job, result: BenchmarkResult) -> BenchmarkResult:
    """Find the highest rate by bisection below what the machine can do at best, then confirm it in fresh processes."""
    link, opened = open_worker(place, job)
    with link:
        capacity = _find_capacity(link, job)
        low, high = 0.0, 1.0
        trials: list[ServerTrial] = []
        for step in range(SEARCH_STEPS):
            share = (low + high) / 2 if low or step < SEARCH_STEPS // 2 else max(LOWEST_SHARE, high / 4)
            rate_hz = share * capacity
            queries = max(needed_calls(0), round(rate_hz * job.settings.seconds))
            trial, _ = _try_rate(link, job, rate_hz, queries=queries, allowed=allowed_late(queries) or 0, seed=step)
            trials.append(trial)
            low, high = (share, high) if trial.kept else (low, share)
            if not trial.kept and share <= LOWEST_SHARE:
                break
    result = dataclasses.replace(result, session=opened.session, trials=tuple(trials))
    if not low:
        bound = job.case.bound_s or 0.0
        slowest = min(trial.rate_hz for trial in trials)
        raise _BoundError(
            f"not even {slowest:.3g} calls/s keep 99 % within {bound * 1e3:g} ms: allow more (--bound), or use a faster file or device"
        )
    return _confirm(place, job, result, low * capacity)


class _BoundError(EdgePoseError):
    """No rate keeps the bound."""


def _confirm(place: WorkerPlace, job: Job, result: BenchmarkResult, rate_hz: float) -> BenchmarkResult:
    """Try the rate in fresh processes, and lower ones until one is kept; the calls of all processes are judged together.

    The search has chosen the best of several rates, so its own trials don't count as evidence.
    """
    for _ in range(CONFIRMATIONS):
        kept, trials, runs = _confirm_once(place, job, rate_hz)
        result = dataclasses.replace(result, runs=runs, trials=(*result.trials, *trials))
        if kept:
            return result
        tried, rate_hz = rate_hz, rate_hz * BACK_OFF
    raise _BoundError(f"the rates that the search found (down to {tried:.3g} calls/s) weren't kept again: the machine is too unsteady")


def _confirm_once(place: WorkerPlace, job: Job, rate_hz: float) -> tuple[bool, tuple[ServerTrial, ...], tuple[Run, ...]]:
    processes = job.settings.processes
    queries = max(math.ceil(needed_calls(0) / processes), round(rate_hz * job.settings.seconds))
    allowed = allowed_late(processes * queries) or 0
    trials: list[ServerTrial] = []
    runs: list[Run] = []
    for number in range(processes):
        link, opened = open_worker(place, job)
        with link:
            _find_capacity(link, job)
            left = allowed - sum(trial.late for trial in trials)
            trial, served = _try_rate(link, job, rate_hz, queries=queries, allowed=left, seed=1000 + number)
        trials.append(trial)
        # Arrivals are random: the first of them aren't a warm-up, which the calls before have been.
        run = _make_run(opened, tuple(value * _NS for value in served.latencies_ns), served.conditions, {})
        runs.append(dataclasses.replace(run, warmup=0))
        if not trial.kept:
            break
    kept = trials[-1].kept
    return kept, tuple(dataclasses.replace(trial, kept=kept) for trial in trials), tuple(runs) if kept else ()


def _find_capacity(link: WorkerLink, job: Job) -> float:
    """Calls per second with all streams busy; warms up, too."""
    seconds = job.settings.seconds
    measured = link.ask(Measure(seconds=seconds, least=2), Measured, timeout_s=job.settings.timeout_s + PATIENCE * seconds)
    samples = [value * _NS for value in measured.samples_ns]
    steady = samples[find_warmup(samples) :]
    return len(steady) / sum(steady)


def _try_rate(link: WorkerLink, job: Job, rate_hz: float, *, queries: int, allowed: int, seed: int) -> tuple[ServerTrial, ServedQueries]:
    served = link.ask(
        Serve(rate_hz=rate_hz, queries=queries, allowed=allowed, seed=seed),
        ServedQueries,
        timeout_s=job.settings.timeout_s + PATIENCE * queries / rate_hz,
    )
    kept = not served.hopeless
    p99 = percentile([value * _NS for value in served.latencies_ns], 99) if kept else None
    return ServerTrial(rate_hz=rate_hz, queries=len(served.latencies_ns), late=served.late, p99_s=p99, kept=kept), served


def _add_extras(place: WorkerPlace, job: Job, result: BenchmarkResult) -> BenchmarkResult:
    """Profile and peak, in processes of their own; that they fail doesn't touch what was measured."""
    warnings = list(result.warnings)
    profile, peak = None, None
    if job.settings.profile:
        try:
            with place.start() as link:
                profile = link.ask(
                    ProfileOperators(
                        case=job.case,
                        artifact=place.place(job.artifact.path),
                        inputs=place.place(job.inputs.path(job.artifact.spec, job.case.people)),
                        calls=PROFILE_CALLS,
                    ),
                    ProfiledOperators,
                    timeout_s=job.settings.timeout_s,
                ).profile
        except EdgePoseError as error:
            warnings.append(f"no profile: {error}")
    if job.settings.peak:
        try:
            peak = _find_peak(place, job, result)
            if peak is None:
                warnings.append("no peak: nothing here multiplies matrices in the model's precision on its device")
        except EdgePoseError as error:
            warnings.append(f"no peak: {error}")
    return dataclasses.replace(result, profile=profile, peak=peak, warnings=tuple(warnings))


def _find_peak(place: WorkerPlace, job: Job, result: BenchmarkResult) -> Peak | None:
    precision = find_arithmetic(result.model.target, result.model.precision)
    if precision is None:
        return None
    device = result.session.device.lower() if result.session else "cpu"
    threads = job.case.threads
    environment = {} if threads is None else {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    message = FindPeak(precision=precision, device="cpu" if device.startswith("cpu") else device, threads=threads)
    with place.start(environment) as link:
        return link.ask(message, FoundPeak, timeout_s=job.settings.timeout_s).peak
