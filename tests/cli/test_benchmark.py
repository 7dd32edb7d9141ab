"""``edgepose benchmark`` and ``edgepose report`` as a user runs them, on tiny models."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from artifacts import TinyArtifacts

from edgepose.cli import main
from edgepose_benchmarks.result_file import load_results

QUICK = ["--seconds", "0.05", "--processes", "1", "--time", "0.2", "--interval", "100", "--threads", "1"]


@pytest.fixture
def onnx(artifacts: TinyArtifacts) -> str:
    return str(artifacts.path("onnx"))


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail with exit code 1; return its one line on standard error."""
    capsys.readouterr()
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    return captured.err


def test_benchmark_then_report(artifacts: TinyArtifacts, onnx: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results"
    files = [str(artifacts.path("openvino")), onnx]
    assert main(["benchmark", *files, "--stage", "inference,end-to-end", "--people", "2", "--out", str(out), *QUICK]) == 0
    table = capsys.readouterr().out
    assert table.count("tiny.onnx") == 2
    assert "p50 ms" in table
    assert "end-to-end, 2 people" in table
    assert len(list(out.iterdir())) == 4
    page = tmp_path / "report.html"
    assert main(["report", str(out), "--out", str(page)]) == 0
    assert "4 results" in capsys.readouterr().out
    assert "<svg" in page.read_text()
    assert main(["report", str(out)]) == 0
    assert "# Benchmark results" in capsys.readouterr().out
    merged = tmp_path / "merged.json"
    assert main(["report", *map(str, out.iterdir()), "--out", str(merged)]) == 0
    assert len(load_results([merged]).results) == 4
    accuracy = tmp_path / "accuracy.json"
    accuracy.write_text('{"tiny.onnx": 71.5}')
    assert main(["report", str(merged), "--out", str(tmp_path / "r.csv"), "--accuracy", str(accuracy)]) == 0
    assert ",71.5," in (tmp_path / "r.csv").read_text()


def test_what_is_measured_is_not_measured_again(onnx: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["benchmark", onnx, "--out", str(tmp_path), "--json", *QUICK]
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["edgepose_benchmark"] == 1
    assert len(first["results"][0]["runs"][0]["samples_s"]) >= 30
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert main([*command, "--again"]) == 0
    assert json.loads(capsys.readouterr().out) != first


def test_compare(onnx: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepose_benchmarks.comparison.MIN_PAIRS", 2)
    assert main(["benchmark", onnx, onnx, "--compare", "--out", str(tmp_path), *QUICK]) == 0
    line = capsys.readouterr().out
    assert "times as long as" in line
    assert "99% interval, 2 pairs" in line
    assert len(load_results([tmp_path]).comparisons) == 1


def test_a_case_that_fails_is_a_row_and_the_others_go_on(onnx: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", onnx, "--device", "npu,cpu", *QUICK]) == 1
    captured = capsys.readouterr()
    assert "Failed:" in captured.out
    assert "has no device 'npu'" in captured.out
    assert "CPUExecutionProvider" in captured.out
    assert "has no device 'npu'" in captured.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--scenario", "sprint"], "no scenario 'sprint'; there are: single-stream"),
        (["--stage", "halves"], "no stage 'halves'"),
        (["--scenario", "offline", "--stage", "end-to-end"], "nothing to measure"),
        (["--photos", "no-such-photo.jpg"], "no-such-photo.jpg"),
        (["--on", "telnet://host"], "no target 'telnet://host'"),
        (["--on", "adb://"], "--benchmark-model"),
        (["--on", "vela://ethos-u85-256", "--vela", "no-such-vela"], "pip install ethos-u-vela"),
        (["--compare"], "--compare takes two cases, but these options make 1"),
    ],
)
def test_bad_options_get_one_clear_line(onnx: str, options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in fails(capsys, "benchmark", onnx, *options)


@pytest.mark.parametrize("options", [["--threads", "many"], ["--batch", "0"], ["--batch", ","], ["--streams", "-1"], ["--seconds", "soon"]])
def test_wrong_usage_ends_with_2(onnx: str, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", onnx, *options])
    assert ended.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_a_bad_file_is_a_row_and_the_others_are_measured(onnx: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "damaged.onnx"
    content = bytearray(Path(onnx).read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    missing = tmp_path / "missing.tflite"
    out = tmp_path / "results"
    assert main(["benchmark", str(missing), onnx, str(damaged), "--out", str(out), *QUICK]) == 1
    captured = capsys.readouterr()
    assert "CPUExecutionProvider" in captured.out
    assert "missing.tflite: no such file" in captured.out
    assert "damaged.onnx" in captured.out.split("Failed:")[1]
    assert captured.err.count("edgepose benchmark: ") == 2
    # Nothing is known of such a file that its row could be found again by.
    assert [result.case.artifact for result in load_results([out]).results] == ["tiny.onnx"]
    assert "missing.tflite" in fails(capsys, "benchmark", str(missing), onnx, "--compare")


def test_a_file_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    assert "not a model file" in fails(capsys, "benchmark", str(tmp_path / "model.onnx"))


def test_bad_reports_get_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results.json"
    results.write_text('{"edgepose_benchmark": 1, "results": []}')
    (tmp_path / "old.json").write_text('{"edgepose_benchmark": 0}')
    (tmp_path / "accuracy.json").write_text('{"a": "good"}')
    (tmp_path / "list.json").write_text("[1]")
    assert "schema version 0" in fails(capsys, "report", str(tmp_path / "old.json"))
    assert "no-such.json" in fails(capsys, "report", str(tmp_path / "no-such.json"))
    assert "can't tell the form" in fails(capsys, "report", str(results), "--out", str(tmp_path / "r.pdf"))
    assert "the accuracy of 'a' is 'good'" in fails(capsys, "report", str(results), "--accuracy", str(tmp_path / "accuracy.json"))
    assert "no JSON object" in fails(capsys, "report", str(results), "--accuracy", str(tmp_path / "list.json"))
    assert "can't write" in fails(capsys, "report", str(results), "--out", str(results / "r.md"))


# Says by a file that it waits for a worker's measurement, and is the command otherwise.
_TELLING = """
import sys
from pathlib import Path

from edgepose.cli import main
from edgepose_benchmarks.link import WorkerLink
from edgepose_benchmarks.protocol import Measure

ask = WorkerLink.ask

def tell(link, message, wanted, *, timeout_s):
    if isinstance(message, Measure):
        Path(sys.argv[1]).touch()
    return ask(link, message, wanted, timeout_s=timeout_s)

WorkerLink.ask = tell
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_keeps_what_is_finished(number: signal.Signals, onnx: str, tmp_path: Path) -> None:
    out, begun = tmp_path / "results", tmp_path / "begun"
    command = ["benchmark", onnx, "--batch", "1,2,3", "--out", str(out), *QUICK, "--machine", "m"]
    assert main([*command, "--batch", "1"]) == 0
    process = subprocess.Popen(
        [sys.executable, "-c", _TELLING, str(begun), *command, "--seconds", "1000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        deadline = time.monotonic() + 300  # so that a command that hangs ends the test
        while not begun.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        workers = _children(process.pid)
        assert workers
        process.send_signal(number)
        output, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 1, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert "tiny.onnx" in output
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []
    assert len(load_results([out]).results) == 1
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def _children(pid: int) -> list[int]:
    """Processes that ``pid`` has started, where ``/proc`` says so."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    if not path.exists():
        pytest.skip("this system doesn't list the children of a process")
    return [int(word) for word in path.read_text().split()]
