"""Ids in COCO files: matched by what they say, however they are written.

``1``, ``1.0`` and ``"1"`` are one id; text of any kind and numbers of any size are ids, too. Where nothing has the id, a picture's file
name does: Ultralytics and others write the name without its suffix.
"""

import math
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from edgepose.evaluation.coco_file import shown

__all__ = ["Identities", "describe_ids", "number_ids", "plain_id"]

_MAX_CHARACTERS = 1024
_WHOLE = re.compile(r"([+-]?\d{1,100})(\.0{1,20})?")
_INT64 = range(-(2**63), 2**63)


def plain_id(value: object) -> str | None:
    """Return the text that equal ids share, or ``None`` for what can't be an id.

    Whole numbers are one text however they are written, leading zeros of text apart. A float beyond 2**53 has lost digits: it is only
    equal to itself.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value) if abs(value) < 10**100 else None
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        if value.is_integer():
            return str(int(value)) if abs(value) < 2**53 else repr(value)
        return None
    if isinstance(value, str):
        text = value.strip()
        if not 0 < len(text) <= _MAX_CHARACTERS:
            return None
        whole = _WHOLE.fullmatch(text)
        # "007" stays text: it isn't the id of picture 7 where there is one of "007"; see Identities.
        return str(int(whole[1])) if whole and str(int(whole[1])) == whole[1].lstrip("+") else text
    return None


def number_ids(ids: Sequence[str]) -> list[int]:
    """Return a number of 64 bits for each different text of ``plain_id``: its own where all are such numbers, else its rank.

    Ranks are in the order of the numbers, then of the texts: ``pycocotools`` goes through pictures in the order of their ids.
    """
    numbers = [int(text) if _WHOLE.fullmatch(text) else None for text in ids]
    own = [number for number in numbers if number is not None and number in _INT64]
    if len(own) == len(ids) and len(set(own)) == len(set(ids)):
        return own
    order = sorted(set(ids), key=lambda text: (0, int(text), text) if _WHOLE.fullmatch(text) else (1, 0, text))
    rank = {text: place + 1 for place, text in enumerate(order)}
    return [rank[text] for text in ids]


class Identities:
    """Finds pictures by their ids, and where those say nothing by their file names.

    Args:
        ids: as the file states them; what can't be an id is found by name alone.
        names: file names, as stated; empty: found by id alone.
    """

    def __init__(self, ids: Sequence[object], names: Sequence[str] = ()) -> None:
        self._exact: dict[str, int] = {}
        self._numbers: dict[str, int | None] = {}
        self._names: dict[str, int | None] = {}
        for place, identity in enumerate(ids):
            text = plain_id(identity)
            if text is not None:
                self._exact.setdefault(text, place)
                _put(self._numbers, _number(text), place)
        for place, name in enumerate(names):
            for spelling in _spellings(name):
                _put(self._names, spelling, place)

    def find(self, identity: object) -> int:
        """Return the place of an id in the list, or -1: no picture has it, or several would do."""
        text = plain_id(identity)
        if text is None:
            return -1
        found: int | None = self._exact.get(text)
        if found is None:
            found = self._numbers.get(_number(text))
        return -1 if found is None else found

    def find_by_name(self, identity: object) -> int:
        """Return the place of the picture whose file name, with or without folder or suffix, is the id, or -1.

        Numbers are names, too: Ultralytics writes 139 for ``000000000139.jpg``.
        """
        text = identity.strip() if isinstance(identity, str) else plain_id(identity)
        if not text:
            return -1
        found = self._names.get(text.replace("\\", "/"))
        if found is None and _WHOLE.fullmatch(text):
            found = self._names.get(f"#{_number(text)}")
        return -1 if found is None else found


def describe_ids(ids: Sequence[object]) -> str:
    """Return the first three, for messages."""
    return "[" + ", ".join(shown(identity) for identity in ids[:3]) + "]"


def _number(text: str) -> str:
    """A number without leading zeros; other text as it is."""
    whole = _WHOLE.fullmatch(text)
    return str(int(whole[1])) if whole else text


def _spellings(name: str) -> set[str]:
    path = PurePosixPath(name.replace("\\", "/"))
    spellings = {str(path), path.name, path.stem, str(path.with_suffix("")) if path.name else ""} - {"", "."}
    if path.stem.isascii() and path.stem.isdigit() and len(path.stem) <= 100:
        spellings.add(f"#{int(path.stem)}")
    return spellings


def _put(table: dict[str, int | None], key: str, place: int) -> None:
    """Remember a place; ``None`` where two have the same key."""
    table[key] = place if table.get(key, place) == place else None
