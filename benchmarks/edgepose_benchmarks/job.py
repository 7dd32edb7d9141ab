"""What a target is given to measure, and how thoroughly."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from edgepose import __version__
from edgepose.artifact import Artifact
from edgepose.errors import EdgePoseError, InputError
from edgepose.spec import ModelSpec
from edgepose_benchmarks.case import BenchmarkCase
from edgepose_benchmarks.complexity import count_macs
from edgepose_benchmarks.inputs import Photo, make_inputs
from edgepose_benchmarks.result import BenchmarkResult, Machine, ModelFacts

__all__ = ["InputStore", "Job", "Settings", "Target", "Unreadable", "describe_model", "fill_result"]

MAX_PROCESSES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How thoroughly to measure.

    Attributes:
        seconds: of measuring in each process.
        processes: at least so many of them.
        width: measure until half of the 95 % interval is at most this part of the value …
        time_s: … or until so much time has passed for a case, starts of processes included.
        timeout_s: how long one answer of a process may take beyond the time that it measures.
        profile: also take per-operator times.
        peak: also measure the machine's peak.
    """

    seconds: float = 3.0
    processes: int = 3
    width: float = 0.01
    time_s: float = 60.0
    timeout_s: float = 300.0
    profile: bool = False
    peak: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (("seconds", 0.01, 3600), ("width", 0.0001, 1), ("time_s", 0.1, 86400), ("timeout_s", 1, 86400)):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} is {getattr(self, name)}; allowed: {low} to {high}")
        if not 1 <= self.processes <= MAX_PROCESSES:
            raise InputError(f"processes is {self.processes}; allowed: 1 to {MAX_PROCESSES}")


class InputStore:
    """Makes the inputs of each kind of model once.

    Args:
        photos: what to make them of.
        folder: where to keep them.
    """

    def __init__(self, photos: Sequence[Photo], folder: Path) -> None:
        self._photos = photos
        self._folder = folder

    def path(self, spec: ModelSpec, people: int | None) -> Path:
        """Return the ``.npz`` file for models with this spec's input and codec."""
        name = hashlib.sha256(repr((spec.input, spec.codec, people)).encode()).hexdigest()[:16]
        path = self._folder / f"{name}.npz"
        if not path.exists():
            make_inputs(self._photos, spec.input, spec.codec, people=people).save(path)
        return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One case with what it needs."""

    case: BenchmarkCase
    artifact: Artifact
    inputs: InputStore
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A file in a sweep that can't be opened: missing, damaged or of no known format.

    Attributes:
        path: the file.
        error: why.
    """

    path: Path
    error: str

    def result(self, machine: Machine) -> BenchmarkResult:
        """Return its row. It isn't stored: nothing is known of the file that it could be found again by."""
        name = self.path.name or str(self.path)
        return BenchmarkResult(
            case=BenchmarkCase(artifact=name, sha256=""),
            kind="failed",
            machine=machine,
            model=ModelFacts(name=name, target="", precision="", size_bytes=0, macs=None, shift_px=None),
            started=_now(),
            edgepose=__version__,
            error=self.error,
        )


class Target(Protocol):
    """A place to measure on. Its methods raise nothing for what goes wrong with a single case: the result says so."""

    def machine(self) -> Machine:
        """Describe it.

        Raises:
            DeviceError: it can't be reached, or lacks what it needs.
        """
        ...

    def measure(self, job: Job) -> BenchmarkResult:
        """Measure one case."""
        ...

    def close(self) -> None:
        """Remove what was brought there."""
        ...


def describe_model(artifact: Artifact) -> ModelFacts:
    """Say what an artifact says of itself."""
    export = artifact.spec.export
    parity = export.parity[0] if export and export.parity else None
    return ModelFacts(
        name=artifact.spec.name,
        target=artifact.format,
        precision=export.precision if export else "fp32",
        size_bytes=artifact.size_bytes,
        macs=count_macs(artifact.spec),
        shift_px=parity.shift_px if parity else None,
    )


def fill_result(job: Job, machine: Machine, measure: Callable[[BenchmarkResult], BenchmarkResult]) -> BenchmarkResult:
    """Start the result of a case, and let ``measure`` fill it; what goes wrong stands in it."""
    result = BenchmarkResult(
        case=job.case, kind="failed", machine=machine, model=describe_model(job.artifact), started=_now(), edgepose=__version__
    )
    try:
        return measure(result)
    except EdgePoseError as error:
        return replace(result, error=str(error))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
