"""Typed access to the fields of one protobuf message.

Reading the file's own bytes, rather than through coremltools, keeps the evaluator to numpy: importing coremltools takes seconds, writes
warnings, and its own loader rebuilds the program on the way in.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgepose.artifact.protobuf import Field, walk
from edgepose.errors import ArtifactError
from edgepose.runtime.mil.elements import Array

__all__ = ["Message"]

_VARINT, _BYTES = 0, 2


class Message:
    """One protobuf message, its fields found but not decoded.

    Args:
        data: the encoded message.
        path: the file that it stands in, for error messages.
    """

    __slots__ = ("_data", "_fields", "path")

    def __init__(self, data: memoryview, path: Path) -> None:
        self.path = path
        self._data = data
        self._fields: dict[int, list[Field]] = {}
        for field in walk(data, 0, len(data), path):
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
            values += _varints(self._span(field))
        return values

    def reals(self, number: int, dtype: str) -> Array:
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
        return Message(spans[0] if len(spans) == 1 else memoryview(b"".join(spans)), self.path)

    def messages(self, number: int) -> Iterator["Message"]:
        """Yield a repeated nested message."""
        for field in self._bytes(number):
            yield Message(self._span(field), self.path)

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


def _varints(span: memoryview) -> list[int]:
    values, value, shift = [], 0, 0
    for byte in span:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            # Negative numbers are stored as the 64-bit two's complement.
            values.append((value & (1 << 63) - 1) - (value & 1 << 63))
            value = shift = 0
    return values
