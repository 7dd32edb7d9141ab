"""Results files: what is written is read back, and what is something else is refused by name."""

import dataclasses
import json

import numpy as np
import pytest
from documents import check_reader
from sample_results import MACHINE, make_comparison, make_estimate, make_result, make_run

from edgepose.errors import InputError, SpecError
from edgepose_benchmarks.result import Interval, ReportedTimes, ServerTrial
from edgepose_benchmarks.result_file import ResultFile, load_results, save_results
from edgepose_benchmarks.stability import find_warnings
from edgepose_benchmarks.summary import crops_per_sample, main_interval, relative_width, summarize


def test_a_results_file_is_read_back_to_the_last_sample(tmp_path):
    results = (make_result(), make_estimate(), make_result("broken.onnx", kind="failed", runs=(), error="it crashed"))
    save_results(tmp_path / "r.json", results, [make_comparison()])
    assert load_results([tmp_path / "r.json"]) == ResultFile(results=results, comparisons=(make_comparison(),))
    assert load_results([tmp_path]) == load_results([tmp_path / "r.json"])


def test_of_two_results_of_one_case_the_later_counts(tmp_path):
    later = make_result(center_s=0.03, started="2026-02-01T00:00:00+00:00")
    other = make_result(machine=dataclasses.replace(MACHINE, id="another00000"))
    save_results(tmp_path / "a.json", [later])
    save_results(tmp_path / "b.json", [make_result(), other])
    assert load_results([tmp_path / "a.json", tmp_path / "b.json"]).results == (later, other)
    assert load_results([tmp_path / "b.json", tmp_path / "a.json"]).results == (later, other)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "isn't valid JSON"),
        ("[]", "isn't a results file"),
        ('{"edgepose_spec": 1}', "isn't a results file"),
        ('{"edgepose_benchmark": 99}', "schema version 99; this edgepose reads version 1"),
        ('{"edgepose_benchmark": 1, "results": [{}]}', r"results\[0\] lacks field"),
        ('{"edgepose_benchmark": 1, "surprise": 1}', "unknown field"),
    ],
)
def test_another_schema_is_refused(tmp_path, text, words):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(SpecError, match=words) as caught:
        load_results([tmp_path / "r.json"])
    assert "r.json" in str(caught.value)


def test_a_case_with_nonsense_in_it_is_a_wrong_file(tmp_path):
    document = json.loads(ResultFile(results=(make_result(),)).to_json())
    document["results"][0]["case"]["batch"] = -1
    (tmp_path / "r.json").write_text(json.dumps(document))
    with pytest.raises(SpecError, match="batch is -1"):
        load_results([tmp_path / "r.json"])


def test_what_cannot_be_read_or_written_is_named(tmp_path):
    with pytest.raises(InputError, match="no-such-file"):
        load_results([tmp_path / "no-such-file.json"])
    with pytest.raises(InputError, match="holds no results"):
        load_results([tmp_path])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't write"):
        save_results(tmp_path / "file" / "r.json", [])


def test_the_figures_of_a_result():
    summary = summarize(make_result())
    assert summary.samples == 3 * 190
    assert summary.median_s == pytest.approx(0.02, rel=0.01)
    assert set(summary.percentiles_s) == {50.0, 90.0, 95.0, 99.0}
    assert summary.crops_per_s.value == pytest.approx(50, rel=0.01)
    assert summary.crops_per_s.low < summary.crops_per_s.value < summary.crops_per_s.high
    assert summary.macs_per_s == pytest.approx(250e9, rel=0.01)
    assert summary.peak_share == pytest.approx(0.5, rel=0.01)
    assert (summary.memory_bytes, summary.model_memory_bytes) == (200_000_000, 140_000_000)


def test_throughput_counts_crops():
    result = make_result()
    frames = dataclasses.replace(result, case=dataclasses.replace(result.case, stage="end-to-end", people=8))
    assert summarize(frames).crops_per_s.value == pytest.approx(400, rel=0.01)
    queries = dataclasses.replace(result, case=dataclasses.replace(result.case, scenario="multi-stream", streams=4, batch=2))
    assert summarize(queries).crops_per_s.value == pytest.approx(400, rel=0.01)
    offline = dataclasses.replace(result, case=dataclasses.replace(result.case, scenario="offline", streams=4, batch=2))
    assert summarize(offline).crops_per_s.value == pytest.approx(100, rel=0.01)
    assert summarize(offline).percentiles_s == {}
    trials = (
        ServerTrial(rate_hz=30.0, queries=100, late=0, p99_s=0.05, kept=True),
        ServerTrial(rate_hz=40.0, queries=9, late=5, p99_s=None, kept=False),
    )
    served = dataclasses.replace(result, case=dataclasses.replace(result.case, scenario="server", bound_s=0.1), trials=trials)
    assert summarize(served).crops_per_s.value == 30.0


def test_energy_is_per_crop():
    runs = tuple(make_run(energy_j=40.0, energy_source="rapl") for _ in range(2))
    result = make_result(runs=runs)
    assert summarize(result).joules_per_crop == pytest.approx(40 / 200)
    pairs = dataclasses.replace(result, case=dataclasses.replace(result.case, batch=2))
    assert summarize(pairs).joules_per_crop == pytest.approx(40 / 400)


def test_a_steady_result_has_no_warnings():
    assert find_warnings(make_result().runs) == ()


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([make_run(count=25)], "only 15 samples"),
        ([make_run(), make_run(0.03)], "processes differ"),
        ([make_run(other_cores=1.0)], "other load"),
        ([make_run(throttled=3)], "3 thermal events"),
        ([make_run(frequency_hz=(3e9, 2e9))], "fell by 33%"),
        ([make_run(warmup=200)], "no sample was left"),
    ],
)
def test_instability_is_told(runs, words):
    assert any(words in warning for warning in find_warnings(runs))


def test_trend_spread_and_tail_are_told():
    steady = make_run().samples_s
    rising = tuple(value * (1 + index / len(steady)) for index, value in enumerate(steady))
    assert any("slower than they began" in warning for warning in find_warnings([dataclasses.replace(make_run(), samples_s=rising)]))
    wild = tuple(value * (1 + index % 2) for index, value in enumerate(steady))
    assert any("spread" in warning for warning in find_warnings([dataclasses.replace(make_run(), samples_s=wild)]))
    tailed = tuple(value * (5 if index % 40 == 0 else 1) for index, value in enumerate(steady))
    assert any("long tail" in warning for warning in find_warnings([dataclasses.replace(make_run(), samples_s=tailed)]))
    # The times between completions of several streams spread by nature.
    assert find_warnings([dataclasses.replace(make_run(), samples_s=wild)], latencies=False) == ()


def test_damaged_results_load_or_are_refused():
    document = json.loads(
        ResultFile(results=(make_result(runs=(make_run(count=12),)), make_estimate()), comparisons=(make_comparison(),)).to_json()
    )
    check_reader(document, lambda text: ResultFile.from_json(text, where="r.json"), ResultFile.to_json, count=400, seed=5)


def runs_of(*samples, **conditions):
    """Runs with these samples and no warm-up."""
    return [dataclasses.replace(make_run(**conditions), samples_s=tuple(values), warmup=0) for values in samples]


def told(runs, words, **options):
    return any(words in warning for warning in find_warnings(runs, **options))


# Each threshold from both sides.
@pytest.mark.parametrize(
    ("below", "above", "words"),
    [
        (runs_of([1.0] * 29 + [1.0]), runs_of([1.0] * 29), "samples: measure for longer"),
        (runs_of([0.951, 0.951, 1.0, 1.049, 1.049] * 40), runs_of([0.949, 0.949, 1.0, 1.051, 1.051] * 40), "spread"),
        # The median is 1, the mean far above it.
        (runs_of([1.0] * 110 + [1.095] * 60 + [10.0] * 30), runs_of([1.0] * 110 + [1.105] * 60 + [10.0] * 30), "spread"),
        (runs_of([1.0] * 95 + [1.99] * 5), runs_of([1.0] * 95 + [2.01] * 5), "long tail: p99 is 2.0 times"),
        (runs_of([1.0] * 94 + [3.0] * 5), runs_of([1.0] * 95 + [3.0] * 5), "long tail"),
        (runs_of([1.0] * 40, [1.049] * 40), runs_of([1.0] * 40, [1.052] * 40), "processes differ"),
        (runs_of([1.0] * 40 + [1.049] * 20), runs_of([1.0] * 40 + [1.051] * 20), "5% slower"),
        (runs_of([1.0] * 40 + [0.951] * 20), runs_of([1.0] * 40 + [0.94] * 20), "6% faster"),
        (runs_of([1.0] * 10 + [2.0] * 4), runs_of([1.0] * 10 + [2.0] * 5), "slower than they began"),
        (
            runs_of(*[[1.0] * 40] * 2, [1.0] * 20 + [1.6] * 20),
            runs_of([1.0] * 40, *[[1.0] * 20 + [1.6] * 20] * 2),
            "trend: runs end",
        ),
        ([make_run(other_cores=0.09)], [make_run(other_cores=0.11)], "used 0.1 CPU cores"),
        ([make_run(), make_run(), make_run(other_cores=9.0)], [make_run(), *[make_run(other_cores=9.0)] * 2], "used 9.0 CPU cores"),
        ([make_run(frequency_hz=(2e9, 1.92e9))], [make_run(frequency_hz=(2e9, 1.893e9))], "CPU's frequency fell by"),
        ([make_run(frequency_hz=(0.0, 1e9))], [make_run(frequency_hz=(1e9, 5e8)), make_run(frequency_hz=(1e9, 1e9))], "fell by 50%"),
    ],
)
def test_each_threshold_is_where_it_is_said_to_be(below, above, words):
    assert not told(below, words)
    assert told(above, words)


def test_completions_of_several_streams_spread_by_nature():
    runs = runs_of([0.5, 1.5] * 100, [1.0, 3.0] * 100)
    assert told(runs, "spread")
    assert told(runs, "processes differ")
    assert find_warnings(runs, latencies=False) == ()


def test_a_single_process_differs_from_nobody():
    assert not told(runs_of([1.0] * 20 + [1.2] * 20), "processes differ")


def test_what_the_machine_did_is_told_last():
    runs = [dataclasses.replace(run, conditions=make_run(throttled=2).conditions) for run in runs_of([1.0] * 20, [2.0] * 20)]
    warnings = find_warnings(runs)
    assert "spread" in warnings[0]
    assert "2 thermal events" in find_warnings(runs[:1])[-1]
    assert "4 thermal events" in warnings[-1]


def test_the_figure_that_decides_is_the_median_or_offline_the_mean():
    result = make_result()
    samples = np.concatenate([run.steady_s for run in result.runs])
    assert main_interval(result).value == pytest.approx(np.median(samples))
    offline = dataclasses.replace(result, case=dataclasses.replace(result.case, scenario="offline"))
    skewed = dataclasses.replace(offline, runs=tuple(runs_of([1.0] * 30 + [4.0] * 10, [1.0] * 40)))
    assert main_interval(skewed).value == pytest.approx(110 / 80)
    assert main_interval(dataclasses.replace(result, runs=skewed.runs)).value == 1.0
    assert relative_width(Interval(value=10.0, low=8.0, high=13.0)) == pytest.approx(0.25)
    assert relative_width(Interval(value=10.0, low=None, high=None)) == float("inf")


@pytest.mark.parametrize(
    ("changes", "streams", "crops"),
    [
        ({}, 3, 1),
        ({"batch": 5}, 3, 5),
        ({"scenario": "multi-stream", "streams": None, "batch": 5}, 3, 15),
        ({"scenario": "multi-stream", "streams": 4, "batch": 2}, 3, 8),
        ({"scenario": "multi-stream", "streams": None, "batch": 2}, None, 2),
        ({"scenario": "offline", "streams": 4, "batch": 2}, 3, 2),
        ({"stage": "end-to-end", "people": 8}, 3, 8),
    ],
)
def test_a_sample_stands_for_so_many_crops(changes, streams, crops):
    result = make_result()
    session = None if streams is None else dataclasses.replace(result.session, streams=streams)
    assert crops_per_sample(dataclasses.replace(result, case=dataclasses.replace(result.case, **changes), session=session)) == crops


def test_the_figures_of_processes_that_differ():
    runs = [
        dataclasses.replace(
            make_run(warmup=2, count=40, cpu_cores=cores, memory_peak_bytes=peak, memory_before_bytes=before),
            load_s=load,
            first_s=first,
            stages_s={"crop": (9.0, 9.0, *[value] * 38), "inference": (9.0, 9.0, *[2 * value] * 38)},
        )
        for cores, peak, before, load, first, value in (
            (1.0, 500, 100, 0.1, 0.7, 1.0),
            (2.0, 900, 600, 0.5, 0.2, 2.0),
            (9.0, 700, 200, 0.2, 0.1, 4.0),
        )
    ]
    summary = summarize(make_result(runs=tuple(runs)))
    assert (summary.load_s, summary.first_s, summary.cpu_cores) == (0.2, 0.2, 2.0)
    assert (summary.memory_bytes, summary.model_memory_bytes) == (900, 500)
    assert summary.stages_s == {"crop": 2.0, "inference": 4.0}
    assert summary.samples == 3 * 38
    assert summary.mean_s.value == pytest.approx(np.mean([run.steady_s for run in runs]))
    assert summary.percentiles_s[90.0].value == pytest.approx(np.percentile([run.steady_s for run in runs], 90))
    assert summarize(make_result(runs=tuple(make_run(warmup=200) for _ in range(2)))).samples == 0


def test_the_figures_that_another_tool_reported():
    reported = ReportedTimes(tool="vela", count=7, mean_s=0.04, median_s=0.03, p95_s=0.09, init_s=0.5, first_s=0.2, memory_peak_bytes=123)
    result = make_estimate()
    summary = summarize(dataclasses.replace(result, reported=reported, case=dataclasses.replace(result.case, batch=2)))
    assert {percent: interval.value for percent, interval in summary.percentiles_s.items()} == {50.0: 0.03, 95.0: 0.09}
    assert (summary.samples, summary.mean_s.value, summary.median_s) == (7, 0.04, 0.03)
    assert summary.crops_per_s.value == pytest.approx(50)
    assert (summary.load_s, summary.first_s, summary.memory_bytes) == (0.5, 0.2, 123)


def test_percentiles_that_the_samples_cannot_tell_are_left_out():
    few = make_result(runs=tuple(runs_of([1.0, 2.0, 3.0] * 6)))
    assert set(summarize(few).percentiles_s) == {50.0, 90.0}
    assert set(summarize(make_result(runs=tuple(runs_of([4.0])))).percentiles_s) == {50.0}
