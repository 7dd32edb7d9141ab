"""``edgepose card``: the model card of a device file."""

import argparse
import sys
from pathlib import Path

from edgepose.errors import InputError

__all__ = ["add_parser", "run"]


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "card",
        help="write the model card of a device file",
        description="Write a model card in Markdown, with the Hugging Face hub's front matter: accuracy, speed, and how it was verified.",
    )
    parser.add_argument("artifact", metavar="ARTIFACT", type=Path, help="a file that `edgepose convert` wrote")
    parser.add_argument(
        "--evaluation", type=Path, nargs="+", default=[], metavar="FILE", help="results of `edgepose evaluate` of this file"
    )
    parser.add_argument("--benchmark", type=Path, nargs="+", default=[], metavar="FILE", help="results of `edgepose benchmark`, or folders")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write (default: printed)")
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from edgepose.artifact import open_artifact
    from edgepose.evaluation.card import format_card
    from edgepose.evaluation.result import load_evaluation
    from edgepose.files import write_text

    artifact = open_artifact(options.artifact)
    latencies = _latencies(options.benchmark, artifact.sha256, artifact.path.name) if options.benchmark else ""
    text = format_card(artifact, [load_evaluation(path) for path in options.evaluation], latencies)
    if options.out is None:
        sys.stdout.write(text)
        return 0
    write_text(options.out, text, what="the card")
    print(options.out)
    return 0


def _latencies(paths: list[Path], sha256: str, name: str) -> str:
    """Return the rows that were measured with exactly this file, as Markdown."""
    from edgepose_benchmarks.report.columns import COLUMNS, make_views
    from edgepose_benchmarks.report.markdown import format_rows
    from edgepose_benchmarks.result_file import load_results

    results = [result for result in load_results(paths).results if result.case.sha256 == sha256 and result.kind != "failed"]
    if not results:
        raise InputError(f"none of the benchmark results is of {name} (sha256 {sha256[:12]}…): measure this file, or leave --benchmark out")
    return format_rows(make_views(results), [column for column in COLUMNS if column.key != "warnings"])
