"""Reading what TensorFlow Lite's ``benchmark_model`` prints.

The tool prints for people; the forms below have been the same since 2020, with or without a logger's prefix (date, process, ``tflite :``).
Times are microseconds in the summary; ``edgepose.runtime.operator_table`` reads the tables of operators.
"""

import re

from edgepose.errors import DeviceError
from edgepose.runtime.operator_table import read_run_orders
from edgepose_benchmarks.result import OperatorShare, Profiled, ReportedTimes

__all__ = ["parse_profile", "parse_times"]

_TOOL = "benchmark_model"
_US = 1e-6
_NUMBER = r"(-?[\d.]+(?:e[+-]?\d+)?)"
_SUMMARY = re.compile(
    rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, Warmup \(avg\): {_NUMBER}, Inference \(avg\): {_NUMBER}"
)
_COUNTS = re.compile(r"count=\d+\b[^\n]*")
_FIELD = re.compile(rf"(\w+)={_NUMBER}")
_MEMORY = re.compile(rf"Overall peak memory footprint \(MB\)[^:]*: {_NUMBER}|Memory footprint delta[^:]*: init={_NUMBER} overall={_NUMBER}")
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
    tables = read_run_orders("\n".join(_PREFIX.sub("", line) for line in output.splitlines()))
    operators = [table for table in tables if not any("AllocateTensors" in row.kind for row in table)]
    if not operators:
        return None
    own, inside = operators[0], [row for table in operators[1:] for row in table]
    rows = [(row.kind, _device(row.kind), row.seconds) for row in own]
    if inside:
        rows = [row for row in rows if row[1] == "CPU"] + [(row.kind, "delegate", row.seconds) for row in inside]
    total = sum(seconds for _, _, seconds in rows) or 1.0
    groups: dict[tuple[str, str], list[float]] = {}
    for kind, device, seconds in rows:
        groups.setdefault((kind, device), []).append(seconds)
    shares = [
        OperatorShare(kind=kind, device=device, count=len(times), seconds=sum(times), share=sum(times) / total)
        for (kind, device), times in groups.items()
    ]
    return Profiled(source=_TOOL, operators=tuple(sorted(shares, key=lambda share: -share.share)), accelerated=None)


def _device(kind: str) -> str:
    return "delegate" if "delegate" in kind.lower() else "CPU"
