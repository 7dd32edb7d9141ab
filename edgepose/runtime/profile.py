"""Per-operator times, from the profiler of a runtime that has one."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import Artifact
from edgepose.runtime.request import DeviceRequest

__all__ = ["OperatorTime", "Profile", "ProfilingRuntime"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTime:
    """One operator that ran.

    Attributes:
        name: its name in the model, or what the runtime made of it.
        kind: its type, such as ``MatMul``.
        device: where it ran, in the runtime's words.
        seconds: mean time per call, or ``None`` where the runtime only estimates shares.
        share: of the time of all operators, 0 to 1.
    """

    name: str
    kind: str
    device: str
    seconds: float | None
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a profiler says of a model.

    Attributes:
        source: the profiler.
        operators: in the order in which they ran.
    """

    source: str
    operators: tuple[OperatorTime, ...]

    @classmethod
    def from_times(cls, source: str, times: dict[str, tuple[str, str, float]]) -> "Profile":
        """Make one of measured times: name → type, device, mean seconds per call."""
        total = sum(seconds for _, _, seconds in times.values()) or 1.0
        return cls(
            source=source,
            operators=tuple(
                OperatorTime(name=name, kind=kind, device=device, seconds=seconds, share=seconds / total)
                for name, (kind, device, seconds) in times.items()
            ),
        )


@runtime_checkable
class ProfilingRuntime(Protocol):
    """A runtime with a profiler."""

    def profile(self, artifact: Artifact, request: DeviceRequest, batch: NDArray[np.float32], calls: int) -> Profile:
        """Load the model with the profiler on, run it once to warm up and then ``calls`` times, and return the mean times.

        Raises:
            ArtifactError: see ``Runtime.open``.
            DeviceError: see ``Runtime.open``.
            InputError: see ``Runtime.open``.
        """
        ...
