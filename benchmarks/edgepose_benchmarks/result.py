"""``BenchmarkResult``: what one case gave on one machine, with every raw sample.

Nothing in a result is rounded or dropped: statistics are computed from its samples (``edgepose_benchmarks.statistics``), and every table
and plot is a view of results. Times are seconds; ``docs/benchmarking.md`` documents the schema.
"""

from dataclasses import dataclass, field
from typing import Literal

from edgepose_benchmarks.case import BenchmarkCase

__all__ = [
    "BenchmarkResult",
    "Comparison",
    "Conditions",
    "Interval",
    "Kind",
    "Machine",
    "ModelFacts",
    "OperatorShare",
    "PairRatio",
    "Peak",
    "Profiled",
    "ReportedTimes",
    "Run",
    "ServerTrial",
    "SessionFacts",
]

Kind = Literal["measured", "reported", "estimated", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where it was measured.

    Attributes:
        name: host name, or what ``--machine`` said; with ``id`` the only field that results are told apart by.
        id: 12 hex digits over name, CPU, cores, memory and architecture.
        cpu: the CPU's own model name.
        architecture: ``x86_64``, ``aarch64`` …
        cores: CPUs that the process may use.
        memory_bytes: of the machine, or ``None``.
        system: operating system and kernel.
        flags: instruction set extensions that decide the speed of inference: AVX2, VNNI, BF16, dot products …
        governor: CPU frequency governor, or ``None`` where there is none to see.
        virtual: runs under a hypervisor, as far as it says so.
        python: Python's version.
        packages: name → version of the packages that take part.
    """

    name: str
    id: str
    cpu: str
    architecture: str
    cores: int
    memory_bytes: int | None
    system: str
    flags: tuple[str, ...] = ()
    governor: str | None = None
    virtual: bool = False
    python: str = ""
    packages: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What the artifact says of itself.

    Attributes:
        name: the model's name.
        target: format of the file.
        precision: of the file: fp32, fp16, an int8 recipe …
        size_bytes: of all its files.
        macs: multiply-accumulates of one crop, or ``None`` where edgepose can't count them.
        shift_px: mean keypoint distance from the float model, measured at conversion, in input pixels; ``None`` where unknown.
    """

    name: str
    target: str
    precision: str
    size_bytes: int
    macs: int | None
    shift_px: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """What really ran; see ``edgepose.runtime.SessionInfo``."""

    runtime: str
    version: str
    device: str
    streams: int
    batch: int | None
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The machine while a process measured; ``None`` where the system doesn't show it.

    Attributes:
        seconds: length of the measurement.
        cpu_cores: CPU cores' worth of time that the process itself used.
        other_cores: CPU cores' worth of time that everything else used.
        frequency_hz: mean CPU frequency at the start and at the end.
        temperature_c: hottest sensor at the start and at the end.
        throttled: throttling events that the kernel counted meanwhile.
        energy_j: energy meanwhile.
        energy_source: where that was read: ``rapl``, ``ina3221`` or ``battery``.
        memory_peak_bytes: largest resident size of the process so far.
        memory_before_bytes: resident size before the model was loaded.
    """

    seconds: float
    cpu_cores: float | None = None
    other_cores: float | None = None
    frequency_hz: tuple[float, float] | None = None
    temperature_c: tuple[float, float] | None = None
    throttled: int | None = None
    energy_j: float | None = None
    energy_source: str = ""
    memory_peak_bytes: int | None = None
    memory_before_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process.

    Attributes:
        load_s: reading the file, checking and compiling it for the device.
        import_s: importing the runtime's package.
        first_s: the first call.
        samples_s: every call after the first, in order. Single-stream, multi-stream and server: its latency; offline: the time from one
            completion to the next.
        warmup: number of leading samples that belong to the warm-up.
        stages_s: end-to-end: stage name → the part of each sample that it took.
        conditions: the machine meanwhile.
    """

    load_s: float
    import_s: float
    first_s: float
    samples_s: tuple[float, ...]
    warmup: int
    stages_s: dict[str, tuple[float, ...]] = field(default_factory=dict)
    conditions: Conditions

    @property
    def steady_s(self) -> tuple[float, ...]:
        """The samples after the warm-up."""
        return self.samples_s[self.warmup :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate and the interval that holds it with the stated confidence; the ends are ``None`` where there are too few samples."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTrial:
    """One step of the search for the highest rate.

    Attributes:
        rate_hz: calls per second that arrived.
        queries: calls that were answered or given up.
        late: calls answered after the bound.
        p99_s: latency that 99 % kept, or ``None`` if the trial was given up as hopeless, or has fewer than 100 calls.
        kept: so few were late that at most 1 % of all calls would be, at 99 % confidence (MLPerf's early stopping). What confirms a rate
            is several trials, in a process each, that are judged together.
    """

    rate_hz: float
    queries: int
    late: int
    p99_s: float | None
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorShare:
    """Operators of one type.

    Attributes:
        kind: operator type, in the runtime's words.
        device: where they run.
        count: how many.
        seconds: their time per call, or ``None`` where the runtime only estimates shares.
        share: of all operators' time.
    """

    kind: str
    device: str
    count: int
    seconds: float | None
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """Per-operator times, summed by type, slowest first.

    Attributes:
        source: the profiler.
        operators: one entry per type and device.
        accelerated: share of operators that run on another device than the CPU, or ``None`` where the profiler doesn't tell.
    """

    source: str
    operators: tuple[OperatorShare, ...]
    accelerated: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """What the machine can do at best.

    Attributes:
        macs_per_s: multiply-accumulates per second of a large matrix product, best of several.
        precision: of its operands: ``f32`` or ``int8``.
        source: what ran it.
    """

    macs_per_s: float
    precision: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedTimes:
    """Figures that another tool gave, without samples.

    Attributes:
        tool: its name.
        count: calls that it averaged over; 0 for an estimate.
        mean_s: mean latency.
        min_s: fastest call, or ``None``; so on for the others.
        max_s: slowest call.
        std_s: standard deviation.
        median_s: median.
        p95_s: 95th percentile.
        init_s: loading and preparing.
        first_s: first call.
        memory_peak_bytes: memory, as the tool defines it.
        notes: anything else it says, by name.
    """

    tool: str
    count: int
    mean_s: float
    min_s: float | None = None
    max_s: float | None = None
    std_s: float | None = None
    median_s: float | None = None
    p95_s: float | None = None
    init_s: float | None = None
    first_s: float | None = None
    memory_peak_bytes: int | None = None
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """One case on one machine.

    Attributes:
        case: what was measured.
        kind: ``measured`` here, with samples; ``reported`` by another tool; ``estimated`` without the hardware; or ``failed``.
        machine: where.
        model: what the artifact says of itself.
        started: UTC, ISO 8601.
        edgepose: version that measured.
        session: what ran; ``None`` if it never opened, or another tool ran it.
        runs: one per process.
        trials: server: the search.
        profile: per-operator times, if asked for.
        peak: the machine's best, if asked for.
        reported: figures of another tool.
        warnings: why the figures may not hold.
        error: why it failed.
    """

    case: BenchmarkCase
    kind: Kind
    machine: Machine
    model: ModelFacts
    started: str
    edgepose: str
    session: SessionFacts | None = None
    runs: tuple[Run, ...] = ()
    trials: tuple[ServerTrial, ...] = ()
    profile: Profiled | None = None
    peak: Peak | None = None
    reported: ReportedTimes | None = None
    warnings: tuple[str, ...] = ()
    error: str = ""

    @property
    def key(self) -> str:
        """Name of the case on this machine."""
        return self.case.key(self.machine.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRatio:
    """One pair of processes that took turns.

    Attributes:
        a_s: the median latency of each of A's blocks.
        b_s: the median latency of each of B's blocks, in the same order.
        b_first: for each block, whether B went first.
    """

    a_s: tuple[float, ...]
    b_s: tuple[float, ...]
    b_first: tuple[bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two cases that took turns on one machine.

    Attributes:
        a: the first case.
        b: the second case.
        machine: where.
        model_a: the first artifact.
        model_b: the second artifact.
        started: UTC, ISO 8601.
        edgepose: version that measured.
        pairs: one per pair of processes.
        ratio: B's latency over A's, with its interval.
        confidence: of the interval.
        verdict: ``no difference``: the interval holds 1; else ``B is slower`` or ``B is faster``.
    """

    a: BenchmarkCase
    b: BenchmarkCase
    machine: Machine
    model_a: ModelFacts
    model_b: ModelFacts
    started: str
    edgepose: str
    pairs: tuple[PairRatio, ...]
    ratio: Interval
    confidence: float
    verdict: str
