"""CSV: one line per result, plain numbers in the unit that the head names."""

import csv
import io
from collections.abc import Sequence

from edgepose_benchmarks.report.columns import COLUMNS, View

__all__ = ["format_csv"]


def format_csv(views: Sequence[View]) -> str:
    """Return the text, with every column whether it is used or not, so that files of different days have the same ones."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kind", "started", "sha256", *(column.key for column in COLUMNS)])
    for view in views:
        result = view.result
        cells = (column.value(view) for column in COLUMNS)
        writer.writerow([result.kind, result.started, result.case.sha256, *("" if cell is None else cell for cell in cells)])
    return text.getvalue()
