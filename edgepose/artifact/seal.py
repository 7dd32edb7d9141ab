"""One SHA-256 over every byte of an artifact, stored inside it.

To compute it, the 64 digits of the hash itself count as zeros, so that everything else, the spec, the graph, the weights and the container
around them, is covered: no bit can change unnoticed.
"""

import hashlib
import mmap
import re
from collections.abc import Sequence
from pathlib import Path

from edgepose.artifact.format import UNSEALED, Location
from edgepose.errors import IntegrityError

__all__ = ["check", "stamp"]

_DIGITS = re.compile(rb"[0-9a-f]{64}")
_CHUNK = 4 << 20


def stamp(path: Path, files: Sequence[Path], location: Location) -> str:
    """Compute the content hash and write it into its place.

    Args:
        path: the artifact.
        files: every file of it, in the format's order.
        location: where the hash stands.

    Returns:
        The hash, in hex.
    """
    digest = _digest(path, files, location)
    with location.carrier.open("r+b") as stream:
        stream.seek(location.seal)
        stream.write(digest.encode("ascii"))
    return digest


def check(path: Path, files: Sequence[Path], location: Location) -> str:
    """Return the hash that is stored, after making sure that it is the hash of the bytes.

    Raises:
        IntegrityError: it isn't.
    """
    with location.carrier.open("rb") as stream:
        stream.seek(location.seal)
        stored = stream.read(len(UNSEALED))
    if not _DIGITS.fullmatch(stored):
        raise IntegrityError(f"{path}: the content hash in it is damaged. Copy the file again or convert the model again.")
    actual = _digest(path, files, location)
    if actual != stored.decode("ascii"):
        names = ", ".join(file.name for file in files)
        raise IntegrityError(
            f"{path}: the content has changed since it was verified (files {names}; stored sha256 {stored[:12].decode()}…, "
            f"actual {actual[:12]}…). Copy it again or convert the model again."
        )
    return actual


def _digest(path: Path, files: Sequence[Path], location: Location) -> str:
    total = hashlib.sha256()
    for file in files:
        # Names count inside a package; outside, a user may rename the artifact.
        name = file.relative_to(path).as_posix().encode() if path.is_dir() else b""
        size = file.stat().st_size
        total.update(len(name).to_bytes(8, "little") + name + size.to_bytes(8, "little"))
        if not size:
            continue
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content, memoryview(content) as view:
            if file == location.carrier:
                _update(total, view[: location.seal])
                total.update(UNSEALED.encode("ascii"))
                _update(total, view[location.seal + len(UNSEALED) :])
            else:
                _update(total, view)
    return total.hexdigest()


def _update(total: "hashlib._Hash", view: memoryview) -> None:
    # In pieces, so that Ctrl-C is heard while a file of gigabytes is read.
    with view:
        for start in range(0, len(view), _CHUNK):
            with view[start : start + _CHUNK] as piece:
                total.update(piece)
