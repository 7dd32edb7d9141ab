"""``edgepose benchmark``: latency and throughput of device files, on this machine or another."""

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from edgepose.cli.interruption import tidying
from edgepose.cli.options import add_json_option, comma_list, key_value, real_number, whole_number
from edgepose.cli.progress import Progress
from edgepose.errors import ArtifactError, EdgePoseError, InputError
from edgepose.files import temporary_folder
from edgepose.printable import printable

if TYPE_CHECKING:
    from edgepose_benchmarks.job import Job, Target, Unreadable
    from edgepose_benchmarks.result import BenchmarkResult, Comparison

__all__ = ["add_parser", "run"]

_SCENARIOS = "single-stream,multi-stream,offline,server"
_STAGES = "inference,end-to-end"
_MAX_NUMBER = 4096
_MS = 1e-3
_TIDYING_S = 20.0
"""Workers are ended, finished results shown, and what was pushed to a device removed even after Ctrl-C, if that takes no longer."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "benchmark",
        help="measure latency and throughput of device files",
        description="Measure device files: every combination of the comma-separated values below, each in processes of its own.",
    )
    parser.add_argument("artifacts", nargs="+", type=Path, metavar="ARTIFACT", help="files that `edgepose convert` wrote")
    parser.add_argument("--compare", action="store_true", help="let two cases take turns, and report the ratio of their latencies")
    _add_case_options(parser)
    _add_thoroughness_options(parser)
    _add_target_options(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for one results file per case; what it holds isn't measured again")
    parser.add_argument("--again", action="store_true", help="measure what --out holds, too")
    add_json_option(parser)
    return parser


def _add_case_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("cases")
    group.add_argument(
        "--device", type=comma_list, default=["auto"], metavar="DEVICES", help="[runtime:]device, see `edgepose devices` (default: auto)"
    )
    group.add_argument(
        "--scenario", type=comma_list, default=["single-stream"], metavar="NAMES", help=f"of {_SCENARIOS} (default: single-stream)"
    )
    group.add_argument("--stage", type=comma_list, default=["inference"], metavar="NAMES", help=f"of {_STAGES} (default: inference)")
    group.add_argument(
        "--threads",
        type=_numbers("auto"),
        default=[None],
        metavar="NUMBERS",
        help="CPU threads in all (default: auto, the runtime's choice)",
    )
    group.add_argument("--batch", type=_numbers(), default=[1], metavar="NUMBERS", help="crops per call (default: 1)")
    group.add_argument(
        "--streams",
        type=_numbers("auto"),
        default=[None],
        metavar="NUMBERS",
        help="calls under way at once, except single-stream (default: auto, the runtime's choice; multi-stream: 8)",
    )
    group.add_argument("--people", type=whole_number(1, 64), default=8, metavar="N", help="boxes in a frame, end to end (default: 8)")
    group.add_argument(
        "--bound",
        type=real_number(0, 3_599_000, above=True),
        metavar="MS",
        help="server: latency that 99 %% of the calls must keep (default: 100)",
        default=100.0,
    )
    group.add_argument(
        "--photos", type=Path, nargs="+", default=[], metavar="PHOTO", help="photos to take the crops from (default: the sample photo)"
    )
    group.add_argument("--boxes", type=Path, metavar="FILE", help="person boxes in them, as for `edgepose predict`")
    group.add_argument(
        "--option", action="append", type=key_value, default=[], metavar="KEY=VALUE", help="a setting of the runtime; may be repeated"
    )


def _add_thoroughness_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("thoroughness")
    group.add_argument(
        "--processes", type=whole_number(1, 100), default=3, metavar="N", help="at least so many fresh processes (default: 3)"
    )
    group.add_argument(
        "--seconds", type=real_number(0.01, 3600), default=3.0, metavar="S", help="of measuring in each of them (default: 3)"
    )
    group.add_argument(
        "--interval",
        type=real_number(0.01, 100),
        default=1.0,
        metavar="PERCENT",
        help="go on until the 95 %% interval is ± this narrow (default: 1)",
    )
    group.add_argument(
        "--time", type=real_number(0.1, 86400), default=60.0, metavar="S", help="… or until a case took so long (default: 60)"
    )
    group.add_argument(
        "--timeout", type=real_number(1, 86400), default=300.0, metavar="S", help="end a process that is silent for so long (default: 300)"
    )
    group.add_argument("--profile", action="store_true", help="also take the time of each operator")
    group.add_argument("--peak", action="store_true", help="also measure the machine's fastest matrix product, and the model's share of it")


def _add_target_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where")
    group.add_argument(
        "--on",
        default="local",
        metavar="TARGET",
        help="local, ssh://[user@]host[:port], adb://[serial], or vela://ethos-u85-256, which estimates (default: local)",
    )
    group.add_argument("--machine", metavar="NAME", help="what to call the machine in results (default: its own name)")
    group.add_argument(
        "--remote-python", default="python3", metavar="PATH", help="ssh: Python with numpy and the runtime (default: python3)"
    )
    group.add_argument("--benchmark-model", type=Path, metavar="FILE", help="adb: TensorFlow Lite's benchmark_model for the device")
    group.add_argument("--adb", default="adb", metavar="PATH", help="adb: the command (default: adb)")
    group.add_argument("--vela", default="vela", metavar="PATH", help="vela: the command (default: vela)")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from edgepose_benchmarks.targets.address import TargetOptions, open_target

    target_options = TargetOptions(
        name=options.machine,
        python=options.remote_python,
        adb=options.adb,
        benchmark_model=options.benchmark_model,
        vela=options.vela,
    )
    with temporary_folder() as folder:
        jobs = _make_jobs(options, folder)
        with tidying(_TIDYING_S), closing(open_target(options.on, target_options)) as target:
            return _compare(options, target, jobs) if options.compare else _sweep(options, target, jobs)


def _sweep(options: argparse.Namespace, target: "Target", jobs: "list[Job | Unreadable]") -> int:
    from edgepose_benchmarks.sweep import sweep

    results: list[BenchmarkResult] = []
    try:
        with Progress(len(jobs)) as progress:
            for result in sweep(target, jobs, out=options.out, again=options.again, note=progress.note):
                results.append(result)
                progress.step()
                if result.error:
                    progress.print(f"edgepose benchmark: {result.case.label}: {result.error}")
    finally:
        # Ctrl-C, a device that dies: what is finished is shown all the same.
        if results:
            _show(options, results, [])
    return int(any(result.kind == "failed" for result in results))


def _compare(options: argparse.Namespace, target: "Target", jobs: "list[Job | Unreadable]") -> int:
    from edgepose_benchmarks.comparison import MIN_PAIRS, compare
    from edgepose_benchmarks.job import Job
    from edgepose_benchmarks.result_file import save_results
    from edgepose_benchmarks.targets.local import LocalTarget
    from edgepose_benchmarks.targets.ssh import SSHTarget

    cases = [job for job in jobs if isinstance(job, Job)]
    for job in jobs:
        if not isinstance(job, Job):
            raise ArtifactError(job.error)
    if len(cases) != 2:
        raise InputError(f"--compare takes two cases, but these options make {len(cases)}: {'; '.join(job.case.label for job in cases)}")
    if not isinstance(target, LocalTarget | SSHTarget):
        raise InputError(f"--compare works on this machine and over SSH, not on {options.on}")
    machine = target.machine()
    with Progress(max(MIN_PAIRS, options.processes)) as progress:
        progress.note(" against ".join(job.case.label for job in cases))

        def report(_number: int, _ratio: object) -> None:
            progress.step()

        comparison = compare(target, target, machine, cases[0], cases[1], report=report)
    if options.out:
        save_results(options.out / f"compare-{comparison.a.sha256[:8]}-{comparison.b.sha256[:8]}.json", [], [comparison])
    _show(options, [], [comparison])
    return 0


def _show(options: argparse.Namespace, results: "list[BenchmarkResult]", comparisons: "list[Comparison]") -> None:
    from edgepose_benchmarks.report.columns import SHORT_COLUMNS, make_views
    from edgepose_benchmarks.report.markdown import format_comparison, format_rows
    from edgepose_benchmarks.result_file import ResultFile

    if options.json:
        print(json.dumps(json.loads(ResultFile(results=tuple(results), comparisons=tuple(comparisons)).to_json()), indent=1))
        return
    if results:
        print(format_rows(make_views(results), SHORT_COLUMNS).rstrip())
    for comparison in comparisons:
        print(format_comparison(comparison))
    for result in results:
        for warning in result.warnings:
            print(printable(f"{result.case.label}: {warning}"), file=sys.stderr)


def _make_jobs(options: argparse.Namespace, folder: Path) -> "list[Job | Unreadable]":
    from edgepose.artifact import open_artifact
    from edgepose_benchmarks.case import expand_cases
    from edgepose_benchmarks.inputs import read_photos
    from edgepose_benchmarks.job import InputStore, Job, Settings, Unreadable

    settings = Settings(
        seconds=options.seconds,
        processes=options.processes,
        width=options.interval / 100,
        time_s=options.time,
        timeout_s=options.timeout,
        profile=options.profile,
        peak=options.peak,
    )
    inputs = InputStore(read_photos(options.photos, options.boxes), folder)
    _check_names("scenario", options.scenario, _SCENARIOS)
    _check_names("stage", options.stage, _STAGES)
    jobs: list[Job | Unreadable] = []
    for path in options.artifacts:
        try:
            artifact = open_artifact(path)
        except EdgePoseError as error:
            if len(options.artifacts) == 1:
                raise
            jobs.append(Unreadable(path=path, error=str(error)))
            continue
        cases = expand_cases(
            (artifact.path.name, artifact.sha256),
            devices=options.device,
            threads=options.threads,
            batches=options.batch,
            streams=options.streams,
            scenarios=options.scenario,
            stages=options.stage,
            options=dict(options.option),
            people=options.people,
            bound_s=options.bound * _MS,
        )
        jobs.extend(Job(case=case, artifact=artifact, inputs=inputs, settings=settings) for case in cases)
    if not jobs:
        raise InputError("nothing to measure: the end-to-end stage is measured in the single-stream scenario")
    return jobs


def _check_names(what: str, names: list[str], allowed: str) -> None:
    for name in names:
        if name not in allowed.split(","):
            raise InputError(f"there is no {what} {name!r}; there are: {allowed}")


def _numbers(word: str = "") -> Callable[[str], list[int | None]]:
    """A reader of ``1,2,4``; ``word`` stands for ``None``."""

    def read(text: str) -> list[int | None]:
        numbers: list[int | None] = []
        for item in comma_list(text):
            if word and item == word:
                numbers.append(None)
            elif item.isascii() and item.isdigit() and len(item) < 10 and 1 <= int(item) <= _MAX_NUMBER:
                numbers.append(int(item))
            else:
                also = f" or {word!r}" if word else ""
                raise argparse.ArgumentTypeError(f"{item!r} isn't a number from 1 to {_MAX_NUMBER}{also}")
        return numbers

    return read
