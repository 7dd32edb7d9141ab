"""Measuring in child processes: what they give, and what becomes of those that crash, hang or talk nonsense."""

import dataclasses
import sys

import pytest
from artifacts import HEIGHT, WIDTH, TinyArtifacts

from edgepose.artifact import open_artifact
from edgepose.errors import DeviceError, InputError
from edgepose_benchmarks.case import BenchmarkCase
from edgepose_benchmarks.comparison import compare
from edgepose_benchmarks.inputs import Inputs, read_photos
from edgepose_benchmarks.job import InputStore, Job, Settings
from edgepose_benchmarks.link import WorkerDiedError, WorkerLink, describe_exit
from edgepose_benchmarks.protocol import Describe, Described, Measure, Measured
from edgepose_benchmarks.self_check import measure_overhead, slowed_worker
from edgepose_benchmarks.sweep import sweep
from edgepose_benchmarks.targets.local import LocalTarget

QUICK = Settings(seconds=0.05, processes=1, time_s=0.2, width=1.0)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return InputStore(read_photos([], None), tmp_path_factory.mktemp("inputs"))


def make_job(path, inputs, settings=QUICK, **case):
    artifact = open_artifact(path)
    return Job(case=BenchmarkCase(artifact=path.name, sha256=artifact.sha256, **case), artifact=artifact, inputs=inputs, settings=settings)


def python(code):
    """A worker that runs ``code`` instead."""
    return LocalTarget("test", command=[sys.executable, "-c", code])


@pytest.mark.parametrize("kind", ["openvino", "onnx", "litert"])
def test_a_file_is_measured_on_its_runtime(kind, artifacts: TinyArtifacts, inputs):
    job = make_job(artifacts.path(kind), inputs, dataclasses.replace(QUICK, processes=2, profile=True), threads=1)
    result = LocalTarget("test").measure(job)
    assert (result.kind, result.error) == ("measured", "")
    assert result.machine.name == "test"
    assert len(result.runs) == 2
    for run in result.runs:
        assert len(run.samples_s) >= 30
        assert 0 < min(run.samples_s) < run.first_s < 10
        assert 0 < run.load_s < 30
        assert run.conditions.memory_peak_bytes > run.conditions.memory_before_bytes > 1e6
        assert run.conditions.seconds >= sum(run.samples_s)
    assert sum(operator.share for operator in result.profile.operators) == pytest.approx(1)
    assert result.profile.operators[0].seconds > 0
    assert result.profile.accelerated == 0


def test_a_frame_is_split_into_its_stages(artifacts: TinyArtifacts, inputs):
    result = LocalTarget("test").measure(make_job(artifacts.path("onnx"), inputs, stage="end-to-end", people=5))
    (run,) = result.runs
    assert list(run.stages_s) == ["crop", "inference", "decode"]
    for index, sample in enumerate(run.samples_s):
        parts = [run.stages_s[name][index] for name in run.stages_s]
        assert min(parts) > 0
        assert sum(parts) == pytest.approx(sample, abs=2e-4)


@pytest.mark.parametrize(("scenario", "streams"), [("offline", 2), ("multi-stream", 3)])
def test_scenarios_with_several_calls_at_once(scenario, streams, artifacts: TinyArtifacts, inputs):
    result = LocalTarget("test").measure(make_job(artifacts.path("openvino"), inputs, scenario=scenario, streams=streams, threads=2))
    assert result.error == ""
    assert len(result.runs[0].samples_s) >= 25


def test_the_server_scenario_finds_a_rate(artifacts: TinyArtifacts, inputs, monkeypatch):
    # Each takes 459 calls or more; test_benchmark_server.py looks at the search itself.
    monkeypatch.setattr("edgepose_benchmarks.measurement.SEARCH_STEPS", 2)
    settings = dataclasses.replace(QUICK, seconds=0.02)
    result = LocalTarget("test").measure(make_job(artifacts.path("onnx"), inputs, settings, scenario="server", bound_s=1.0, threads=1))
    assert result.kind == "measured", result.error
    assert result.trials[-1].kept
    assert result.trials[-1].rate_hz > 0
    assert max(result.runs[0].samples_s) < 1.0
    hopeless = LocalTarget("test").measure(make_job(artifacts.path("onnx"), inputs, settings, scenario="server", bound_s=1e-6, threads=1))
    assert hopeless.kind == "failed"
    assert "--bound" in hopeless.error


def test_what_cannot_be_opened_is_a_row(artifacts: TinyArtifacts, inputs):
    result = LocalTarget("test").measure(make_job(artifacts.path("onnx"), inputs, device="npu"))
    assert result.kind == "failed"
    assert "has no device 'npu'" in result.error
    result = LocalTarget("test").measure(make_job(artifacts.path("onnx"), inputs, options={"nonsense": "1"}))
    assert "no option 'nonsense'" in result.error


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os, signal; input(); os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import os, signal; input(); os.kill(os.getpid(), signal.SIGKILL)", "out of memory"),
        ("input(); raise SystemExit('no such file: libsomething.so')", r"exit code 1\): no such file: libsomething.so"),
        ("print('hello'); input()", "expected a message of the benchmark's protocol|isn't valid JSON"),
        ("import sys; sys.exit(3)", "exit code 3"),
    ],
)
def test_a_process_that_dies_says_why(code, words):
    with python(code).start() as link, pytest.raises(WorkerDiedError, match=words):
        link.ask(Describe(name=None), Described, timeout_s=30)


def test_a_process_that_hangs_is_ended():
    with (
        python("import time; time.sleep(1000)").start() as link,
        pytest.raises(WorkerDiedError, match=r"no answer within 0 s \(--timeout\)"),
    ):
        link.ask(Describe(name=None), Described, timeout_s=0.2)


def test_what_a_runtime_prints_does_not_disturb():
    code = "import os; from edgepose_benchmarks import worker; worker.main(lambda run: run)"
    noisy = f"import builtins\n{code}".replace("worker.main", "os.write(2, b'noise' * 100000) and worker.main")
    with python(noisy).start() as link:
        assert link.ask(Describe(name="noisy"), Described, timeout_s=30).machine.name == "noisy"


def test_questions_out_of_order_are_refused():
    with LocalTarget().start() as link, pytest.raises(DeviceError, match="before Open"):
        link.ask(Measure(seconds=0, least=1), Measured, timeout_s=30)


def test_a_command_that_is_not_there():
    with pytest.raises(DeviceError, match="can't start '/no/such/python'"):
        WorkerLink(["/no/such/python"])


def test_exit_codes_in_words():
    assert describe_exit(2) == "exit code 2"
    assert describe_exit(-11) == "signal SIGSEGV"
    assert describe_exit(-250) == "signal 250"


def test_a_sweep_goes_on_after_a_crash_and_measures_nothing_twice(artifacts: TinyArtifacts, inputs, tmp_path):
    good = make_job(artifacts.path("onnx"), inputs, threads=1)
    bad = make_job(artifacts.path("onnx"), inputs, device="npu")
    target = LocalTarget("test")
    first = list(sweep(target, [bad, good], out=tmp_path))
    assert [result.kind for result in first] == ["failed", "measured"]
    notes = []
    second = list(sweep(target, [bad, good], out=tmp_path, note=notes.append))
    assert second[1] == first[1]
    assert [note for note in notes if "measured before" in note] == [f"{good.case.label}: measured before"]
    # On another machine, and when asked to, it is measured again.
    third = next(sweep(LocalTarget("other"), [good], out=tmp_path))
    assert third.machine.name == "other"
    again = next(sweep(target, [good], out=tmp_path, again=True))
    assert again.runs != first[1].runs
    # What is there but damaged is measured again, not trusted.
    for path in tmp_path.glob("*.json"):
        path.write_text("{")
    assert next(sweep(target, [good], out=tmp_path)).kind == "measured"


def test_a_slowdown_that_was_planted_is_found(artifacts: TinyArtifacts, inputs, monkeypatch):
    monkeypatch.setattr("edgepose_benchmarks.comparison.MIN_PAIRS", 2)
    settings = Settings(seconds=0.05, processes=1, time_s=0.1, width=1.0)
    job = make_job(artifacts.path("onnx"), inputs, settings, threads=1)
    place = LocalTarget("test")
    comparison = compare(place, LocalTarget("test", command=slowed_worker(400)), place.machine(), job, job)
    assert len(comparison.pairs) == 2
    # Five times as long on a quiet machine.
    assert comparison.ratio.value > 1.5
    for pair in comparison.pairs:
        assert len(pair.a_s) == len(pair.b_s) == len(pair.b_first) >= 12
        assert sum(pair.b_first) == len(pair.b_first) / 2


def test_only_latencies_are_compared(artifacts: TinyArtifacts, inputs):
    job = make_job(artifacts.path("onnx"), inputs, scenario="offline")
    with pytest.raises(InputError, match="single-stream"):
        compare(LocalTarget(), LocalTarget(), LocalTarget().machine(), job, job)


def test_the_loop_adds_little():
    inside, total = measure_overhead()
    # Twenty microseconds are allowed on a quiet machine; this one may be busy.
    assert 0 < inside <= total < 200e-6


def test_inputs_are_real_crops(artifacts: TinyArtifacts, inputs):
    made = Inputs.load(inputs.path(artifacts.spec, 6))
    assert made.crops.shape[0] >= 8
    assert made.crops.shape[1:] == (3, HEIGHT, WIDTH)
    assert made.crops.std() > 0.3
    assert len({crop.tobytes() for crop in made.crops}) == len(made.crops)
    assert made.frames.shape == (1, 720, 1280, 3)
    assert made.boxes_xyxy.shape == (1, 6, 4)
    assert len(made.batches(3)) == 2
    assert made.batches(20)[0].shape[0] == 20


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seconds": 0.0}, "seconds is 0.0"),
        ({"processes": 0}, "processes is 0"),
        ({"width": 2.0}, "width is 2.0"),
        ({"timeout_s": 0.1}, "timeout_s"),
    ],
)
def test_settings_out_of_range(changes, words):
    with pytest.raises(InputError, match=words):
        dataclasses.replace(QUICK, **changes)
