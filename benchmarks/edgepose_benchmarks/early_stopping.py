"""How many calls it takes to say that a percentile was kept: MLPerf's early stopping, written anew.

That 1 % of some calls were late doesn't show that 1 % of all would be: of a hundred calls of which each is late with probability 2 %, no
more than one is late four times in ten. MLPerf's load generator (Apache-2.0; "Early stopping" in its rules) therefore asks for
more: were the true share of late calls above the allowed one, then so few late ones among so many would be seen with a probability below
1 %. The number of late calls is binomial, if they are independent of each other.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["EARLY_STOPPING_CONFIDENCE", "LATE_SHARE", "allowed_late", "estimate_percentile", "needed_calls"]

LATE_SHARE = 0.01
"""Of all calls in the server scenario."""

EARLY_STOPPING_CONFIDENCE = 0.99


def allowed_late(calls: int, share: float = LATE_SHARE) -> int | None:
    """Return how many of ``calls`` may be late for the share of late calls to be below ``share``, at 99 % confidence.

    Returns:
        0 or more; ``None`` where there are so few calls that even none late shows nothing.
    """
    total, late = 0.0, -1
    while late < calls and total < 1 - EARLY_STOPPING_CONFIDENCE:
        late += 1
        total += _probability(late, calls, share)
    return late - 1 if late > 0 else None


def needed_calls(late: int, share: float = LATE_SHARE) -> int:
    """Return the least number of calls of which so many may be late; see ``allowed_late``."""
    low, high = late, 2 * late + 1
    while not _suffices(high, late, share):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _suffices(middle, late, share) else (middle, high)
    return high


def estimate_percentile(samples: Sequence[float] | NDArray[np.float64], percent: float) -> float | None:
    """Return the latency that is at least the percentile of all calls, at 99 % confidence: MLPerf's early-stopping estimate.

    It is the t-th highest sample, for the largest t late calls that so many may have. ``None`` below ``needed_calls(1)``: 64 samples for
    the 90th percentile, 662 for the 99th.
    """
    late = allowed_late(len(samples), 1 - percent / 100)
    return float(np.sort(np.asarray(samples, np.float64))[-late]) if late else None


def _suffices(calls: int, late: int, share: float) -> bool:
    allowed = allowed_late(calls, share)
    return allowed is not None and allowed >= late


def _probability(late: int, calls: int, share: float) -> float:
    """Of exactly so many late calls, binomially distributed."""
    ways = math.lgamma(calls + 1) - math.lgamma(late + 1) - math.lgamma(calls - late + 1)
    return math.exp(ways + late * math.log(share) + (calls - late) * math.log1p(-share))
