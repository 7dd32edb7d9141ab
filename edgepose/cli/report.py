"""``edgepose report``: results of `edgepose benchmark`, from any number of machines, as Markdown, CSV, JSON or one HTML page."""

import argparse
import math
import sys
from pathlib import Path

from edgepose.errors import InputError, SpecError

__all__ = ["add_parser", "run"]

_SUFFIXES = {".md": "markdown", ".csv": "csv", ".json": "json", ".html": "html"}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "report",
        help="show benchmark results as Markdown, CSV, JSON or an HTML page",
        description="Merge results of `edgepose benchmark`, of any number of machines, into one report.",
    )
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="results files, or folders of them")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write: .md, .csv, .json or .html (default: Markdown, printed)")
    parser.add_argument(
        "--accuracy",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help='results of `edgepose evaluate`, or JSON {"vitpose-s-int8.xml": 73.9, …} whose names are files or models',
    )
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from edgepose.files import write_text
    from edgepose_benchmarks.report.columns import make_views
    from edgepose_benchmarks.report.comma_separated import format_csv
    from edgepose_benchmarks.report.markdown import format_report
    from edgepose_benchmarks.report.page import format_page
    from edgepose_benchmarks.result_file import load_results

    form = "markdown" if options.out is None else _SUFFIXES.get(options.out.suffix.lower())
    if form is None:
        raise InputError(f"can't tell the form of {str(options.out)!r}; allowed: {', '.join(_SUFFIXES)}")
    content = load_results(options.results)
    accuracies = {name: value for path in options.accuracy for name, value in _read_accuracies(path).items()}
    views = make_views(content.results, accuracies)
    if form == "json":
        text = content.to_json() + "\n"
    elif form == "csv":
        text = format_csv(views)
    elif form == "html":
        text = format_page(views, content.comparisons)
    else:
        text = format_report(views, content.comparisons)
    if options.out is None:
        sys.stdout.write(text)
        return 0
    write_text(options.out, text, what="the report")
    print(f"{options.out}: {len(content.results)} results, {len(content.comparisons)} comparisons")
    return 0


def _read_accuracies(path: Path) -> dict[str, float]:
    """Return accuracies by file name, content hash or model name."""
    from edgepose.document import read_json
    from edgepose.evaluation.result import Evaluation

    document = read_json(path, what="the accuracies")
    if not isinstance(document, dict):
        raise SpecError(f'{path} holds no JSON object; expected {{"vitpose-s-int8.xml": 73.9, …}}')
    if Evaluation.is_document(document):
        evaluation = Evaluation.from_document(document, where=str(path))
        value = evaluation.metrics[evaluation.primary]
        return {} if value is None else {evaluation.conditions.artifact_sha256: 100 * value}
    for name, value in document.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise SpecError(f"{path}: the accuracy of {name!r} is {value!r}; expected a number")
    return {name: float(value) for name, value in document.items()}
