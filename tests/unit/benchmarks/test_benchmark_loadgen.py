"""The scenarios, on calls that do nothing but wait."""

import threading
import time

import pytest

from edgepose_benchmarks.loadgen import Limit, Pipeline, keep_busy, run_queries, run_singly, serve


class Sleeper:
    """Calls that take a fixed time."""

    def __init__(self, seconds=0.002, fail_at=None, slowest_of=None):
        self.seconds = seconds
        self.fail_at = fail_at
        self.slowest_of = slowest_of
        self.calls = 0
        self.most_at_once = 0
        self.seen = []
        self._at_once = 0
        self._lock = threading.Lock()

    def __call__(self, index):
        with self._lock:
            self.calls += 1
            number = self.calls
            self.seen.append(index)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        slow = self.slowest_of is not None and number % self.slowest_of == 0
        time.sleep(self.seconds * (4 if slow else 1))
        with self._lock:
            self._at_once -= 1
        if number == self.fail_at:
            raise RuntimeError("it failed")


@pytest.mark.parametrize(
    ("limit", "count"), [(Limit(seconds=0, least=7), 7), (Limit(seconds=100, least=1, most=5), 5), (Limit(seconds=0, least=1), 1)]
)
def test_the_number_of_samples(limit, count):
    indices = []
    assert len(run_singly(indices.append, limit)) == count
    assert indices == list(range(count))


def test_a_slow_model_is_not_waited_for_without_end():
    samples = run_singly(lambda _: time.sleep(0.02), Limit(seconds=0.02, least=1000))
    assert 2 <= len(samples) < 20
    assert min(samples) >= 0.02e9


@pytest.mark.parametrize("width", [1, 3])
def test_no_more_calls_at_once_than_streams(width):
    call = Sleeper()
    gaps = keep_busy(call, width, Limit(seconds=0, least=20))
    assert call.most_at_once == width
    assert len(gaps) >= 18
    assert sorted(call.seen) == list(range(call.calls))


def test_a_query_is_answered_when_its_last_call_is():
    call = Sleeper(0.005, slowest_of=4)
    with Pipeline(call, 4) as pipeline:
        samples = run_queries(pipeline, Limit(seconds=0, least=3))
    assert call.calls == 12
    assert len(samples) == 3
    # One of the four calls takes four times as long as the others.
    assert min(samples) >= 0.02e9


@pytest.mark.parametrize("width", [1, 2])
def test_a_call_that_fails_ends_the_measurement(width):
    call = Sleeper(fail_at=5)
    with pytest.raises(RuntimeError, match="it failed"):
        keep_busy(call, width, Limit(seconds=0, least=1000))
    assert call.calls < 10
    with Pipeline(Sleeper(fail_at=5), width) as pipeline, pytest.raises(RuntimeError, match="it failed"):
        run_queries(pipeline, Limit(seconds=0, least=1000))


def test_waiting_for_a_free_stream_counts_as_latency():
    with Pipeline(Sleeper(0.005), 1) as pipeline:
        served = serve(pipeline, rate_hz=2000, queries=20, allowed=0, bound_s=10, seed=0)
    assert len(served.latencies_ns) == 20
    assert not served.hopeless
    # All arrive within 10 ms, and the last one waits for the 19 before it.
    assert max(served.latencies_ns) >= 0.08e9
    assert min(served.latencies_ns) >= 0.005e9


def test_a_rate_that_cannot_be_kept_is_given_up():
    call = Sleeper(0.005)
    with Pipeline(call, 1) as pipeline:
        served = serve(pipeline, rate_hz=1000, queries=500, allowed=5, bound_s=0.01, seed=0)
    assert served.hopeless
    assert served.late > 5
    assert call.calls < 100


def test_arrivals_follow_the_rate():
    start = time.perf_counter()
    with Pipeline(Sleeper(0.0), 4) as pipeline:
        served = serve(pipeline, rate_hz=400, queries=100, allowed=0, bound_s=1, seed=0)
    assert time.perf_counter() - start >= 0.2
    assert served.late == 0
