"""The seam between the conversion and the targets."""

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from edgepose.models.vitpose import ViTPose
from edgepose.precision import Precision
from edgepose.quantization.lowering import QuantizedModel
from edgepose.spec import ModelSpec

__all__ = ["INPUT_NAME", "NOT_EXECUTED", "OUTPUT_NAME", "Source", "Target", "Written", "installed_versions"]

INPUT_NAME = "input"
OUTPUT_NAME = "heatmaps"
NOT_EXECUTED = "not executed on"
"""The detail that names a verifier which can't run the file, and why."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """What a target writes.

    Attributes:
        module: maps (N, 3, H, W) to (N, K, H/4, W/4); BatchNorm folded, float32, in eval mode. For a quantized precision, the weights are
            rounded to what their integers stand for.
        spec: the model's spec; its export record isn't set.
        quantized: the decision behind a quantized precision, applied; else ``None``.
        float32: operators that an fp16 file keeps in float32, named as in ``edgepose_converters.walk``.
    """

    module: ViTPose
    spec: ModelSpec
    quantized: QuantizedModel | None = None
    float32: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a target wrote.

    Attributes:
        tools: package name → version.
        details: facts about the file, for its ``ExportRecord``.
    """

    tools: dict[str, str]
    details: dict[str, str] = field(default_factory=dict)


class Target(Protocol):
    """One device format: a module-level object named ``TARGET`` in ``edgepose_converters/NAME.py``."""

    name: str
    suffix: str
    precisions: tuple[Precision, ...]
    dynamic_batch: bool
    max_parameters: int | None
    """How many parameters the largest model has that the target can hold, or ``None``."""

    verifiers: tuple[str, ...]
    """Device strings to execute the file with; those that this system can't run are skipped, but one must run."""

    def write(self, source: Source, path: Path, *, precision: Precision, batch: int | None) -> Written:
        """Write a model to ``path``.

        Args:
            source: the model.
            path: the file or package to write; its folder holds nothing else that matters.
            precision: one of ``precisions``.
            batch: the static batch size, or ``None`` for any (only where ``dynamic_batch``).

        Raises:
            Exception: whatever the tool raises; the caller reports it.
        """
        ...


def installed_versions(*packages: str) -> dict[str, str]:
    """Return the installed version of each package."""
    return {package: version(package) for package in packages}
