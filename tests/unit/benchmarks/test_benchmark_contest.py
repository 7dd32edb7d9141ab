"""The comparisons with others, with stand-ins for the others: what is asked of them, and what is made of their answers."""

import sys

import pytest
from artifacts import TinyArtifacts

from edgepose.artifact import open_artifact
from edgepose.errors import DeviceError, InputError
from edgepose_benchmarks import agreement, asynchronous, contest, rivals
from edgepose_benchmarks.case import BenchmarkCase
from edgepose_benchmarks.contest import BEGIN, END, Contender, Standing, make_models, run_contest, write_between
from edgepose_benchmarks.inputs import read_photos
from edgepose_benchmarks.job import InputStore, Job, Settings
from edgepose_benchmarks.targets.local import WORKER_COMMAND

# A worker that says that each frame took so many milliseconds, the first one of a block much longer.
STAND_IN = """
import sys
from edgepose_benchmarks.protocol import Measured, Open, Opened
from edgepose_benchmarks.result import Conditions, SessionFacts
from edgepose_benchmarks.worker import answer_messages
def reply(message):
    if isinstance(message, Open):
        facts = SessionFacts(runtime="stand-in", version=message.artifact, device="cpu", streams=1, batch=None)
        return Opened(session=facts, load_s=1.0, import_s=1.0, first_s=1.0)
    return Measured(samples_ns=(10**9, *[{milliseconds} * 10**6] * 2), conditions=Conditions(seconds=1.0))
sys.exit(answer_messages(reply))
"""


@pytest.fixture
def job(artifacts: TinyArtifacts, tmp_path):
    artifact = open_artifact(artifacts.path("onnx"))
    case = BenchmarkCase(artifact=artifact.path.name, sha256=artifact.sha256, stage="end-to-end", people=2, threads=1)
    return Job(case=case, artifact=artifact, inputs=InputStore(read_photos([], None), tmp_path), settings=Settings(seconds=0.05))


def test_contenders_take_turns(job):
    contenders = {
        name: Contender(command=(sys.executable, "-c", STAND_IN.format(milliseconds=milliseconds)), artifact=job.artifact.path)
        for name, milliseconds in (("fast", 20), ("slow", 50))
    }
    contenders["real"] = Contender(command=WORKER_COMMAND, artifact=job.artifact.path)
    standings = run_contest(contenders, job.case, job.inputs.path(job.artifact.spec, 2), sets=2, rounds=3)
    assert standings["fast"].seconds == pytest.approx(0.02)
    assert standings["slow"].over(standings["fast"]).value == pytest.approx(2.5)
    assert standings["real"].name.startswith("onnxruntime")
    assert [len(times) for times in standings["real"].sets] == [3, 3]
    assert standings["real"].seconds > 0


def test_the_table_says_what_of_the_peak_is_reached(artifacts: TinyArtifacts, tmp_path, monkeypatch, capsys):
    models = tmp_path / "models"
    artifacts.copy("onnx", models)

    def drop(contenders, *_):
        return {name: each for name, each in contenders.items() if name.startswith("tiny")}, ["rtmlib isn't installed"]

    monkeypatch.setattr(contest, "_drop_absent", drop)
    monkeypatch.setattr(contest, "measure_peaks", lambda contenders: {each.arithmetic: 1e15 for each in contenders.values()})
    assert contest.main(["--models", str(models), "--precision", "fp32", "--sets", "1", "--rounds", "1"]) == 0
    output = capsys.readouterr().out
    assert "tiny.onnx, onnxruntime" in output
    assert "0% (f32)" in output
    assert "Peak in f32: 1000000.0 GMAC/s" in output
    assert "rtmlib isn't installed" in output
    with pytest.raises(InputError, match="no files of the precisions int8"):
        contest.main(["--models", str(models), "--precision", "int8"])


def test_a_share_of_the_peak():
    standing = Standing(sets=[[0.5]], arithmetic="int8")
    # Eight people of 1 GMAC each in half a second.
    assert contest._share(standing, 10**9, {"int8": 32e9, "f32": 1.0}) == pytest.approx(0.5)
    assert contest._share(standing, 10**9, {"f32": 1.0}) is None


def test_threads_are_measured_against_the_queue(artifacts: TinyArtifacts, capsys):
    asynchronous.main([str(artifacts.path("openvino")), "--rounds", "2", "--seconds", "0.05"])
    output = capsys.readouterr().out
    assert "| tiny.xml" in output
    assert "2 streams, 2 threads, 2 rounds of 0.05 s each" in output
    with pytest.raises(InputError, match="runs on onnxruntime"):
        asynchronous.main([str(artifacts.path("onnx"))])


def test_one_set_has_no_interval():
    ratio = Standing(sets=[[2.0]]).over(Standing(sets=[[1.0]]))
    assert (ratio.value, ratio.low) == (pytest.approx(2.0), None)


def test_the_table_is_put_between_its_marks(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_between(path, "| new |")
    assert path.read_text() == f"before\n{BEGIN}\n| new |\n{END}\nafter\n"
    path.write_text("no marks")
    with pytest.raises(InputError, match="lacks the marks"):
        write_between(path, "| new |")


def test_sizes_and_rivals_that_there_are_not(tmp_path):
    with pytest.raises(InputError, match="no size is called 'xxl'; there are: ti, s, b, l, h"):
        make_models("xxl", "fp32", tmp_path)
    with pytest.raises(InputError, match="no rival 'nobody'; there are: transformers, rtmlib"):
        rivals.main(["nobody"])


def make_tool(tmp_path, monkeypatch, text):
    script = tmp_path / "tool"
    script.write_text(f"#!{sys.executable}\n{text}")
    script.chmod(0o755)
    monkeypatch.setattr(agreement, "_find", lambda name: str(script))


def test_the_tools_are_asked_for_the_same_and_understood(artifacts: TinyArtifacts, job, tmp_path, monkeypatch):
    def make_job(kind):
        artifact = open_artifact(artifacts.path(kind))
        case = BenchmarkCase(artifact=artifact.path.name, sha256=artifact.sha256, threads=1)
        return Job(case=case, artifact=artifact, inputs=job.inputs, settings=job.settings)

    text = """
import sys
assert sys.argv[sys.argv.index("-nthreads") + 1] == "1" and "f32" in sys.argv
print("[ INFO ]    Median:        78.34 ms")
"""
    make_tool(tmp_path, monkeypatch, text)
    assert agreement.measure_with_tool(make_job("openvino")) == pytest.approx(0.07834)
    text = """
import json, sys
value = lambda name: sys.argv[sys.argv.index(name) + 1]
assert value("--num_threads") == "1"
json.dump({"latency": {"median_ms": 40.76}}, open(value("--result_json"), "w"))
"""
    make_tool(tmp_path, monkeypatch, text)
    assert agreement.measure_with_tool(make_job("litert")) == pytest.approx(0.04076)
    ours, theirs, ratio = agreement.measure_agreement(make_job("litert"), rounds=3)
    assert theirs == pytest.approx(0.04076)
    assert ratio.low <= ratio.value <= ratio.high
    assert ratio.low * theirs <= ours <= ratio.high * theirs
    with pytest.raises(InputError, match="no tool of the runtime"):
        agreement.measure_with_tool(make_job("onnx"))
    make_tool(tmp_path, monkeypatch, "import sys\nsys.exit('Unknown device')")
    with pytest.raises(DeviceError, match="Unknown device"):
        agreement.measure_with_tool(make_job("openvino"))
