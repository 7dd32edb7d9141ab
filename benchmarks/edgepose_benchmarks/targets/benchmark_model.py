"""Reading what TensorFlow Lite's ``benchmark_model`` prints.

The tool prints for people; the forms below have been the same since 2020, with or without a logger's prefix (date, process, ``tflite :``).
Times are microseconds in the summary and milliseconds in the tables of operators, whose columns differ between versions and are therefore
found by their heads.
"""

import re
from collections.abc import Iterator, Sequence

from edgepose.errors import DeviceError
from edgepose_benchmarks.result import OperatorShare, Profiled, ReportedTimes

__all__ = ["parse_profile", "parse_times"]

_TOOL = "benchmark_model"
_US, _MS = 1e-6, 1e-3
_NUMBER = r"(-?[\d.]+(?:e[+-]?\d+)?)"
_SUMMARY = re.compile(
    rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, Warmup \(avg\): {_NUMBER}, Inference \(avg\): {_NUMBER}"
)
_COUNTS = re.compile(r"count=\d+\b[^\n]*")
_FIELD = re.compile(rf"(\w+)={_NUMBER}")
_MEMORY = re.compile(rf"Overall peak memory footprint \(MB\)[^:]*: {_NUMBER}|Memory footprint delta[^:]*: init={_NUMBER} overall={_NUMBER}")
_HEADS = re.compile(r"\[([^]]+)\]")
_PREFIX = re.compile(r"^\d\d-\d\d [\d:.]+ +\d+ +\d+ [A-Z] \w+ *: ")
_DELEGATED = re.compile(r"(partially|completely) executed by the delegate[^\n]*|Explicitly applied \w+ delegate[^\n]*")


def parse_times(output: str) -> ReportedTimes:
    """Read the summary.

    Raises:
        DeviceError: there is none: the tool failed; the message holds its last line.
    """
    summary = _SUMMARY.search(output)
    counts = _COUNTS.findall(output)
    if summary is None or not counts:
        lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it said nothing"]
        wrong = [line for line in lines if re.search(r"error|fail|can't|cannot|not executable|not found", line, re.IGNORECASE)]
        raise DeviceError(f"{_TOOL} gave no times: {(wrong or lines)[-1][-300:]}")
    init, first, _, mean = (float(value) * _US for value in summary.groups())
    fields = {name: float(value) for name, value in _FIELD.findall(counts[-1])}
    memory = _MEMORY.search(output)
    megabytes = next((float(value) for value in (memory.group(1), memory.group(3)) if value), None) if memory else None
    delegated = _DELEGATED.search(output)

    def field(*names: str) -> float | None:
        return next((fields[name] * _US for name in names if name in fields), None)

    return ReportedTimes(
        tool=_TOOL,
        count=int(fields.get("count", 0)),
        mean_s=mean,
        min_s=field("min"),
        max_s=field("max"),
        std_s=field("std"),
        median_s=field("median", "p50"),
        p95_s=field("p95"),
        init_s=init,
        first_s=first,
        memory_peak_bytes=None if megabytes is None else round(megabytes * 1e6),
        notes={"delegate": delegated.group(0).strip()} if delegated else {},
    )


def parse_profile(output: str) -> Profiled | None:
    """Read the operators' times; ``None`` if the tool printed none.

    It prints tables for the initialization and for the inference: the last one in run order counts. Operators inside a delegate have a
    table of the delegate's own after that, which replaces the delegate's line where there is one.
    """
    tables = list(_run_orders(output.splitlines()))
    operators = [table for table in tables if not any("AllocateTensors" in kind for kind, _, _ in table)]
    if not operators:
        return None
    own, inside = operators[0], [row for table in operators[1:] for row in table]
    rows = [(kind, milliseconds, count, _device(kind)) for kind, milliseconds, count in own]
    if inside:
        rows = [row for row in rows if row[3] == "CPU"] + [(kind, milliseconds, count, "delegate") for kind, milliseconds, count in inside]
    total = sum(row[1] for row in rows) or 1.0
    groups: dict[tuple[str, str], tuple[int, float]] = {}
    for kind, milliseconds, count, device in rows:
        known = groups.get((kind, device), (0, 0.0))
        groups[kind, device] = known[0] + max(1, count), known[1] + milliseconds
    shares = [
        OperatorShare(kind=kind, device=device, count=count, seconds=milliseconds * _MS, share=milliseconds / total)
        for (kind, device), (count, milliseconds) in groups.items()
    ]
    return Profiled(source=_TOOL, operators=tuple(sorted(shares, key=lambda share: -share.share)), accelerated=None)


def _device(kind: str) -> str:
    return "delegate" if "delegate" in kind.lower() else "CPU"


def _run_orders(lines: Sequence[str]) -> Iterator[list[tuple[str, float, int]]]:
    """The tables in run order: type, mean milliseconds and number of calls of each line."""
    heads: list[str] | None = None
    inside = False
    rows: list[tuple[str, float, int]] = []
    for line in (_PREFIX.sub("", each) for each in lines):
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


def _read_row(heads: Sequence[str], line: str) -> tuple[str, float, int] | None:
    # A type may consist of several words, as in "Fully Connected (NC, F32) GEMM": columns are separated by tabs.
    cells = [cell.strip() for cell in line.split("\t") if cell.strip()]
    if len(cells) < len(heads) - 1:
        return None
    values = dict(zip(heads, cells, strict=False))
    try:
        return values["node type"], float(values.get("avg ms", values.get("avg_ms", ""))), int(values.get("times called", "1"))
    except (KeyError, ValueError):
        return None
