"""What every reader of a COCO-like JSON file needs: its lists, and numbers that can be trusted."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import cast

from edgepose.errors import SpecError

__all__ = ["LARGEST", "Entry", "list_entries", "picture_name", "to_numbers", "whole_number"]

Entry = Mapping[str, object]

LARGEST = 1e9
"""No coordinate in pixels is as large as this; it also refuses infinities."""


def list_entries(document: object, path: Path, key: str) -> list[Entry]:
    """Return the list of objects ``key`` of a COCO document.

    Raises:
        SpecError: there is none.
    """
    entries = document.get(key) if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SpecError(f"{path}: has no list of objects {key!r}; expected a COCO keypoint file")
    return entries


def to_numbers(value: object, count: int | None = None) -> Sequence[float] | None:
    """Return ``value`` where it is a list of (``count``) finite numbers of believable size, else ``None``."""
    if not isinstance(value, list) or (count is not None and len(value) != count):
        return None
    # A comparison with NaN is false, so it is refused, too.
    if not all(isinstance(each, int | float) and not isinstance(each, bool) and abs(each) < LARGEST for each in value):
        return None
    return cast("list[float]", value)


def whole_number(entry: Entry, key: str, where: str) -> int:
    """Return a whole number of 64 bits.

    Raises:
        SpecError: the entry lacks it, or it is something else.
    """
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise SpecError(f"{where}: {key!r} is {value!r}; expected a whole number")
    return value


def picture_name(value: object, where: str) -> str:
    """Return the name of a picture, relative to the folder of the pictures.

    Raises:
        SpecError: it isn't a name, or leads out of the folder.
    """
    if not isinstance(value, str) or not value or "\0" in value:
        raise SpecError(f"{where}: the picture's file name is {value!r}; expected text")
    for path in (PurePosixPath(value), PureWindowsPath(value)):
        if path.is_absolute() or path.drive or path.root or ".." in path.parts:
            raise SpecError(f"{where}: the picture's file name {value!r} leads out of the folder of the pictures")
    return value
