"""What the harness and the process that measures say to each other: one JSON object per line, each a dataclass below.

The harness asks on standard input, the worker answers on standard output, one answer for each question, over a pipe or over SSH alike.
"""

import json
from dataclasses import dataclass, field

from edgepose.document import from_document, parse_json, to_document
from edgepose.errors import SpecError
from edgepose.precision import Arithmetic
from edgepose_benchmarks.case import BenchmarkCase
from edgepose_benchmarks.result import Conditions, Machine, Peak, Profiled, SessionFacts

__all__ = [
    "Answer",
    "Describe",
    "Described",
    "Failed",
    "FindPeak",
    "FoundPeak",
    "Measure",
    "Measured",
    "Message",
    "Open",
    "Opened",
    "ProfileOperators",
    "ProfiledOperators",
    "Serve",
    "ServedQueries",
    "decode",
    "encode",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Describe:
    """Describe the machine; ``name`` is what to call it, or ``None`` for its host name."""

    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """The machine."""

    machine: Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Load a model; ``artifact`` and ``inputs`` are paths on the worker's machine."""

    case: BenchmarkCase
    artifact: str
    inputs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """It is loaded and has run once; see ``Run``."""

    session: SessionFacts
    load_s: float
    import_s: float
    first_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Run the case's scenario (any but the server); see ``loadgen.Limit``."""

    seconds: float
    least: int
    most: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Samples in nanoseconds; ``stages_ns`` splits each of them, end to end."""

    samples_ns: tuple[int, ...]
    stages_ns: dict[str, tuple[int, ...]] = field(default_factory=dict)
    conditions: Conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """Run the server scenario at one rate."""

    rate_hz: float
    queries: int
    allowed: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedQueries:
    """See ``loadgen.Served``."""

    latencies_ns: tuple[int, ...]
    late: int
    hopeless: bool
    conditions: Conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileOperators:
    """Run the model under its runtime's profiler; needs no ``Open``."""

    case: BenchmarkCase
    artifact: str
    inputs: str
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfiledOperators:
    """The profile."""

    profile: Profiled


@dataclass(frozen=True, slots=True, kw_only=True)
class FindPeak:
    """Measure the machine's fastest matrix product; see ``peak.measure_peak``."""

    precision: Arithmetic
    device: str
    threads: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPeak:
    """It, or ``None`` where nothing can measure it."""

    peak: Peak | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """What was asked for didn't work, for a reason that a user can do something about."""

    error: str


Message = Describe | Open | Measure | Serve | ProfileOperators | FindPeak
Answer = Described | Opened | Measured | ServedQueries | ProfiledOperators | FoundPeak | Failed

_KINDS: dict[str, type[Message] | type[Answer]] = {
    kind.__name__: kind
    for kind in (
        *(Describe, Open, Measure, Serve, ProfileOperators, FindPeak),
        *(Described, Opened, Measured, ServedQueries, ProfiledOperators, FoundPeak, Failed),
    )
}


def encode(message: Message | Answer) -> str:
    """Return one line, without its end."""
    return json.dumps({"kind": type(message).__name__, "content": to_document(message)}, separators=(",", ":"))


def decode(line: str) -> Message | Answer:
    """Read what ``encode`` wrote.

    Raises:
        SpecError: it is something else.
    """
    document = parse_json(line, where="the message")
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str) or document["kind"] not in _KINDS:
        raise SpecError(f"expected a message of the benchmark's protocol, got {line[:80]!r}")
    return from_document(_KINDS[document["kind"]], document.get("content"), where=document["kind"])
