"""Does edgepose measure what the runtimes' own tools measure?

    python -m edgepose_benchmarks.agreement ARTIFACT... [--rounds 20] [--seconds 2] [--threads N]

OpenVINO's ``benchmark_app`` for ``.xml``, LiteRT's ``litert-benchmark`` for ``.tflite``: the same file and threads, on the CPU, one call
after the other. Both are fresh processes that take turns, in an order drawn by lot; each round gives one ratio of medians. What counts is
the median of these ratios, with the 95 % interval of its order statistics: rounds in which other work disturbed one side count little.
"""

import argparse
import json
import random
import re
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from edgepose.artifact import Artifact, open_artifact
from edgepose.cli.table import format_table
from edgepose.errors import DeviceError, InputError
from edgepose.files import temporary_folder
from edgepose_benchmarks.case import BenchmarkCase
from edgepose_benchmarks.command import run_command
from edgepose_benchmarks.inputs import read_photos
from edgepose_benchmarks.job import InputStore, Job, Settings
from edgepose_benchmarks.measurement import open_worker
from edgepose_benchmarks.protocol import Measure, Measured
from edgepose_benchmarks.result import Interval
from edgepose_benchmarks.statistics import median_interval
from edgepose_benchmarks.targets.local import LocalTarget

__all__ = ["main", "measure_agreement", "measure_with_tool"]

WARM_UP_CALLS = 5
_TIMEOUT_S = 600.0
_MEDIAN = re.compile(r"Median:\s+([\d.]+) ms")


def measure_agreement(job: Job, *, rounds: int) -> tuple[float, float, Interval]:
    """Measure in turns.

    Args:
        job: an OpenVINO or TFLite file with a number of threads.
        rounds: how many turns.

    Returns:
        The median over the rounds of edgepose's medians and of the tool's, in seconds, and edgepose's over the tool's.
    """
    order = random.Random(0)  # noqa: S311  nothing secret
    place = LocalTarget()
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        tool_first = order.random() < 0.5
        if tool_first:
            theirs.append(measure_with_tool(job))
        ours.append(_measure_here(place, job))
        if not tool_first:
            theirs.append(measure_with_tool(job))
    return median(ours), median(theirs), median_interval([own / tool for own, tool in zip(ours, theirs, strict=True)])


def _measure_here(place: LocalTarget, job: Job) -> float:
    link, _ = open_worker(place, job)
    with link:
        measured = link.ask(Measure(seconds=job.settings.seconds, least=WARM_UP_CALLS + 10), Measured, timeout_s=job.settings.timeout_s)
    # The tools leave out a fixed number of calls at the beginning, not those that look like a warm-up: so does this.
    return median(measured.samples_ns[WARM_UP_CALLS:]) * 1e-9


def measure_with_tool(job: Job) -> float:
    """Return the median latency that the runtime's own tool finds, in seconds.

    Raises:
        InputError: a format without such a tool.
        DeviceError: the tool isn't installed, or failed.
    """
    if job.artifact.format == "openvino":
        return _run_benchmark_app(job)
    if job.artifact.format == "litert":
        return _run_litert_benchmark(job)
    raise InputError(f"{job.case.artifact}: for {job.artifact.format} files there is no tool of the runtime to compare with")


def _run_benchmark_app(job: Job) -> float:
    command = [_find("benchmark_app"), "-m", str(job.artifact.path), "-d", "CPU", "-api", "sync", "-hint", "none"]
    command += ["-infer_precision", "f32", "-nthreads", str(job.case.threads), "-t", f"{max(1, round(job.settings.seconds))}"]
    found = _MEDIAN.search(_run(command))
    if found is None:
        raise DeviceError("benchmark_app printed no median")
    return float(found.group(1)) * 1e-3


def _run_litert_benchmark(job: Job) -> float:
    """The tool takes a number of runs instead of a time: a short trial tells how many fill the time."""
    with temporary_folder() as folder:
        result = folder / "result.json"

        def run(runs: int) -> float:
            command = [_find("litert-benchmark"), "--model", str(job.artifact.path), "--num_threads", str(job.case.threads)]
            _run([*command, "--num_runs", str(runs), "--warmup_runs", str(WARM_UP_CALLS), "--result_json", str(result)])
            document = json.loads(result.read_text("utf-8"))
            return float(document["latency"]["median_ms"]) * 1e-3

        return run(max(10, round(job.settings.seconds / run(5))))


def _find(name: str) -> str:
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.exists():
        raise DeviceError(f"{name} isn't installed beside this Python")
    return str(path)


def _run(command: Sequence[str]) -> str:
    done = run_command(command, name=Path(command[0]).name, timeout_s=_TIMEOUT_S)
    return done.stdout + done.stderr


def _make_job(artifact: Artifact, threads: int, seconds: float, folder: Path) -> Job:
    return Job(
        case=BenchmarkCase(artifact=artifact.path.name, sha256=artifact.sha256, device="cpu", threads=threads),
        artifact=artifact,
        inputs=InputStore(read_photos([], None), folder),
        settings=Settings(seconds=seconds),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="Compare edgepose's measurements with those of the runtimes' own tools.")
    parser.add_argument("artifacts", nargs="+", type=Path, metavar="ARTIFACT")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    rows = []
    with temporary_folder() as folder:
        for path in options.artifacts:
            job = _make_job(open_artifact(path), options.threads, options.seconds, folder)
            ours, theirs, ratio = measure_agreement(job, rounds=options.rounds)
            tool = "benchmark_app" if job.artifact.format == "openvino" else "litert-benchmark"
            interval = f"{ratio.value:.3f} [{ratio.low or 0:.3f}, {ratio.high or 0:.3f}]"
            rows.append([path.name, tool, f"{ours * 1e3:.2f} ms", f"{theirs * 1e3:.2f} ms", interval])
    print(format_table(["file", "tool", "edgepose", "tool's median", "edgepose / tool"], rows, right=(2, 3, 4)))
    print(f"\n{options.threads} threads, {options.rounds} rounds of {options.seconds:g} s each, in turns; medians; 95 % intervals")
    return 0


if __name__ == "__main__":
    sys.exit(main())
