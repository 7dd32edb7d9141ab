"""Typed access to the fields of one protobuf message.

Reading the file's own bytes, rather than through onnx or coremltools, keeps this to numpy: importing those takes seconds, and their loaders
build everything that a file says before anybody can look at it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact.protobuf import Allowance, Field, walk
from edgepose.errors import ArtifactError

__all__ = ["Message"]

_VARINT, _BYTES = 0, 2
_MAX_VARINT_BYTES = 10
_FEW_BYTES = 100
"""Up to here a loop is faster than numpy."""


class Message:
    """One protobuf message, its fields found but not decoded.

    Args:
        data: the encoded message.
        path: the file that it stands in, for error messages.
        allowance: how many fields may still be looked at; the messages nested in this one share it.
    """

    __slots__ = ("_allowance", "_data", "_fields", "path")

    def __init__(self, data: memoryview, path: Path, allowance: Allowance | None = None) -> None:
        self.path = path
        self._allowance = allowance or Allowance()
        self._data = data
        self._fields: dict[int, list[Field]] = {}
        for field in walk(data, 0, len(data), path, self._allowance):
            self._fields.setdefault(field.number, []).append(field)

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def field_numbers(self) -> tuple[int, ...]:
        """Return the numbers of the fields that are there."""
        return tuple(self._fields)

    def integer(self, number: int) -> int:
        """Return a signed number, 0 where the field is absent."""
        found = self.integers(number)
        return found[-1] if found else 0

    def integers(self, number: int) -> list[int]:
        """Return a repeated signed number, packed or not."""
        values = []
        for field in self._fields.get(number, ()):
            if field.kind not in (_VARINT, _BYTES):
                raise self._mismatch(field)
            values += _varints(self._span(field), self.path)
        return values

    def reals(self, number: int, dtype: str) -> NDArray[Any]:
        """Return a repeated floating-point number, packed or not, as a 1-D array."""
        stored = b"".join(self._span(field) for field in self._fields.get(number, ()) if field.kind != _VARINT)
        if len(stored) % np.dtype(dtype).itemsize:
            raise ArtifactError(f"{self.path}: not a valid file: field {number} holds {len(stored)} bytes of {dtype} numbers")
        return np.frombuffer(stored, dtype)

    def raw(self, number: int) -> memoryview:
        """Return the bytes of a field, empty where it is absent."""
        spans = [self._span(field) for field in self._bytes(number)]
        return spans[-1] if spans else memoryview(b"")

    def text(self, number: int) -> str:
        """Return a string, empty where the field is absent."""
        texts = self.texts(number)
        return texts[-1] if texts else ""

    def texts(self, number: int) -> list[str]:
        """Return a repeated string."""
        try:
            return [bytes(self._span(field)).decode() for field in self._bytes(number)]
        except UnicodeDecodeError:
            raise ArtifactError(f"{self.path}: not a valid file: field {number} isn't UTF-8 text") from None

    def message(self, number: int) -> "Message":
        """Return a nested message, empty where the field is absent; parts that were written separately are merged, as protobuf does."""
        spans = [self._span(field) for field in self._bytes(number)]
        return Message(spans[0] if len(spans) == 1 else memoryview(b"".join(spans)), self.path, self._allowance)

    def messages(self, number: int) -> Iterator["Message"]:
        """Yield a repeated nested message."""
        for field in self._bytes(number):
            yield Message(self._span(field), self.path, self._allowance)

    def entries(self, number: int) -> dict[str, "Message"]:
        """Return a map from strings to messages."""
        return {entry.text(1): entry.message(2) for entry in self.messages(number)}

    def _bytes(self, number: int) -> list[Field]:
        fields = self._fields.get(number, [])
        for field in fields:
            if field.kind != _BYTES:
                raise self._mismatch(field)
        return fields

    def _span(self, field: Field) -> memoryview:
        return self._data[field.start : field.end]

    def _mismatch(self, field: Field) -> ArtifactError:
        return ArtifactError(f"{self.path}: not a valid file: field {field.number} has wire type {field.kind}")


def _varints(span: memoryview, path: Path) -> list[int]:
    """Decode packed numbers; negative ones are stored as the 64-bit two's complement."""
    if len(span) <= _FEW_BYTES:
        return _few_varints(span, path)
    stored = np.frombuffer(span, np.uint8)
    last = np.flatnonzero(stored < 0x80)
    if not last.size or last[-1] != stored.size - 1:
        raise ArtifactError(f"{path}: not a valid file: a number is cut short")
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > _MAX_VARINT_BYTES:
        raise ArtifactError(f"{path}: not a valid file: a number is too long")
    place = np.arange(stored.size) - np.repeat(first, lengths)
    parts = (stored & 0x7F).astype(np.uint64) << (7 * place).astype(np.uint64)
    values: list[int] = np.bitwise_or.reduceat(parts, first).view(np.int64).tolist()
    return values


def _few_varints(span: memoryview, path: Path) -> list[int]:
    values, value, shift = [], 0, 0
    for byte in span:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            values.append((value & (1 << 63) - 1) - (value & 1 << 63))
            value = shift = 0
    if shift or len(span) > _MAX_VARINT_BYTES * max(1, len(values)):
        raise ArtifactError(f"{path}: not a valid file: a number is cut short, or too long")
    return values
