"""A against B: two processes that take turns, again and again, in fresh pairs.

On a machine whose speed drifts, two measurements one after the other differ although nothing did. Blocks of a few calls that alternate see
the same machine, and their ratio holds where absolute times don't. ``statistics.ratio_interval`` makes one figure of it.
"""

import itertools
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median

from edgepose import __version__
from edgepose.errors import InputError
from edgepose_benchmarks.job import Job, describe_model
from edgepose_benchmarks.link import WorkerLink
from edgepose_benchmarks.measurement import WorkerPlace, open_worker
from edgepose_benchmarks.protocol import Measure, Measured
from edgepose_benchmarks.result import Comparison, Interval, Machine, PairRatio
from edgepose_benchmarks.statistics import COMPARISON_CONFIDENCE, ratio_interval, verdict
from edgepose_benchmarks.summary import relative_width

__all__ = ["MIN_PAIRS", "compare"]

# Tried on a busy machine: many short blocks make a pair's ratio spread by 0.7 %, blocks of thrice the length by 1.1 %.
MIN_PAIRS = 8
MIN_BLOCKS = 12
BLOCK_S = 0.02
WARM_UP_S = 0.3
WARM_UP_CALLS = 5
_NS = 1e-9


def compare(
    place_a: WorkerPlace, place_b: WorkerPlace, machine: Machine, a: Job, b: Job, *, report: Callable[[int, Interval], None] | None = None
) -> Comparison:
    """Measure B's latency over A's, until the interval is as narrow as asked or time is up.

    Args:
        place_a: where A's processes start; the same machine as ``place_b``.
        place_b: where B's processes start.
        machine: that machine.
        a: the first case, in the single-stream scenario; its settings are those of the comparison. A pair of processes measures for
            ``seconds``, ``time_s`` bounds the whole.
        b: the second case.
        report: called after each pair with the number of pairs and the ratio so far.

    Raises:
        InputError: another scenario.
        EdgePoseError: one of them can't be measured.
    """
    for job in (a, b):
        if job.case.scenario != "single-stream":
            raise InputError(f"a comparison is of latencies in the single-stream scenario, not {job.case.scenario}")
    started = datetime.now(UTC).isoformat(timespec="seconds")
    start = time.monotonic()
    pairs: list[PairRatio] = []
    for number in itertools.count(1):
        pairs.append(_measure_pair(place_a, place_b, a, b, seed=number))
        ratio = ratio_interval(pairs)
        if report is not None:
            report(number, ratio)
        elapsed = time.monotonic() - start
        least = max(MIN_PAIRS, a.settings.processes)
        if number >= least and (relative_width(ratio) <= a.settings.width or elapsed * (1 + 1 / number) > a.settings.time_s):
            break
    return Comparison(
        a=a.case,
        b=b.case,
        machine=machine,
        model_a=describe_model(a.artifact),
        model_b=describe_model(b.artifact),
        started=started,
        edgepose=__version__,
        pairs=tuple(pairs),
        ratio=ratio,
        confidence=COMPARISON_CONFIDENCE,
        verdict=verdict(ratio),
    )


def _measure_pair(place_a: WorkerPlace, place_b: WorkerPlace, a: Job, b: Job, *, seed: int) -> PairRatio:
    """Start both processes, warm both up, and let them take turns; who starts, and who goes first in each turn, is drawn by lot."""
    order = random.Random(seed)  # noqa: S311  nothing secret
    sides = [(place_a, a), (place_b, b)]
    b_starts = order.random() < 0.5
    if b_starts:
        sides.reverse()
    first, _ = open_worker(*sides[0])
    with first:
        second, _ = open_worker(*sides[1])
        with second:
            links = [second, first] if b_starts else [first, second]
            latency = max(_warm_up(link, a) for link in links)
            calls = 2 + int(BLOCK_S / latency)
            medians: tuple[list[float], list[float]] = ([], [])
            b_first: list[bool] = []
            start = time.monotonic()
            turns = _draw_turns(order)
            while len(b_first) < MIN_BLOCKS or len(b_first) % 2 or time.monotonic() - start < a.settings.seconds:
                b_first.append(next(turns))
                for side in (1, 0) if b_first[-1] else (0, 1):
                    medians[side].append(_measure_block(links[side], a, calls))
    return PairRatio(a_s=tuple(medians[0]), b_s=tuple(medians[1]), b_first=tuple(b_first))


def _draw_turns(order: random.Random) -> "itertools.chain[bool]":
    """Whether B goes first, for each turn: by lot, and equally often."""
    pairs = ([first, not first] for first in iter(lambda: order.random() < 0.5, None))
    return itertools.chain.from_iterable(pairs)


def _warm_up(link: WorkerLink, job: Job) -> float:
    """Return the median latency in seconds."""
    timeout_s = job.settings.timeout_s
    measured = link.ask(Measure(seconds=WARM_UP_S, least=WARM_UP_CALLS), Measured, timeout_s=timeout_s)
    return median(measured.samples_ns) * _NS


def _measure_block(link: WorkerLink, job: Job, calls: int) -> float:
    """Return the median latency in seconds, without the first call: it finds the caches as the other process left them."""
    measured = link.ask(Measure(seconds=0.0, least=calls, most=calls), Measured, timeout_s=job.settings.timeout_s)
    return median(measured.samples_ns[1:]) * _NS
