"""``edgepose evaluate``: the published figures of a model file, whatever it runs on."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepose.cli.evaluation_options import add_data_options, add_run_options, read_request, read_run_options
from edgepose.cli.options import add_device_options, add_json_option
from edgepose.cli.progress import Progress
from edgepose.cli.table import format_table
from edgepose.errors import EdgePoseError
from edgepose.files import check_folder
from edgepose.findings import Finding, Findings
from edgepose.printable import printable

if TYPE_CHECKING:
    from edgepose.artifact import Artifact
    from edgepose.evaluation.evaluation import DataSet, Judged
    from edgepose.evaluation.result import Comparison, Evaluation

__all__ = ["add_parser", "run"]

_DRAWN_PEOPLE = 12


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "evaluate",
        help="compute the accuracy of a device file as papers report it",
        description="Compute keypoint AP, PCK or PCKh of a device file on annotated pictures, as the published evaluations do.",
    )
    parser.add_argument("artifact", metavar="ARTIFACT", type=Path, help="a file that `edgepose convert` wrote")
    add_data_options(parser, required=True)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--baseline", type=Path, metavar="ARTIFACT", help="compare with this file on the same people: JSON and an HTML page")
    mode.add_argument("--shard", type=_shard, metavar="I/N", help="run on every N-th picture alone and write its keypoints to a file")
    mode.add_argument("--merge", type=Path, nargs="+", metavar="SHARD", help="put shards together instead of running the model")
    parser.add_argument("--out", type=Path, default=Path("evaluation"), metavar="DIR", help="folder to write to (default: evaluation)")
    parser.add_argument("--save-results", action="store_true", help="also write the keypoints in COCO's results format")
    add_run_options(parser)
    add_device_options(parser)
    add_json_option(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from edgepose.artifact import open_artifact
    from edgepose.evaluation.evaluation import merge, open_data
    from edgepose.evaluation.protocols.coco import find_sigmas
    from edgepose.evaluation.result import save_evaluation
    from edgepose.evaluation.results_file import save_results

    artifact = open_artifact(options.artifact)
    check_folder(options.out)
    if options.baseline:
        open_artifact(options.baseline)
    findings = Findings()
    try:
        data = open_data(read_request(options), artifact.spec, findings)
    except EdgePoseError:
        _say(finding for finding in findings if finding.severity == "warning")  # they may explain it
        raise
    _say(findings)
    if options.save_results:
        find_sigmas(artifact.spec.skeleton)  # an error now rather than after the run
    if options.shard:
        return _run_shard(artifact, data, options)
    stem = options.out / artifact.path.name
    judged = merge(options.merge, data, artifact) if options.merge else _evaluate(artifact, data, options)
    evaluation, written = judged.evaluation, [stem.with_name(f"{stem.name}.evaluation.json")]
    if options.baseline:
        page = stem.with_name(f"{stem.name}.comparison.html")
        evaluation = evaluation.with_comparison(_compare(judged, data, options, page))
        written.append(page)
    save_evaluation(evaluation, written[0])
    if options.save_results:
        written.append(stem.with_name(f"{stem.name}.results.json"))
        save_results(data, judged, written[-1])
    if options.json:
        sys.stdout.write(evaluation.to_json())
    else:
        _print(evaluation, written)
    # Pictures that nobody agreed to leave out are a failure, though the rest has been measured.
    return int(bool(evaluation.unusable))


def _say(findings: Iterable[Finding]) -> None:
    for finding in findings:
        print(f"edgepose evaluate: {finding.severity}: {finding}", file=sys.stderr)


def _shard(text: str) -> tuple[int, int]:
    number, _, of = text.partition("/")
    if not (number.isascii() and number.isdigit() and of.isascii() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text!r} isn't I/N with I from 1 to N, such as 1/4")
    return int(number), int(of)


def _run_shard(artifact: "Artifact", data: "DataSet", options: argparse.Namespace) -> int:
    from edgepose.evaluation.evaluation import evaluate_shard
    from edgepose.evaluation.shards import save_shard

    number, of = options.shard
    with Progress(len(data.people)) as progress:
        shard = evaluate_shard(
            artifact, data, read_run_options(options), number, of, lambda done, total: progress.move(done, total, artifact.path.name)
        )
    path = options.out / f"{artifact.path.name}.shard-{number}-of-{of}.npz"
    save_shard(shard, path)
    print(path)
    for why in shard.record.unusable.values():
        print(printable(f"edgepose evaluate: left out: {why}"), file=sys.stderr)
    return int(bool(shard.record.unusable))


def _evaluate(artifact: "Artifact", data: "DataSet", options: argparse.Namespace) -> "Judged":
    from edgepose.evaluation.evaluation import evaluate

    with Progress(len(data.people)) as progress:
        return evaluate(artifact, data, read_run_options(options), lambda done, total: progress.move(done, total, artifact.path.name))


def _compare(judged: "Judged", data: "DataSet", options: argparse.Namespace, path: Path) -> "Comparison":
    """Run the baseline, and write the page."""
    from edgepose.artifact import open_artifact
    from edgepose.evaluation.comparison import compare, most_changed
    from edgepose.evaluation.page import format_page
    from edgepose.files import write_text

    baseline = _evaluate(open_artifact(options.baseline), data, options)
    comparison = compare(data, judged, baseline)
    page = format_page(data, judged, baseline, comparison, most_changed(data, judged, baseline, _DRAWN_PEOPLE))
    write_text(path, page, what="the page")
    return comparison


def _print(evaluation: "Evaluation", written: Sequence[Path]) -> None:
    comparison, work = evaluation.comparison, evaluation.work
    header = ["metric", evaluation.conditions.artifact]
    if comparison is not None:
        header.append(comparison.baseline.artifact)
    rows = []
    for name, value in evaluation.metrics.items():
        interval = evaluation.interval
        spread = f" ({100 * interval.low:.1f} to {100 * interval.high:.1f})" if interval and name == evaluation.primary else ""
        rows.append([name, _percent(value) + spread])
        if comparison is not None:
            rows[-1].append(_percent(comparison.baseline_metrics.get(name)))
    print(format_table(header, rows, right=(1, 2)))
    if comparison is not None:
        _print_comparison(comparison)
    print(
        f"{evaluation.people} people in {evaluation.pictures} pictures, protocol {evaluation.conditions.protocol}; "
        f"{evaluation.people / work.seconds:.1f} people/s, {evaluation.pictures / work.seconds:.1f} pictures/s, "
        f"the device was busy {work.device_seconds / work.seconds:.0%} of {work.seconds:.1f} s: {work.runtime}"
    )
    for reason, count in evaluation.left_out.items():
        print(printable(f"left out: {count} {reason}"))
    for finding in (*evaluation.warnings, *evaluation.notes):
        print(printable(f"{finding.severity}: {finding}"))
    if not evaluation.complete:
        print("these are the figures of a part of the data set, not of the whole")
    for line in evaluation.unusable:
        print(printable(f"edgepose evaluate: {line}"), file=sys.stderr)
    print("written: " + ", ".join(map(str, written)))


def _print_comparison(comparison: "Comparison") -> None:
    interval = comparison.drop_interval
    spread = f" ({interval.low:+.2f} to {interval.high:+.2f}, 95 %)" if interval else ""
    drop = "unknown" if comparison.drop is None else f"{comparison.drop:+.2f} points{spread}"
    oks = "" if comparison.oks_drop is None else f", OKS {-comparison.oks_drop:+.4f} a person"
    print(f"{comparison.primary} lost against the baseline: {drop}; keypoints moved {comparison.shift_px:.2f} px on average{oks}")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
