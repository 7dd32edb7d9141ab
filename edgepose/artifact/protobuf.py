"""The protobuf wire format: as much of it as reading a model file's structure and appending a string to it needs.

ONNX and Core ML files are protobuf messages of up to gigabytes; walking the fields of a message touches a few bytes of each and skips what
is nested. Format: https://protobuf.dev/programming-guides/encoding
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edgepose.errors import ArtifactError

__all__ = ["MAX_FIELDS", "Allowance", "Field", "entry", "find_entry", "message", "walk"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
Buffer = memoryview | bytes

MAX_FIELDS = 1_000_000
"""No file has more fields of those that are looked at: ViTPose-H's graph has some 50,000."""


class Field(NamedTuple):
    """One field of a message: its number, wire type, and the span of its content; ``begin`` is where its tag starts."""

    number: int
    kind: int
    begin: int
    start: int
    end: int


class Allowance:
    """How many fields may still be looked at in a file: a few bytes each can be read fast, but not by the million.

    Args:
        fields: how many.
    """

    __slots__ = ("_left",)

    def __init__(self, fields: int = MAX_FIELDS) -> None:
        self._left = fields

    def take(self, path: Path) -> None:
        """Count one field.

        Raises:
            ArtifactError: it is one too many.
        """
        self._left -= 1
        if self._left < 0:
            raise ArtifactError(f"{path}: not a model of edgepose: it is made of more parts than the largest ViTPose has")


def walk(data: Buffer, start: int, end: int, path: Path, allowance: Allowance | None = None) -> Iterator[Field]:
    """Yield the fields of the message in ``data[start:end]``.

    Raises:
        ArtifactError: the bytes aren't a message, or hold more fields than allowed; ``path`` names the file.
    """
    allowance = allowance or Allowance()
    position = start
    while position < end:
        begin = position
        tag = data[position]
        position += 1
        if tag > 0x7F:
            tag, position = _varint(data, begin, end, path)
        number, kind = tag >> 3, tag & 7
        content = position
        if kind == _BYTES:
            length, content = _varint(data, position, end, path)
            position = content + length
        elif kind == _VARINT:
            _, position = _varint(data, position, end, path)
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            raise ArtifactError(f"{path}: not a valid file: wire type {kind} at byte {begin}")
        if number == 0 or position > end:
            raise ArtifactError(f"{path}: not a valid file, or cut short: field {number} at byte {begin} reaches past byte {end}")
        allowance.take(path)
        yield Field(number, kind, begin, content, position)


def find_entry(data: Buffer, numbers: tuple[int, ...], key: str, path: Path) -> tuple[int, int] | None:
    """Find the string map entry ``key`` below the nested fields ``numbers``.

    Returns:
        Start and end of the value; ``None`` where there is no such entry.

    Raises:
        ArtifactError: the file isn't a message, or holds the entry twice.
    """
    found = list(_find(data, numbers, key.encode(), 0, len(data), path, Allowance()))
    if len(found) > 1:
        raise ArtifactError(f"{path}: holds {len(found)} entries {key!r}; expected one")
    return found[0] if found else None


def _find(
    data: Buffer, numbers: tuple[int, ...], key: bytes, start: int, end: int, path: Path, allowance: Allowance
) -> Iterator[tuple[int, int]]:
    if numbers:
        for field in walk(data, start, end, path, allowance):
            if field.number == numbers[0] and field.kind == _BYTES:
                yield from _find(data, numbers[1:], key, field.start, field.end, path, allowance)
        return
    parts = {field.number: field for field in walk(data, start, end, path, allowance)}
    if 1 in parts and 2 in parts and data[parts[1].start : parts[1].end] == key:
        yield parts[2].start, parts[2].end


def entry(key: str, value: str) -> bytes:
    """Return the map entry ``{1: key, 2: value}``."""
    return message(1, key.encode()) + message(2, value.encode())


def message(number: int, content: bytes) -> bytes:
    """Return field ``number`` holding ``content``."""
    return _encode(number << 3 | _BYTES) + _encode(len(content)) + content


def _encode(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint(data: Buffer, position: int, end: int, path: Path) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise ArtifactError(f"{path}: not a valid file, or cut short at byte {position}")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ArtifactError(f"{path}: not a valid file: a number at byte {position} is too long")
