"""Files with the same bytes, among many: only those of one size are read."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["find_same", "pair_same"]


def find_same(files: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield for each file that repeats an earlier one: the earlier one, and it. Two names of one file are one."""
    for group in _by_size(files).values():
        if len(group) < 2:
            continue
        seen: dict[bytes, Path] = {}
        for path in group:
            digest = _digest(path)
            if digest is not None and seen.setdefault(digest, path) is not path:
                yield seen[digest], path


def pair_same(files: Iterable[Path], others: Iterable[Path]) -> dict[Path, Path]:
    """Return for each file that has the bytes of one of the others: that one."""
    theirs = _by_size(others)
    found: dict[Path, Path] = {}
    for size, group in _by_size(files).items():
        known = {digest: path for path in theirs.get(size, ()) if (digest := _digest(path)) is not None}
        for path in group if known else ():
            digest = _digest(path)
            if digest in known:
                found[path] = known[digest]
    return found


def _by_size(files: Iterable[Path]) -> dict[int, list[Path]]:
    groups: dict[int, list[Path]] = defaultdict(list)
    for path in dict.fromkeys(files):
        try:
            groups[path.stat().st_size].append(path)
        except OSError:
            continue  # who looks at the picture says so
    return groups


def _digest(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None
