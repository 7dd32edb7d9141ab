"""Many cases, one after the other, each stored as soon as it is finished: what is killed in the middle goes on where it was."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edgepose.errors import EdgePoseError
from edgepose_benchmarks.job import Job, Target, Unreadable
from edgepose_benchmarks.result import BenchmarkResult
from edgepose_benchmarks.result_file import load_results, save_results

__all__ = ["result_path", "sweep"]


def sweep(
    target: Target,
    jobs: Sequence[Job | Unreadable],
    *,
    out: Path | None = None,
    again: bool = False,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[BenchmarkResult]:
    """Measure every case that hasn't been measured on this machine yet; yield all results, in the order of the cases.

    Args:
        target: where to measure.
        jobs: what to measure; a file that can't be opened becomes a failed result.
        out: folder with one file per result; ``None`` stores nothing.
        again: measure what has a result, too. A case that failed is always tried again.
        note: called with what is being done.

    Raises:
        DeviceError: the target can't be reached at all.
        InputError: a result can't be written.
    """
    machine = target.machine()
    for job in jobs:
        if isinstance(job, Unreadable):
            yield job.result(machine)
            continue
        path = None if out is None else result_path(out, job.case.artifact, job.case.scenario, job.case.key(machine.id))
        known = None if path is None or again else _find_known(path)
        if known is not None:
            note(f"{job.case.label}: measured before")
            yield known
            continue
        note(job.case.label)
        result = target.measure(job)
        if path is not None:
            save_results(path, [result])
        yield result


def result_path(out: Path, artifact: str, scenario: str, key: str) -> Path:
    """Where the result of a case is stored."""
    stem = re.sub(r"[^A-Za-z0-9_.+-]", "_", Path(artifact).stem)
    return out / f"{stem}-{scenario}-{key}.json"


def _find_known(path: Path) -> BenchmarkResult | None:
    if not path.exists():
        return None
    try:
        results = load_results([path]).results
    except EdgePoseError:
        # Of another version, or damaged: measured again, and replaced.
        return None
    return next((result for result in results if result.kind != "failed"), None)
