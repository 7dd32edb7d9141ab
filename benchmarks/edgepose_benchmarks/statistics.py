"""From samples to figures: warm-up, percentiles, intervals and ratios.

Latencies of one process are neither independent (the machine's speed drifts; a neighbour wakes up) nor typical of other processes (memory
is laid out anew in each), so samples are never treated as one bag: intervals resample processes first, and then blocks of neighbouring
samples within each (the two-level moving-block bootstrap; Künsch 1989, and Kalibera and Jones, "Rigorous benchmarking in reasonable time",
2013, for the levels). Ratios rest on pairs of processes, each pair one observation.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgepose_benchmarks.result import Interval, PairRatio

__all__ = [
    "COMPARISON_CONFIDENCE",
    "CONFIDENCE",
    "PERCENTILES",
    "bootstrap_intervals",
    "clip_spikes",
    "find_warmup",
    "median_interval",
    "percentile",
    "ratio_interval",
    "t_quantile",
    "verdict",
]

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]

CONFIDENCE = 0.95
COMPARISON_CONFIDENCE = 0.99
"""A verdict is a claim: at 95 % every twentieth comparison of a file with itself would find a difference that isn't there."""

PERCENTILES = (50.0, 90.0, 95.0, 99.0)
RESAMPLES = 1000
MAX_DRAWN = 20_000_000
MIN_FOR_INTERVAL = 8
WARMUP_GROUP = 5
OUTLIER = 2.0


def percentile(samples: Sequence[float] | Floats, percent: float) -> float | None:
    """The percentile, interpolated; ``None`` where less than one sample is expected beyond it: it would be the maximum."""
    if len(samples) < 1 / (1 - percent / 100):
        return None
    return float(np.percentile(np.asarray(samples, np.float64), percent))


def find_warmup(samples: Sequence[float]) -> int:
    """How many leading samples belong to the warm-up.

    MSER-5 (White, "An effective truncation heuristic for bias reduction in simulation output", 1997): of all ways to cut off leading
    groups of five, the one after which the rest has the smallest standard error. It is applied to the samples' ranks, because a single
    spike later on would otherwise make it cut everything before. At most a quarter is cut: on a machine that is busy now and then, cutting
    more would choose the quiet times.
    """
    count = len(samples) // WARMUP_GROUP
    if count < 4:
        return 0
    ranks = np.argsort(np.argsort(np.asarray(samples), kind="stable"), kind="stable").astype(np.float64)
    groups = ranks[: count * WARMUP_GROUP].reshape(count, WARMUP_GROUP).mean(axis=1)
    # Variance of groups[cut:] over its length, for every cut, from sums over the tails.
    left = count - np.arange(count // 4 + 1)
    sums = np.cumsum(groups[::-1])[::-1][: len(left)]
    squares = np.cumsum((groups**2)[::-1])[::-1][: len(left)]
    errors = np.maximum(squares - sums**2 / left, 0.0) / left**2
    return int(np.argmin(errors)) * WARMUP_GROUP


def median_interval(values: Sequence[float]) -> Interval:
    """The median with its 95 % interval: the order statistics n/2 ± 1.96 √n / 2, whatever the distribution."""
    ordered = sorted(values)
    count = len(ordered)
    reach = 0.98 * math.sqrt(count)
    low, high = ordered[max(0, math.floor(count / 2 - reach))], ordered[min(count - 1, math.ceil(count / 2 + reach))]
    return Interval(value=float(np.median(ordered)), low=low, high=high)


def clip_spikes(samples: Sequence[float] | Floats) -> Floats:
    """Samples, none above twice the 90th percentile. Not the median: times between completions of several streams may mostly be zero."""
    values = np.asarray(samples, np.float64)
    return np.minimum(values, OUTLIER * np.percentile(values, 90))


def bootstrap_intervals(
    runs: Sequence[Sequence[float]], statistic: Statistic, *, confidence: float = CONFIDENCE, seed: int = 0
) -> list[Interval]:
    """Statistics of all samples, with two-level moving-block bootstrap intervals.

    Args:
        runs: the samples of each process.
        statistic: maps samples to one value or several.
        confidence: of the intervals.
        seed: results are the same for the same samples.
    """
    arrays = [np.asarray(run, np.float64) for run in runs if len(run)]
    everything = np.concatenate(arrays)
    values = statistic(everything)
    if len(everything) < MIN_FOR_INTERVAL:
        return [Interval(value=float(value), low=None, high=None) for value in values]
    generator = np.random.default_rng(seed)
    resamples = max(100, min(RESAMPLES, MAX_DRAWN // len(everything)))
    drawn = np.empty((resamples, len(values)))
    for index in range(resamples):
        chosen = generator.integers(len(arrays), size=len(arrays))
        drawn[index] = statistic(np.concatenate([_draw_blocks(arrays[number], generator) for number in chosen]))
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return [
        Interval(value=float(value), low=float(min(value, bottom)), high=float(max(value, top)))
        for value, bottom, top in zip(values, low, high, strict=True)
    ]


def _draw_blocks(samples: Floats, generator: np.random.Generator) -> Floats:
    """As many samples as there are, in randomly placed blocks of the square root of their number."""
    length = max(1, math.isqrt(len(samples)))
    starts = generator.integers(len(samples) - length + 1, size=-(-len(samples) // length))
    drawn: Floats = samples[(starts[:, None] + np.arange(length)).ravel()[: len(samples)]]
    return drawn


def ratio_interval(pairs: Sequence[PairRatio], *, confidence: float = COMPARISON_CONFIDENCE) -> Interval:
    """B's latency over A's, from processes that took turns.

    Blocks that follow each other see the same machine, so their ratio stays when the machine's speed doesn't. Within a pair of processes
    the middle third of these ratios' logarithms is averaged, so that bursts of other work during some blocks count little. A and B go first
    equally often, so that whatever the first one leaves to the second cancels out. Each pair of processes is one observation, and the
    interval is Student's: what differs from process to process is in it.
    """
    logs = [_middle_mean(np.log(np.asarray(pair.b_s)) - np.log(np.asarray(pair.a_s))) for pair in pairs]
    mean = float(np.mean(logs))
    if len(logs) < 2:
        return Interval(value=math.exp(mean), low=None, high=None)
    reach = t_quantile(0.5 + confidence / 2, len(logs) - 1) * float(np.std(logs, ddof=1)) / math.sqrt(len(logs))
    return Interval(value=math.exp(mean), low=math.exp(mean - reach), high=math.exp(mean + reach))


def _middle_mean(values: Floats) -> float:
    ordered = np.sort(values)
    cut = len(ordered) // 3
    return float(np.mean(ordered[cut : len(ordered) - cut]))


def verdict(ratio: Interval) -> str:
    """``no difference``, ``B is slower`` or ``B is faster``; without an interval there is no verdict but ``undecided``."""
    if ratio.low is None or ratio.high is None:
        return "undecided"
    if ratio.low > 1:
        return "B is slower"
    return "B is faster" if ratio.high < 1 else "no difference"


def t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t distribution, by bisection on its distribution function.

    Written out because a device has numpy and no SciPy. The distribution function for whole degrees of freedom is a finite sum
    (Abramowitz and Stegun, 26.7.3 and 26.7.4).
    """
    low, high = 0.0, 1.0
    while _t_cdf(high, freedom) < probability:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_cdf(middle, freedom) < probability else (low, middle)
    return high


def _t_cdf(t: float, freedom: int) -> float:
    angle = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    if freedom % 2:
        total, term = 0.0, cosine
        for k in range(1, (freedom - 1) // 2 + 1):
            total += term
            term *= cosine**2 * (2 * k) / (2 * k + 1)
        inside = 2 / math.pi * (angle + sine * total)
    else:
        total, term = 0.0, 1.0
        for k in range(1, freedom // 2 + 1):
            total += term
            term *= cosine**2 * (2 * k - 1) / (2 * k)
        inside = sine * total
    return 0.5 + inside / 2
