"""Where the pictures of an annotation file are: its names come from other machines, other folders, and from strangers.

No name leads out of the folder. What isn't there as it is named is looked for by the end of its path, then by its spelling.
"""

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from edgepose.evaluation import kinds
from edgepose.evaluation.coco_file import shown
from edgepose.findings import Findings

__all__ = ["PictureFolder", "locate_pictures"]

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^/]*/")
_DRIVE = re.compile(r"[A-Za-z]:")
_DEEPEST = 32


def locate_pictures(
    folder: Path, names: Sequence[str], wanted: NDArray[np.bool_], findings: Findings
) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    """Find the files of pictures.

    Args:
        folder: of the pictures.
        names: I names, as a file states them.
        wanted: bool (I,), those that are needed.
        findings: is told which were found elsewhere than named.

    Returns:
        I names relative to the folder, those that weren't found as they were, and bool (I,): which of the wanted weren't found.
    """
    place = PictureFolder(folder)
    located = list(names)
    missing = np.zeros(len(names), np.bool_)
    needed: list[int] = np.flatnonzero(wanted).tolist()
    mended = []
    for index in needed:
        if place.holds(names[index]):
            continue
        found = place.search(names[index])
        if found is None:
            missing[index] = True
        else:
            located[index] = found
            mended.append(index)
    # Where several names lead to one file, nobody knows whose it is.
    owners: dict[str, set[str]] = {}
    for index in needed:
        if not missing[index]:
            owners.setdefault(str(PurePosixPath(located[index])), set()).add(names[index])
    for index in mended:
        if len(owners[located[index]]) > 1:
            missing[index], located[index] = True, names[index]
            continue
        exact = PurePosixPath(located[index]).name == _tails(names[index])[-1]
        findings.add(kinds.NAME_MENDED if exact else kinds.NAME_CASE, f"{shown(names[index])} is {shown(located[index])}")
    return tuple(located), missing


class PictureFolder:
    """Finds files in a folder.

    Args:
        folder: the folder; nothing outside it is found, links that lead out included.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = folder.resolve()
        self._spellings: dict[str, str | None] | None = None

    def holds(self, name: str) -> bool:
        """Tell whether there is a file of this name, relative to the folder."""
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            return False
        try:
            path = self._folder / name
            return path.is_file() and path.resolve().is_relative_to(self._root)
        except (OSError, ValueError, RuntimeError):  # too long for the system, characters that it doesn't know, links in a circle
            return False

    def find_end(self, name: str) -> str | None:
        """Return the longest end of a path that is a file in the folder, or ``None``."""
        return next((tail for tail in _tails(name) if self.holds(tail)), None)

    def search(self, name: str) -> str | None:
        r"""Return the file that a name from elsewhere means, relative to the folder, or ``None`` where there is none, or several could be.

        The longest end of the path that is there: ``C:\data\sub\a.jpg`` is ``sub/a.jpg``, or ``a.jpg``. Then the same without regard to
        case and to how accents are encoded; at last the only file of that bare name in the folder and those below.
        """
        found = self.find_end(name)
        tails = _tails(name)
        if found is not None or not tails:
            return found
        spellings = self._find_spellings()
        for tail in (*tails, f"*/{tails[-1]}"):
            found = spellings.get(_plain(tail))
            if found is not None and self.holds(found):
                return found
        return None

    def is_ambiguous(self, name: str) -> bool:
        """Tell whether several files have the bare name, so that ``search`` can't choose."""
        tails = _tails(name)
        spellings = self._find_spellings()
        key = f"*/{_plain(tails[-1])}" if tails else ""
        return key in spellings and spellings[key] is None

    def _find_spellings(self) -> dict[str, str | None]:
        """Plain spelling → file, of paths, and after ``*/`` of bare names; ``None`` where several have the same."""
        if self._spellings is None:
            self._spellings = {}
            for place, _, files in os.walk(self._folder):
                inside = Path(place).relative_to(self._folder)
                for file in files:
                    path = (inside / file).as_posix()
                    for key in (_plain(path), f"*/{_plain(file)}"):
                        self._spellings[key] = path if self._spellings.get(key, path) == path else None
        return self._spellings


def _tails(name: str) -> list[str]:
    """The ends of a path from anywhere, from the longest to the bare name; none of them leads up."""
    address = _ADDRESS.match(name)
    text = (
        unquote(name[address.end() :].partition("?")[0].partition("#")[0]) if address else _DRIVE.sub("", name.replace("\\", "/"), count=1)
    )
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        parts = parts[len(parts) - parts[::-1].index("..") :]
    parts = parts[-_DEEPEST:]
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
