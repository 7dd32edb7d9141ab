"""Reading tables of a FlatBuffer, with every offset checked before it is followed.

Format: https://flatbuffers.dev/internals
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import ArtifactError

__all__ = ["Table", "read_root"]

_UINT32 = struct.Struct("<I")
_INT32 = struct.Struct("<i")
_UINT16 = struct.Struct("<H")
_FORMATS = {name: struct.Struct(f"<{code}") for name, code in (("bool", "?"), ("byte", "b"), ("ubyte", "B"), ("int", "i"), ("uint", "I"))}
_FORMATS |= {"float": struct.Struct("<f"), "ulong": struct.Struct("<Q")}


class Table:
    """One table.

    Args:
        data: the whole buffer.
        position: where the table stands in it.
        path: the file, for error messages.
    """

    __slots__ = ("_data", "_fields", "_path", "_position")

    def __init__(self, data: memoryview, position: int, path: Path) -> None:
        self._data = data
        self._path = path
        self._position = position
        vtable = position - self._read(_INT32, position)
        size = self._read(_UINT16, vtable)
        if size < 4 or size % 2:
            raise self._damaged(vtable)
        self._need(vtable, size)
        self._need(position, self._read(_UINT16, vtable + 2))
        self._fields = [self._read(_UINT16, vtable + 4 + 2 * slot) for slot in range((size - 4) // 2)]

    def slots(self) -> set[int]:
        """Return the numbers of the fields that are there."""
        return {slot for slot, offset in enumerate(self._fields) if offset}

    def number(self, slot: int, kind: str, default: float = 0) -> Any:
        """Return a scalar; ``kind`` is its name in the schema language."""
        position = self._at(slot)
        return default if position is None else self._read(_FORMATS[kind], position)

    def text(self, slot: int) -> str:
        """Return a string, empty where the field is absent."""
        return bytes(self.numbers(slot, "u1").data).decode("utf-8", "replace")

    def numbers(self, slot: int, dtype: str) -> NDArray[Any]:
        """Return a vector of numbers, empty where the field is absent; the buffer's own memory."""
        span = self._vector(slot)
        if span is None:
            return np.empty(0, dtype)
        start, count = span
        size = count * np.dtype(dtype).itemsize
        self._need(start, size)
        return np.frombuffer(self._data[start : start + size], dtype)

    def table(self, slot: int) -> "Table | None":
        """Return a nested table."""
        position = self._at(slot)
        return None if position is None else Table(self._data, position + self._read(_UINT32, position), self._path)

    def tables(self, slot: int, limit: int) -> "list[Table]":
        """Return a vector of tables.

        Args:
            slot: number of the field.
            limit: how many are allowed.
        """
        span = self._vector(slot)
        if span is None:
            return []
        start, count = span
        if count > limit:
            raise ArtifactError(f"{self._path}: not a model of edgepose: it has {count} parts of a kind, and the largest ViTPose {limit}")
        self._need(start, 4 * count)
        places = range(start, start + 4 * count, 4)
        return [Table(self._data, place + self._read(_UINT32, place), self._path) for place in places]

    def _vector(self, slot: int) -> tuple[int, int] | None:
        position = self._at(slot)
        if position is None:
            return None
        start = position + self._read(_UINT32, position)
        return start + 4, self._read(_UINT32, start)

    def _at(self, slot: int) -> int | None:
        offset = self._fields[slot] if slot < len(self._fields) else 0
        return self._position + offset if offset else None

    def _read(self, form: struct.Struct, position: int) -> Any:
        self._need(position, form.size)
        return form.unpack_from(self._data, position)[0]

    def _need(self, position: int, size: int) -> None:
        if position < 0 or position + size > len(self._data):
            raise self._damaged(position)

    def _damaged(self, position: int) -> ArtifactError:
        return ArtifactError(f"{self._path}: damaged, or cut short: the flatbuffer reads at byte {position} of {len(self._data)}")


def read_root(data: memoryview, path: Path) -> Table:
    """Return the root table.

    Raises:
        ArtifactError: there is none.
    """
    if len(data) < 8:
        raise ArtifactError(f"{path}: damaged, or cut short: {len(data)} bytes")
    return Table(data, _UINT32.unpack_from(data, 0)[0], path)
