"""The seam between the formats and the code that opens and seals them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgepose.spec import ModelSpec

__all__ = ["MAX_DOCUMENT_BYTES", "SEAL_KEY", "SPEC_KEY", "UNSEALED", "Embeddable", "Format", "Location"]

MAX_DOCUMENT_BYTES = 4 << 20
"""No embedded spec is larger; what claims to be is refused before it is read."""

SPEC_KEY = "edgepose.spec"
SEAL_KEY = "edgepose.sha256"

UNSEALED = "0" * 64
"""What stands in the place of the content hash, in hex, until it is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where the embedded spec and the content hash stand.

    Attributes:
        carrier: the file that holds them.
        spec: the spec as JSON text, with the format's escapes undone.
        seal: offset of the 64 hex digits of the content hash.
    """

    carrier: Path
    spec: str
    seal: int


class Embeddable(Protocol):
    """What may stand in a file: a model's spec, or a detector's."""

    def to_json(self) -> str:
        """Return JSON text, ASCII only."""
        ...


class Format(Protocol):
    """One model file format. An implementation reads and writes bytes; it needs no runtime and no converter."""

    name: str
    suffix: str

    def matches(self, path: Path, head: bytes) -> bool:
        """Say whether ``path`` is of this format, from its first bytes (empty for a folder)."""
        ...

    def files(self, path: Path) -> tuple[Path, ...]:
        """Return every file that belongs to the artifact, ``path`` itself included.

        Raises:
            ArtifactError: one is missing.
        """
        ...

    def locate(self, path: Path) -> Location | None:
        """Find the embedded spec and the content hash; ``None`` where the file has neither.

        Raises:
            ArtifactError: the file's structure is broken.
        """
        ...

    def check(self, path: Path, files: Sequence[Path], spec: ModelSpec) -> None:
        """Make sure that the file holds the network that its spec describes, and names nothing outside of ``files``.

        Called when the content hash has been checked, and before any runtime sees the file.

        Raises:
            ArtifactError: it doesn't.
            SpecError: the spec describes a network that is too large.
        """
        ...

    def write(self, path: Path, spec: str) -> None:
        """Embed ``spec`` (ASCII JSON text) and ``UNSEALED``, replacing those that are there. Nothing else in the artifact changes."""
        ...
