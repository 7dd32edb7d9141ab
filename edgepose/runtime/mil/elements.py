"""Element types of MIL tensors, and how their values are stored.

The numbers are those of ``MILSpec.DataType`` (``mlmodel/format/MIL.proto``) and ``MILBlob::Blob::BlobDataType``
(``mlmodel/src/MILBlob``) in apple/coremltools, BSD-3-Clause.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ELEMENT_TYPES", "Array", "ElementType", "TensorType", "decode", "stored_bytes", "unpack"]

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class ElementType:
    """One element type.

    Attributes:
        name: as MIL's ``cast`` spells it, e.g. ``fp16``.
        dtype: what holds one element in numpy; types below eight bits take a whole byte there.
        bits: bits that one stored element takes.
        blob: the type's number in weight files, or ``None`` where they can't hold it.
    """

    name: str
    dtype: np.dtype[Any]
    bits: int
    blob: int | None = None


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape of a value; ``None`` stands for a size that is known only at run time."""

    element: ElementType
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.element.name} ({', '.join('?' if size is None else str(size) for size in self.shape)})"

    def holds(self, shape: tuple[int, ...]) -> bool:
        """Say whether an array of ``shape`` is of this type."""
        return len(shape) == len(self.shape) and all(want in (None, size) for want, size in zip(self.shape, shape, strict=True))


def _element(name: str, dtype: str, bits: int, blob: int | None = None) -> ElementType:
    return ElementType(name, np.dtype(dtype), bits, blob)


# bfloat16 and the 8-bit floats are missing on purpose: numpy has no such types, and no converter that edgepose uses writes them.
ELEMENT_TYPES: dict[int, ElementType] = {
    1: _element("bool", "?", 8),
    2: _element("string", "U", 0),
    10: _element("fp16", "<f2", 16, 1),
    11: _element("fp32", "<f4", 32, 2),
    12: _element("fp64", "<f8", 64),
    21: _element("int8", "i1", 8, 4),
    22: _element("int16", "<i2", 16, 6),
    23: _element("int32", "<i4", 32, 14),
    24: _element("int64", "<i8", 64),
    25: _element("int4", "i1", 4, 8),
    31: _element("uint8", "u1", 8, 3),
    32: _element("uint16", "<u2", 16, 7),
    33: _element("uint32", "<u4", 32, 15),
    34: _element("uint64", "<u8", 64),
    35: _element("uint4", "u1", 4, 11),
    36: _element("uint2", "u1", 2, 10),
    37: _element("uint1", "u1", 1, 9),
    38: _element("uint6", "u1", 6, 13),
    39: _element("uint3", "u1", 3, 12),
}


def decode(stored: NDArray[np.uint8], kind: TensorType) -> Array:
    """Turn stored bytes into an array.

    Args:
        stored: 1-D; as many bytes as the elements take, the last one padded.
        kind: a type whose sizes are all known.

    Raises:
        ValueError: the number of bytes doesn't fit the type.
    """
    shape = tuple(size or 0 for size in kind.shape)
    count, needed = math.prod(shape), stored_bytes(kind)
    if stored.size != needed:
        raise ValueError(f"{kind} takes {needed} bytes, and {stored.size} are stored")
    if kind.element.bits < 8:
        return unpack(stored, kind.element.bits, count, signed=kind.element.dtype.kind == "i").reshape(shape)
    return stored.view(kind.element.dtype).reshape(shape)


def stored_bytes(kind: TensorType) -> int:
    """Return how many bytes a value takes in a file."""
    return -(-math.prod(size or 0 for size in kind.shape) * kind.element.bits // 8)


def unpack(stored: NDArray[np.uint8], bits: int, count: int, *, signed: bool) -> Array:
    """Spread ``count`` elements of fewer than eight bits over one byte each; stored from the least significant bit of the first byte on.

    Returns:
        uint8, or int8 for two's complement elements.
    """
    spread = np.zeros((count, 8), np.uint8)
    spread[:, :bits] = np.unpackbits(stored, count=count * bits, bitorder="little").reshape(count, bits)
    if signed:
        spread[:, bits:] = spread[:, bits - 1 : bits]
    values = np.packbits(spread, axis=1, bitorder="little")[:, 0]
    return values.view(np.int8) if signed else values
