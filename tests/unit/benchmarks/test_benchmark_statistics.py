"""Percentiles, warm-ups, intervals and verdicts on samples whose truth is known."""

import math

import numpy as np
import pytest

from edgepose_benchmarks.result import Interval, PairRatio
from edgepose_benchmarks.statistics import (
    COMPARISON_CONFIDENCE,
    CONFIDENCE,
    bootstrap_intervals,
    clip_spikes,
    find_warmup,
    median_interval,
    percentile,
    ratio_interval,
    t_quantile,
    verdict,
)


def median(samples):
    return np.array([np.median(samples)])


def test_percentiles_are_those_of_numpy_where_there_are_enough_samples():
    samples = np.random.default_rng(0).exponential(size=1000)
    assert percentile(samples, 99) == pytest.approx(np.percentile(samples, 99))
    assert percentile(samples[:100], 99) is not None
    assert percentile(samples[:99], 99) is None
    assert percentile([1.0, 3.0], 50) == 2.0


# From published tables of Student's t.
@pytest.mark.parametrize(
    ("probability", "freedom", "wanted"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.995, 7, 3.4995), (0.995, 4, 4.6041), (0.975, 30, 2.0423), (0.5, 3, 0.0)],
)
def test_quantiles_of_student(probability, freedom, wanted):
    assert t_quantile(probability, freedom) == pytest.approx(wanted, abs=1e-4)


def test_a_warm_up_is_found_and_a_late_spike_is_none():
    generator = np.random.default_rng(0)
    steady = 0.02 * (1 + 0.01 * generator.standard_normal(300))
    warm = steady.copy()
    warm[:40] *= np.linspace(3, 1.1, 40)
    assert 30 <= find_warmup(warm) <= 60
    assert find_warmup(steady) <= 30
    steady[60] = 1.0
    assert find_warmup(steady) <= 30
    assert find_warmup([1.0] * 7) == 0
    # Times between the completions of two streams: mostly nothing, or twice the mean.
    pairs = np.tile([0.0, 0.04], 150) + steady * 0.01
    pairs[:40] *= 2
    assert 30 <= find_warmup(pairs) <= 60
    # Never more than a quarter, however long the trend.
    assert find_warmup(np.linspace(2, 1, 200)) == 50


def simulate_runs(generator, processes=10, count=150):
    """Processes that differ by 2 %, each with samples that depend on their neighbours."""
    runs = []
    for _ in range(processes):
        noise = generator.standard_normal(count)
        for index in range(1, count):
            noise[index] = 0.8 * noise[index - 1] + 0.6 * noise[index]
        runs.append(0.02 * math.exp(0.02 * generator.standard_normal()) * (1 + 0.01 * noise))
    return runs


def test_intervals_hold_the_truth_about_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr("edgepose_benchmarks.statistics.RESAMPLES", 150)
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(60):
        (interval,) = bootstrap_intervals(simulate_runs(generator), median)
        held += interval.low <= 0.02 <= interval.high
    assert held >= 50
    # Samples thrown into one bag would claim far too much.
    runs = simulate_runs(generator)
    (narrow,) = bootstrap_intervals([np.concatenate(runs)[np.random.default_rng(0).permutation(1500)]], median)
    (wide,) = bootstrap_intervals(runs, median)
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_neighbours_that_depend_on_each_other_widen_the_interval():
    generator = np.random.default_rng(5)
    drifting = 1 + 0.01 * np.cumsum(generator.standard_normal(400)) / 5
    (seen,) = bootstrap_intervals([drifting], median)
    (shuffled,) = bootstrap_intervals([generator.permutation(drifting)], median)
    assert seen.high - seen.low > 1.8 * (shuffled.high - shuffled.low)


def test_a_burst_during_one_block_counts_little():
    a, b = [1.0] * 12, [1.0] * 12
    b[3] = 50.0
    pair = PairRatio(a_s=tuple(a), b_s=tuple(b), b_first=(True, False) * 6)
    assert ratio_interval([pair] * 8).value == pytest.approx(1.0)


def test_intervals_are_reproducible_and_contain_their_value():
    runs = simulate_runs(np.random.default_rng(2), processes=3)
    (interval,) = bootstrap_intervals(runs, median)
    assert [interval] == bootstrap_intervals(runs, median)
    assert interval.low <= interval.value <= interval.high
    assert bootstrap_intervals([[1.0, 2.0]], median) == [Interval(value=1.5, low=None, high=None)]


def simulate_pairs(generator, slowdown, pairs=8, blocks=12, wander=0.05):
    """Two processes on a machine whose speed wanders by ``wander`` from block to block, with bursts of other work."""
    made = []
    for _ in range(pairs):
        drift = np.exp(np.cumsum(wander * generator.standard_normal(2 * blocks)))
        burst = 1 + (generator.random(2 * blocks) < 0.1) * generator.exponential(1.0, 2 * blocks)
        moments = 0.02 * drift * burst * np.exp(0.01 * generator.standard_normal(2 * blocks))
        process = np.exp(0.005 * generator.standard_normal(2))
        b_first = generator.permutation(blocks) < blocks / 2
        first, second = moments[0::2], moments[1::2]
        a = np.where(b_first, second, first) * process[0]
        b = np.where(b_first, first, second) * process[1] * slowdown
        made.append(PairRatio(a_s=tuple(a), b_s=tuple(b), b_first=tuple(b_first.tolist())))
    return made


def test_a_file_compared_with_itself_rarely_differs():
    generator = np.random.default_rng(3)
    verdicts = [verdict(ratio_interval(simulate_pairs(generator, 1.0))) for _ in range(200)]
    assert verdicts.count("no difference") >= 194


def test_a_planted_slowdown_is_measured():
    generator = np.random.default_rng(4)
    ratios = [ratio_interval(simulate_pairs(generator, 1.10)).value for _ in range(20)]
    assert np.mean(ratios) == pytest.approx(1.10, abs=0.01)
    assert verdict(ratio_interval(simulate_pairs(generator, 1.5))) == "B is slower"
    assert verdict(ratio_interval(simulate_pairs(generator, 0.6))) == "B is faster"


def test_three_percent_are_found_on_a_machine_that_wanders_by_one():
    generator = np.random.default_rng(6)
    verdicts = [verdict(ratio_interval(simulate_pairs(generator, 1.03, wander=0.01))) for _ in range(60)]
    assert verdicts.count("B is slower") >= 57


def test_the_interval_of_a_median_holds_it_about_as_often_as_it_says():
    generator = np.random.default_rng(7)
    held = 0
    for _ in range(400):
        interval = median_interval(generator.exponential(1.0, 21).tolist())
        held += interval.low <= np.log(2) <= interval.high
    assert 368 <= held <= 398
    assert median_interval([3.0, 1.0, 2.0]) == Interval(value=2.0, low=1.0, high=3.0)


def test_what_the_first_leaves_to_the_second_cancels_out():
    # Whoever goes second takes 10 % longer.
    pair = PairRatio(a_s=(1.1, 1.0) * 6, b_s=(1.0, 1.1) * 6, b_first=(True, False) * 6)
    assert ratio_interval([pair] * 8).value == pytest.approx(1.0)


def test_one_pair_gives_no_verdict():
    pair = PairRatio(a_s=(1.0,), b_s=(2.0,), b_first=(True,))
    ratio = ratio_interval([pair])
    assert ratio == Interval(value=pytest.approx(2.0), low=None, high=None)
    assert verdict(ratio) == "undecided"


def test_the_interval_of_a_median_is_made_of_order_statistics():
    # 25 values: n/2 ± 1.96 √n/2 are 7.6 and 17.4.
    assert median_interval([float(value) for value in range(24, -1, -1)]) == Interval(value=12.0, low=7.0, high=18.0)
    assert median_interval([float(value) for value in range(100)]) == Interval(value=49.5, low=40.0, high=60.0)


def test_spikes_are_clipped_at_twice_the_90th_percentile():
    samples = [*range(1, 11), 1000.0]
    np.testing.assert_array_equal(clip_spikes(samples), [*range(1, 11), 20.0])


def test_the_middle_third_of_the_blocks_makes_a_pairs_ratio():
    ratios = [9.0, 0.1, 1.0, 1.1, 1.5, 0.9, 3.0, 0.5, 2.0]
    pair = PairRatio(a_s=(2.0,) * 9, b_s=tuple(2.0 * ratio for ratio in ratios), b_first=(True,) * 9)
    # In order: 0.1, 0.5, 0.9 | 1.0, 1.1, 1.5 | 2.0, 3.0, 9.0
    assert ratio_interval([pair]).value == pytest.approx((1.0 * 1.1 * 1.5) ** (1 / 3))


def test_the_interval_of_a_ratio_is_students():
    assert (CONFIDENCE, COMPARISON_CONFIDENCE) == (0.95, 0.99)
    logs = [0.1, 0.25, 0.13]
    pairs = [PairRatio(a_s=(1.0,), b_s=(math.exp(log),), b_first=(True,)) for log in logs]
    interval = ratio_interval(pairs)
    # The 99.5th percentile of Student's t with two degrees of freedom is 9.9248.
    reach = 9.9248 * np.std(logs, ddof=1) / math.sqrt(3)
    assert interval.value == pytest.approx(math.exp(0.16))
    assert (interval.low, interval.high) == (
        pytest.approx(math.exp(0.16 - reach), rel=1e-5),
        pytest.approx(math.exp(0.16 + reach), rel=1e-5),
    )
    narrow = ratio_interval(pairs, confidence=0.95)
    assert math.log(narrow.high) == pytest.approx(0.16 + 4.3027 * reach / 9.9248, rel=1e-4)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (1.0, 1.2, "no difference"),
        (0.8, 1.0, "no difference"),
        (1.0001, 1.2, "B is slower"),
        (0.8, 0.9999, "B is faster"),
        (None, 0.5, "undecided"),
        (2.0, None, "undecided"),
    ],
)
def test_a_verdict_needs_an_interval_on_one_side_of_one(low, high, wanted):
    assert verdict(Interval(value=1.0, low=low, high=high)) == wanted


def test_intervals_need_eight_samples_and_widen_with_confidence():
    samples = np.random.default_rng(0).normal(10, 1, 400)
    assert bootstrap_intervals([samples[:7]], median)[0].low is None
    assert bootstrap_intervals([samples[:5], samples[5:8]], median)[0].low is not None
    (half,), (most,) = (bootstrap_intervals([samples], median, confidence=confidence) for confidence in (0.5, 0.95))
    # Independent samples: 1.96 instead of 0.674 deviations of the median, which is 1.25 / √400.
    assert (most.high - most.low) / (half.high - half.low) == pytest.approx(1.96 / 0.674, rel=0.25)
    assert most.high - most.low == pytest.approx(2 * 1.96 * 1.2533 / 20, rel=0.25)
