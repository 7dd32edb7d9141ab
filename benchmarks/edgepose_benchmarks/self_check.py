"""Does the harness tell the truth?

    python -m edgepose_benchmarks.self_check ARTIFACT [--runs 100] [--slowdown 3] [--device DEVICE] [--threads N]

- what the timing loop adds to a call;
- A/A: a file compared with itself; a difference is a false alarm;
- planted: a file compared with itself, slowed down by a few percent in one of the two processes; no difference is an oversight.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import open_artifact
from edgepose.files import temporary_folder
from edgepose_benchmarks import worker
from edgepose_benchmarks.case import BenchmarkCase
from edgepose_benchmarks.comparison import compare
from edgepose_benchmarks.inputs import read_photos
from edgepose_benchmarks.job import InputStore, Job, Settings
from edgepose_benchmarks.loadgen import Limit, run_singly
from edgepose_benchmarks.result import Comparison
from edgepose_benchmarks.targets.local import WORKER_COMMAND, LocalTarget

__all__ = ["main", "measure_overhead", "slowed_worker"]

CALLS = 20_000


def measure_overhead() -> tuple[float, float]:
    """What the loop adds to a call, in seconds: within the time that it reports, and in all."""
    start = time.perf_counter_ns()
    samples = run_singly(lambda _: None, Limit(seconds=0, least=CALLS, most=CALLS))
    total = time.perf_counter_ns() - start
    return median(samples) * 1e-9, total / CALLS * 1e-9


def slowed_worker(percent: float) -> list[str]:
    """The command of a worker whose calls take ``percent`` longer."""
    return [sys.executable, "-m", "edgepose_benchmarks.self_check", "--worker", str(percent)]


def _serve_slowed(percent: float) -> int:
    def wrap(run: worker.Call) -> worker.Call:
        def slowed(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            start = time.perf_counter_ns()
            heatmaps = run(batch)
            end = time.perf_counter_ns()
            # Busy, not asleep: a sleeping core may slow down.
            until = end + (end - start) * percent / 100
            while time.perf_counter_ns() < until:
                pass
            return heatmaps

        return slowed

    return worker.main(wrap)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks and print what they found."""
    parser = argparse.ArgumentParser(description="Check the harness: overhead, A/A comparisons, planted slowdowns.")
    parser.add_argument("artifact", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=100, help="A/A comparisons (default: 100)")
    parser.add_argument("--planted", type=int, default=20, help="comparisons with a planted slowdown (default: 20)")
    parser.add_argument("--slowdown", type=float, default=3.0, metavar="PERCENT", help="how much is planted (default: 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each pair of processes (default: 4)")
    parser.add_argument("--time", type=float, default=60.0, help="of each comparison, at most (default: 60)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--worker", type=float, metavar="PERCENT", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker is not None:
        return _serve_slowed(options.worker)
    if options.artifact is None:
        parser.error("an artifact is needed")
    inside, outside = measure_overhead()
    print(f"the loop adds {inside * 1e6:.2f} µs to the time of a call, and {outside * 1e6:.2f} µs to what it takes", flush=True)
    with temporary_folder() as folder:
        job = _make_job(options, folder)
        alarms = sum(_run(job, 0.0, number) != "no difference" for number in range(options.runs))
        found = sum(_run(job, options.slowdown, number) == "B is slower" for number in range(options.planted))
    print(f"A/A: {options.runs - alarms} of {options.runs} say no difference")
    print(f"planted {options.slowdown:g} %: {found} of {options.planted} found")
    return 0


def _make_job(options: argparse.Namespace, folder: Path) -> Job:
    artifact = open_artifact(options.artifact)
    return Job(
        case=BenchmarkCase(artifact=artifact.path.name, sha256=artifact.sha256, device=options.device, threads=options.threads),
        artifact=artifact,
        inputs=InputStore(read_photos([], None), folder),
        settings=Settings(seconds=options.seconds, time_s=options.time),
    )


def _run(job: Job, percent: float, number: int) -> str:
    place = LocalTarget()
    other = LocalTarget(command=slowed_worker(percent) if percent else WORKER_COMMAND)
    comparison = compare(place, other, place.machine(), job, job)
    print(f"{f'planted {percent:g} %' if percent else 'A/A'} {number + 1}: {_describe(comparison)}", flush=True)
    return comparison.verdict


def _describe(comparison: Comparison) -> str:
    ratio = comparison.ratio
    return f"{ratio.value:.4f} [{ratio.low or 0:.4f}, {ratio.high or 0:.4f}], {len(comparison.pairs)} pairs: {comparison.verdict}"


if __name__ == "__main__":
    sys.exit(main())
