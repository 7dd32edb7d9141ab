"""What the tables of a report hold, whatever their form."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgepose_benchmarks.result import BenchmarkResult, Interval, Kind
from edgepose_benchmarks.summary import Summary, summarize

__all__ = ["COLUMNS", "KINDS", "SHORT_COLUMNS", "Column", "View", "find_accuracy", "make_views", "select_profiles", "used_columns"]

KINDS: dict[Kind, str] = {
    "measured": "Measured",
    "reported": "Measured by another tool",
    "estimated": "Estimated, without the hardware",
    "failed": "Failed",
}
"""Rows of different kinds are never in one table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One result with its figures.

    Attributes:
        result: it.
        summary: its figures.
        accuracy: of the artifact, as a file given to the report says; ``None`` where it doesn't.
    """

    result: BenchmarkResult
    summary: Summary
    accuracy: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        key: its name in CSV files, with the unit.
        title: its head.
        value: the number or word that it is sorted by and that CSV files hold, in the unit of ``key``; ``None`` leaves the cell empty.
        text: how it is shown.
        help: what it means.
    """

    key: str
    title: str
    value: Callable[[View], float | str | None]
    text: Callable[[View], str]
    help: str = ""

    @property
    def numeric(self) -> bool:
        """Whether the column is aligned to the right."""
        return "_" in self.key or self.key in ("threads", "batch", "streams", "samples", "accuracy", "doubts")


def make_views(results: Sequence[BenchmarkResult], accuracies: Mapping[str, float] | None = None) -> list[View]:
    """Compute the figures of all results, fastest first within a machine and scenario."""
    views = [View(result=result, summary=summarize(result), accuracy=find_accuracy(result, accuracies or {})) for result in results]
    return sorted(views, key=lambda view: (view.result.machine.name, view.result.case.stage, view.result.case.scenario, _speed(view)))


def find_accuracy(result: BenchmarkResult, accuracies: Mapping[str, float]) -> float | None:
    """Look an artifact up by its file name, by the beginning of its content hash, or by its model's name."""
    for name, accuracy in accuracies.items():
        if name == result.case.artifact or (len(name) >= 8 and result.case.sha256.startswith(name)):
            return accuracy
    return accuracies.get(result.model.name)


def select_profiles(views: Sequence[View]) -> dict[str, View]:
    """One result with a profile for each file, device, number of threads and machine: its scenarios run the same operators.

    Returns:
        What to call it → the result; a latency of single calls is preferred.
    """
    chosen: dict[str, View] = {}
    for view in sorted(views, key=lambda view: (view.result.case.stage != "inference", view.result.case.scenario != "single-stream")):
        case = view.result.case
        threads = "" if case.threads is None else f", {case.threads} threads"
        if view.result.profile is not None:
            chosen.setdefault(f"{case.artifact}, {_DEVICE.text(view)}{threads}, {view.result.machine.name}", view)
    return chosen


def used_columns(columns: Sequence[Column], views: Sequence[View], report: Sequence[View]) -> list[Column]:
    """Leave out those that are empty for every row of a table, and the machine where the whole report has but one."""
    several = len({view.result.machine.id for view in report}) > 1
    return [column for column in columns if (several or column is not _MACHINE) and any(column.value(view) is not None for view in views)]


def _speed(view: View) -> float:
    throughput = view.summary.crops_per_s
    return -throughput.value if throughput else 0.0


def _number(value: float | None, digits: int = 3) -> str:
    if value is None:
        return ""
    # Three digits that mean something, but whole numbers in full.
    decimals = next((number for number, least in enumerate((100, 10, 1)) if abs(value) >= least), digits)
    return f"{value:.{decimals}f}"


def _interval(interval: Interval | None, scale: float = 1.0) -> str:
    if interval is None:
        return ""
    text = _number(interval.value * scale)
    if interval.low is None or interval.high is None:
        return text
    return f"{text} [{_number(interval.low * scale)}, {_number(interval.high * scale)}]"


def _words(key: str, title: str, get: Callable[[View], str | None], help_text: str = "") -> Column:
    return Column(key=key, title=title, value=lambda view: get(view) or None, text=lambda view: get(view) or "", help=help_text)


def _count(key: str, title: str, get: Callable[[View], int | None], help_text: str = "") -> Column:
    return Column(key=key, title=title, value=get, text=lambda view: "" if get(view) is None else str(get(view)), help=help_text)


def _figure(key: str, title: str, get: Callable[[View], float | None], scale: float, help_text: str = "") -> Column:
    def scaled(view: View) -> float | None:
        value = get(view)
        return None if value is None else value * scale

    return Column(key=key, title=title, value=scaled, text=lambda view: _number(scaled(view)), help=help_text)


def _ranged(key: str, title: str, get: Callable[[View], Interval | None], scale: float, help_text: str = "") -> Column:
    def value(view: View) -> float | None:
        interval = get(view)
        return None if interval is None else interval.value * scale

    return Column(key=key, title=title, value=value, text=lambda view: _interval(get(view), scale), help=help_text)


def _percentile(percent: float) -> Callable[[View], Interval | None]:
    return lambda view: view.summary.percentiles_s.get(percent)


def _kept(percent: float) -> Callable[[View], float | None]:
    return lambda view: view.summary.kept_s.get(percent)


def _streams(view: View) -> int | None:
    if view.result.case.scenario == "single-stream":
        return None
    return view.result.case.streams or (view.result.session.streams if view.result.session else None)


def _batch(view: View) -> int | None:
    return view.result.case.batch if view.result.case.batch != 1 else None


def _runtime(view: View) -> str:
    if view.result.reported is not None:
        return view.result.reported.tool
    return f"{view.result.session.runtime} {view.result.session.version}" if view.result.session else view.result.case.device


def _mean(view: View) -> float | None:
    summary = view.summary
    return summary.mean_s.value if summary.mean_s and summary.median_s is None and view.result.case.scenario != "offline" else None


def _scenario(view: View) -> str:
    case = view.result.case
    if case.stage == "end-to-end":
        return f"end-to-end, {case.people} people"
    return f"{case.scenario} ≤ {case.bound_s * 1e3:g} ms" if case.bound_s is not None else case.scenario


_FILE = _words("artifact", "file", lambda view: view.result.case.artifact)
_PRECISION = _words("precision", "precision", lambda view: view.result.model.precision)
_RUNTIME = _words("runtime", "runtime", _runtime)
_DEVICE = _words("device", "device", lambda view: view.result.session.device if view.result.session else view.result.case.device)
_MACHINE = _words("machine", "machine", lambda view: view.result.machine.name)
_SCENARIO = _words("scenario", "scenario", _scenario)
_THREADS = _count("threads", "threads", lambda view: view.result.case.threads, "CPU threads asked for; empty: the runtime's choice")
_BATCH = _count(
    "batch", "batch", lambda view: view.result.case.batch if view.result.case.batch != 1 else None, "crops per call, where above 1"
)
_STREAMS = _count("streams", "streams", _streams, "calls under way at once")
_MEDIAN = _ranged("p50_ms", "p50 ms", _percentile(50.0), 1e3, "median latency, with its 95 % interval")
_MEAN = _figure("mean_ms", "mean ms", _mean, 1e3, "mean latency, where the median isn't known")
_P99 = _ranged("p99_ms", "p99 ms", _percentile(99.0), 1e3, "latency that 99 % keep; empty where there are too few samples")
_RATE = _ranged("crops_per_s", "crops/s", lambda view: view.summary.crops_per_s, 1.0, "people per second; server: at the highest rate kept")
_MEMORY = _figure("memory_mb", "memory MB", lambda view: view.summary.memory_bytes, 1e-6, "largest resident size of the process")
_PEAK = _figure("peak_percent", "of peak %", lambda view: view.summary.peak_share, 100, "of the machine's own fastest matrix product")
_ERROR = _words("error", "error", lambda view: view.result.error)
_WARNINGS = Column(
    key="warnings",
    title="warnings",
    value=lambda view: "; ".join(view.result.warnings) or None,
    text=lambda view: "; ".join(view.result.warnings),
    help="why the figures may not hold",
)

_DOUBTS = _count("doubts", "warnings", lambda view: len(view.result.warnings) or None, "reasons why the figures may not hold, listed below")

SHORT_COLUMNS = (_FILE, _RUNTIME, _DEVICE, _SCENARIO, _THREADS, _BATCH, _STREAMS, _MEDIAN, _MEAN, _P99, _RATE, _MEMORY, _PEAK, _ERROR)
"""What fits a terminal."""

COLUMNS = (
    *(_FILE, _PRECISION, _RUNTIME, _DEVICE, _MACHINE, _SCENARIO, _THREADS, _BATCH, _STREAMS, _MEDIAN, _MEAN, _P99, _RATE, _MEMORY, _PEAK),
    _ranged("p90_ms", "p90 ms", _percentile(90.0), 1e3, "latency that 90 % keep"),
    _ranged("p95_ms", "p95 ms", _percentile(95.0), 1e3, "latency that 95 % keep"),
    _figure("p90_kept_ms", "p90 ≤ ms", _kept(90.0), 1e3, "the p90 of all calls is at most this: MLPerf's early-stopping estimate"),
    _figure("p99_kept_ms", "p99 ≤ ms", _kept(99.0), 1e3, "the p99 of all calls is at most this: MLPerf's early-stopping estimate"),
    _figure("load_ms", "load ms", lambda view: view.summary.load_s, 1e3, "reading, checking and compiling the file"),
    _figure("first_ms", "first ms", lambda view: view.summary.first_s, 1e3, "the first call"),
    _figure("model_memory_mb", "model MB", lambda view: view.summary.model_memory_bytes, 1e-6, "memory beyond Python's and the runtime's"),
    _figure("cpu_cores", "CPU cores", lambda view: view.summary.cpu_cores, 1.0, "cores' worth of time that the process used"),
    _figure("energy_mj", "mJ/crop", lambda view: view.summary.joules_per_crop, 1e3, "energy of the whole machine"),
    _figure("gmacs_per_s", "GMAC/s", lambda view: view.summary.macs_per_s, 1e-9, "multiply-accumulates per second"),
    _figure("size_mb", "file MB", lambda view: view.result.model.size_bytes, 1e-6, "size of the file"),
    _figure("shift_px", "shift px", lambda view: view.result.model.shift_px, 1.0, "mean keypoint shift from the float model"),
    _figure("accuracy", "accuracy", lambda view: view.accuracy, 1.0, "as given to the report"),
    _count("samples", "samples", lambda view: view.summary.samples or None, "after the warm-ups"),
    *(_DOUBTS, _WARNINGS, _ERROR),
)
"""Everything; the texts of warnings are for CSV files, reports list them."""
