"""Reasons not to believe a result, found in its samples and in the machine's state while they were taken.

The thresholds are effect sizes, not significance levels: with thousands of samples everything is significant.
"""

from collections.abc import Sequence

import numpy as np

from edgepose_benchmarks.result import Run
from edgepose_benchmarks.statistics import Floats, clip_spikes

__all__ = ["find_warnings"]

MAX_SPREAD = 0.10  # between the quartiles, of the median
MAX_TAIL = 2.0  # 99th percentile over the median
MAX_TREND = 0.05  # from a run's first to its last third
MAX_BETWEEN = 0.05  # between processes, of the median
MAX_OTHER_CORES = 0.10
MAX_SLOWDOWN = 0.05  # of the CPU's frequency
MIN_SAMPLES = 30


def find_warnings(runs: Sequence[Run], *, latencies: bool = True) -> tuple[str, ...]:
    """Look for instability.

    Args:
        runs: of one case.
        latencies: whether samples are latencies; the times between completions of several streams spread by nature.
    """
    steady = [np.asarray(run.steady_s) for run in runs if run.steady_s]
    if not steady:
        return ("no sample was left after the warm-up: measure for longer (--seconds)",)
    warnings = []
    everything = np.concatenate(steady)
    median = float(np.median(everything))
    if len(everything) < MIN_SAMPLES:
        warnings.append(f"only {len(everything)} samples: measure for longer (--seconds)")
    if latencies:
        warnings.extend(_spread(everything, median))
    medians = [float(np.median(samples)) for samples in steady]
    if latencies and len(medians) > 1 and (max(medians) - min(medians)) / median > MAX_BETWEEN:
        warnings.append(f"processes differ: their medians spread by {(max(medians) - min(medians)) / median:.0%}")
    trends = [trend for trend in map(_trend, steady) if trend is not None]
    if trends and abs(float(np.median(trends))) > MAX_TREND:
        drift = float(np.median(trends))
        direction = "slower" if drift > 0 else "faster"
        warnings.append(f"trend: runs end {abs(drift):.0%} {direction} than they began (heat, or a warm-up longer than a run)")
    return (*warnings, *_conditions(runs))


def _spread(samples: Floats, median: float) -> list[str]:
    low, high, tail = np.percentile(samples, [25, 75, 99])
    warnings = []
    if (high - low) / median > MAX_SPREAD:
        warnings.append(f"spread: half of the samples differ by more than {(high - low) / median:.0%} of the median")
    if len(samples) >= 100 and tail / median > MAX_TAIL:
        warnings.append(f"long tail: p99 is {tail / median:.1f} times the median")
    return warnings


def _trend(samples: Floats) -> float | None:
    third = len(samples) // 3
    if third < 5:
        return None
    clipped = clip_spikes(samples)
    return float(clipped[-third:].mean() / clipped[:third].mean() - 1)


def _conditions(runs: Sequence[Run]) -> list[str]:
    warnings = []
    others = [run.conditions.other_cores for run in runs if run.conditions.other_cores is not None]
    if others and float(np.median(others)) > MAX_OTHER_CORES:
        warnings.append(f"other load: other processes used {float(np.median(others)):.1f} CPU cores meanwhile")
    throttled = sum(run.conditions.throttled or 0 for run in runs)
    if throttled:
        warnings.append(f"throttling: the kernel counted {throttled} thermal events")
    slowdowns = [1 - end / start for start, end in (run.conditions.frequency_hz or (1, 1) for run in runs) if start > 0]
    if slowdowns and max(slowdowns) > MAX_SLOWDOWN:
        warnings.append(f"throttling: the CPU's frequency fell by {max(slowdowns):.0%} during a run")
    return warnings
