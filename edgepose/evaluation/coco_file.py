"""What every reader of a COCO-like JSON file needs: its lists, and numbers and names that can be trusted."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from edgepose.errors import SpecError

__all__ = [
    "LARGEST",
    "MAX_FILE_BYTES",
    "Entry",
    "list_entries",
    "picture_name",
    "read_number",
    "read_numbers",
    "read_whole",
    "shown",
    "to_numbers",
]

Entry = Mapping[str, object]

LARGEST = 1e9
"""No coordinate in pixels is as large as this; it also refuses infinities."""

MAX_FILE_BYTES = 4 << 30
"""The largest annotation files are some hundred megabytes."""

MAX_NAME_CHARACTERS = 4096
_NUMBER = re.compile(r"[+-]?(\d{1,300}(\.\d{0,300})?|\.\d{1,300})([eE][+-]?\d{1,3})?")
_SHOWN = 60


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


def read_number(value: object) -> float | None:
    """Return a finite number of believable size, also where it is written as text, else ``None``."""
    if isinstance(value, str) and _NUMBER.fullmatch(text := value.strip()):
        value = float(text)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST:
        return float(value)
    return None


def read_numbers(value: object, count: int | None = None) -> Sequence[float] | None:
    """Return ``value`` where it is a list of (``count``) such numbers, also where they are written as text, else ``None``."""
    strict = to_numbers(value, count)
    if strict is not None or not isinstance(value, list) or (count is not None and len(value) != count):
        return strict
    numbers = [number for each in value if (number := read_number(each)) is not None]
    return numbers if len(numbers) == len(value) else None


def read_whole(value: object) -> int | None:
    """Return a whole number of 64 bits, also where it is written as ``17.0`` or as text, else ``None``."""
    if isinstance(value, str) and _NUMBER.fullmatch(text := value.strip()):
        value = int(text) if text.lstrip("+-").isdigit() else float(text)
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    return None


def picture_name(value: object, where: str) -> str:
    """Return the name of a picture, as the file states it.

    It may lead anywhere: only ``edgepose.evaluation.picture_files`` makes a path of it.

    Raises:
        SpecError: it isn't a name.
    """
    if not isinstance(value, str) or not value.strip() or "\0" in value or len(value) > MAX_NAME_CHARACTERS or not _encodable(value):
        raise SpecError(f"{where}: the picture's file name is {shown(value)}; expected text")
    return value


def shown(value: object) -> str:
    """Return a value from a file as messages show it: escaped and short."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**_SHOWN:
        return "a number of more than 60 digits"  # Python refuses to print more than 4,300
    if isinstance(value, list | dict):
        return f"a list of {len(value)}" if isinstance(value, list) and len(value) > 8 else _cut(str(_flat(value)))
    return _cut(repr(value[: 2 * _SHOWN] if isinstance(value, str) else value))


def _flat(value: object) -> object:
    """A list or an object with its own values alone: what is nested deeper isn't shown."""
    if isinstance(value, list):
        return [each if isinstance(each, float | str | None) else "…" if isinstance(each, list | dict) else _small(each) for each in value]
    if isinstance(value, dict):
        return dict.fromkeys(list(value)[:8], "…")
    return value


def _small(value: object) -> object:
    return "…" if isinstance(value, int) and abs(value) >= 10**_SHOWN else value


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character: JSON can write one, a file system can't
        return False
    return True
