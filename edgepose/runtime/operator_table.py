"""Reading the tables of operators that TensorFlow Lite's profiler prints: ``benchmark_model`` as well as LiteRT's own library.

Each table has a title between ``=`` signs and a line of heads in brackets. Older versions separate columns by tabs, newer ones by two or
more spaces; which columns there are differs, so they are found by their heads.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["OperatorRow", "read_run_orders"]

_HEADS = re.compile(r"\[([^]]+)\]")
_COLUMNS = re.compile(r"\s*\t\s*|\s{2,}")
_MS = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRow:
    """One line of a table.

    Attributes:
        kind: type of the operator; within a delegate it may consist of several words.
        name: what the table calls it, or empty.
        seconds: mean time of a call.
    """

    kind: str
    name: str
    seconds: float


def read_run_orders(output: str) -> list[list[OperatorRow]]:
    """Return the tables with the title *Run Order*, which list every operator once, in the order in which they stand."""
    return list(_read_tables(output.splitlines()))


def _read_tables(lines: Sequence[str]) -> Iterator[list[OperatorRow]]:
    heads: list[str] | None = None
    inside = False
    rows: list[OperatorRow] = []
    for line in lines:
        if "====" in line:
            if rows:
                yield rows
            inside, heads, rows = "Run Order" in line, None, []
        elif inside and heads is None and "[node type]" in line:
            heads = _HEADS.findall(line)
        elif inside and heads is not None:
            row = _read_row(heads, line)
            if row is not None:
                rows.append(row)
            elif rows:
                yield rows
                inside, rows = False, []
    if rows:
        yield rows


def _read_row(heads: Sequence[str], line: str) -> OperatorRow | None:
    cells = [cell for cell in _COLUMNS.split(line.strip()) if cell]
    if len(cells) < len(heads) - 1:
        return None
    values = dict(zip(heads, cells, strict=False))
    try:
        milliseconds = float(values.get("avg ms", values.get("avg_ms", "")))
    except ValueError:
        return None
    return OperatorRow(kind=values["node type"], name=values.get("Name", ""), seconds=milliseconds * _MS)
