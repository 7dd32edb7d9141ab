"""The figures of a result: every number that a table or a plot shows, computed from its samples."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edgepose_benchmarks.case import Scenario
from edgepose_benchmarks.early_stopping import estimate_percentile
from edgepose_benchmarks.result import BenchmarkResult, Interval
from edgepose_benchmarks.statistics import PERCENTILES, Floats, Statistic, bootstrap_intervals, percentile

__all__ = ["Summary", "main_interval", "relative_width", "summarize"]

_KEPT_PERCENTILES: dict[Scenario, tuple[float, ...]] = {"single-stream": (90.0, 99.0), "multi-stream": (99.0,)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Figures; ``None`` where there is none.

    Attributes:
        samples: how many there are after the warm-ups.
        mean_s: mean latency (offline: mean time between completions).
        percentiles_s: percentile → latency; only those that the samples can tell from their maximum. Empty for offline.
        kept_s: percentile → latency that is at least it for all calls, at 99 % confidence: MLPerf's early-stopping estimate, of the
            percentiles that it takes for the scenario. Empty for offline and server.
        crops_per_s: throughput; ``server``: at the highest rate that kept the bound.
        stages_s: stage → median.
        load_s: median of loading and compiling.
        first_s: median of first calls.
        memory_bytes: largest resident size of a process.
        model_memory_bytes: how much of that came after the runtime was imported.
        cpu_cores: CPU cores' worth of time that a process used.
        joules_per_crop: energy of the whole machine.
        macs_per_s: what the model reached.
        peak_share: that over the machine's measured peak.
    """

    samples: int = 0
    mean_s: Interval | None = None
    percentiles_s: dict[float, Interval] = field(default_factory=dict)
    kept_s: dict[float, float] = field(default_factory=dict)
    crops_per_s: Interval | None = None
    stages_s: dict[str, float] = field(default_factory=dict)
    load_s: float | None = None
    first_s: float | None = None
    memory_bytes: int | None = None
    model_memory_bytes: int | None = None
    cpu_cores: float | None = None
    joules_per_crop: float | None = None
    macs_per_s: float | None = None
    peak_share: float | None = None

    @property
    def median_s(self) -> float | None:
        """Median latency."""
        return self.percentiles_s[50.0].value if 50.0 in self.percentiles_s else None


def crops_per_sample(result: BenchmarkResult) -> int:
    """How many crops one sample of a result stands for."""
    case = result.case
    if case.stage == "end-to-end":
        return case.people or 1
    streams = case.streams or (result.session.streams if result.session else 1)
    return case.batch * (streams if case.scenario == "multi-stream" else 1)


def main_interval(result: BenchmarkResult) -> Interval:
    """The figure that decides whether a case was measured long enough: the median latency or, offline, the mean time per call."""
    percents = () if result.case.scenario == "offline" else (50.0,)
    return bootstrap_intervals([run.steady_s for run in result.runs], _make_statistic(percents))[-1]


def relative_width(interval: Interval) -> float:
    """Half of the interval's width, over its value; infinite where there is none."""
    if interval.low is None or interval.high is None:
        return float("inf")
    return (interval.high - interval.low) / 2 / interval.value


def summarize(result: BenchmarkResult) -> Summary:
    """Compute the figures of one result."""
    if result.reported is not None:
        return _of_reported(result)
    steady = [run.steady_s for run in result.runs if run.steady_s]
    if not steady:
        return Summary()
    everything = np.concatenate([np.asarray(run) for run in steady])
    percents = [each for each in PERCENTILES if percentile(everything, each) is not None or each == 50.0]
    if result.case.scenario == "offline":
        percents = []
    mean, *percentiles = bootstrap_intervals(steady, _make_statistic(percents))
    crops = crops_per_sample(result)
    throughput: Interval | None = _invert(mean, crops)
    if result.case.scenario == "server":
        rate = next((trial.rate_hz for trial in reversed(result.trials) if trial.kept), None)
        throughput = Interval(value=rate * crops, low=None, high=None) if rate is not None else None
    macs = result.model.macs * throughput.value if result.model.macs and throughput and result.case.stage == "inference" else None
    memory = [run.conditions.memory_peak_bytes for run in result.runs if run.conditions.memory_peak_bytes is not None]
    added = [
        run.conditions.memory_peak_bytes - run.conditions.memory_before_bytes
        for run in result.runs
        if run.conditions.memory_peak_bytes is not None and run.conditions.memory_before_bytes is not None
    ]
    cores = [run.conditions.cpu_cores for run in result.runs if run.conditions.cpu_cores is not None]
    return Summary(
        samples=len(everything),
        mean_s=mean,
        percentiles_s=dict(zip(percents, percentiles, strict=True)),
        kept_s=_kept(result.case.scenario, everything),
        crops_per_s=throughput,
        stages_s=_stages(result),
        load_s=float(np.median([run.load_s for run in result.runs])),
        first_s=float(np.median([run.first_s for run in result.runs])),
        memory_bytes=max(memory, default=None),
        model_memory_bytes=max(added, default=None),
        cpu_cores=float(np.median(cores)) if cores else None,
        joules_per_crop=_energy(result, crops),
        macs_per_s=macs,
        peak_share=macs / result.peak.macs_per_s if macs is not None and result.peak else None,
    )


def _of_reported(result: BenchmarkResult) -> Summary:
    reported = result.reported
    if reported is None:
        return Summary()
    mean = Interval(value=reported.mean_s, low=None, high=None)
    known = {50.0: reported.median_s, 95.0: reported.p95_s}
    return Summary(
        samples=reported.count,
        mean_s=mean,
        percentiles_s={percent: Interval(value=value, low=None, high=None) for percent, value in known.items() if value is not None},
        crops_per_s=_invert(mean, crops_per_sample(result)),
        load_s=reported.init_s,
        first_s=reported.first_s,
        memory_bytes=reported.memory_peak_bytes,
    )


def _kept(scenario: Scenario, samples: Floats) -> dict[float, float]:
    estimates = {percent: estimate_percentile(samples, percent) for percent in _KEPT_PERCENTILES.get(scenario, ())}
    return {percent: value for percent, value in estimates.items() if value is not None}


def _stages(result: BenchmarkResult) -> dict[str, float]:
    names = list(result.runs[0].stages_s)
    return {name: float(np.median(np.concatenate([np.asarray(run.stages_s[name][run.warmup :]) for run in result.runs]))) for name in names}


def _energy(result: BenchmarkResult, crops: int) -> float | None:
    known = [run for run in result.runs if run.conditions.energy_j is not None and run.samples_s]
    if not known:
        return None
    joules = sum(run.conditions.energy_j or 0.0 for run in known)
    return joules / (crops * sum(len(run.samples_s) for run in known))


def _invert(interval: Interval, crops: int) -> Interval:
    low = crops / interval.high if interval.high else None
    high = crops / interval.low if interval.low else None
    return Interval(value=crops / interval.value, low=low, high=high)


def _make_statistic(percents: Sequence[float]) -> Statistic:
    """The mean and then percentiles, all at once: drawing the samples is most of the work."""

    def compute(samples: Floats) -> Floats:
        values: Floats = np.concatenate([[samples.mean()], np.percentile(samples, percents)])
        return values

    return compute
