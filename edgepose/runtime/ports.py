"""What a loaded model says of its own input and output, compared with the spec in the file."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgepose.artifact import Artifact
from edgepose.errors import ArtifactError

__all__ = ["Port", "check_ports"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One input or output of a model, as the runtime that loaded it describes it.

    Attributes:
        name: its name, possibly empty.
        dtype: NumPy's name of its element type.
        shape: its dimensions, with ``None`` for one that is open; ``None`` where not even their number is known.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype} of unknown shape"
        return f"{self.dtype} ({', '.join('?' if side is None else str(side) for side in self.shape)})"


def check_ports(artifact: Artifact, inputs: Sequence[Port], outputs: Sequence[Port]) -> int | None:
    """Make sure that a model takes and gives what its spec says.

    Returns:
        The batch size that the model is compiled for, or ``None`` where any runs.

    Raises:
        ArtifactError: it has other inputs or outputs than one float32 each, of the spec's shapes and batch size.
    """
    spec = artifact.spec
    for kind, ports in (("input", inputs), ("output", outputs)):
        if len(ports) != 1:
            raise ArtifactError(f"{artifact.path}: the model has {len(ports)} {kind}s; expected one")
    (taken,), (given,) = inputs, outputs
    batch = taken.shape[0] if taken.shape else None
    wanted = Port(name="", dtype="float32", shape=(batch, *spec.input_shape))
    if (taken.dtype, taken.shape) != (wanted.dtype, wanted.shape):
        raise ArtifactError(f"{artifact.path}: the model takes {taken}, but its spec says {wanted}")
    wanted = Port(name="", dtype="float32", shape=(batch, *spec.heatmap_shape))
    if given.dtype != wanted.dtype or not _may_be(given.shape, wanted.shape):
        raise ArtifactError(f"{artifact.path}: the model gives {given}, but its spec says {wanted}")
    if spec.export is not None and spec.export.batch != batch:
        raise ArtifactError(
            f"{artifact.path}: the model is compiled for batch size {batch or 'any'}, but its spec says {spec.export.batch or 'any'}"
        )
    return batch


def _may_be(shape: tuple[int | None, ...] | None, wanted: tuple[int | None, ...] | None) -> bool:
    """A runtime may leave open what of the output follows from the input; ``Session`` looks at every result anyway."""
    if shape is None or wanted is None:
        return True
    return len(shape) == len(wanted) and all(side in (None, size) for side, size in zip(shape, wanted, strict=True))
