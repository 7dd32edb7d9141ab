"""Read values from the weight files of a Core ML package.

A weight file is a 64-byte header (uint32 count, uint32 version) and, for each value, a 64-byte record and its data. The program refers to
a value by the offset of its record: uint32 mark, uint32 element type, uint64 size and offset of the data. Format:
``mlmodel/src/MILBlob/Blob/StorageFormat.hpp`` in apple/coremltools, BSD-3-Clause.
"""

import math
import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edgepose.errors import ArtifactError
from edgepose.runtime.mil.elements import Array, TensorType, decode, stored_bytes

__all__ = ["check_weight", "read_weight"]

_HEADER = struct.Struct("<II")
_RECORD = struct.Struct("<IIQQ")
_VERSION = 2
_MARK = 0xDEADBEEF
_SMALL_ELEMENTS = 64


def read_weight(path: Path, offset: int, kind: TensorType) -> Array:
    """Read one value.

    Args:
        path: the weight file.
        offset: position of the value's record.
        kind: its type, as the program declares it.

    Raises:
        ArtifactError: the file is damaged, cut short, or holds something else at this offset.
    """
    try:
        with path.open("rb") as stream:
            return _read(stream, path, offset, kind)
    except OSError as error:
        raise ArtifactError(f"{path}: can't be read: {error.strerror or error}") from None


def check_weight(path: Path, offset: int, kind: TensorType) -> Array:
    """Look at a value's record without reading the value, unless it has few elements: shapes and axes may be among those.

    Returns:
        A small value; for others an array of zeros of the value's shape, which takes no memory.

    Raises:
        ArtifactError: see ``read_weight``.
    """
    shape = tuple(size or 0 for size in kind.shape)
    try:
        with path.open("rb") as stream:
            if math.prod(shape) <= _SMALL_ELEMENTS:
                return _read(stream, path, offset, kind)
            size, _ = _find(stream, path, offset, kind)
    except OSError as error:
        raise ArtifactError(f"{path}: can't be read: {error.strerror or error}") from None
    needed = stored_bytes(kind)
    if size != needed:
        raise ArtifactError(f"{path}: damaged: the value at byte {offset}: {kind} takes {needed} bytes, and {size} are stored")
    try:
        return np.broadcast_to(np.zeros((), kind.element.dtype), shape)
    except ValueError as error:
        raise ArtifactError(f"{path}: damaged: the value at byte {offset}: {error}") from None


def _read(stream: BinaryIO, path: Path, offset: int, kind: TensorType) -> Array:
    size, start = _find(stream, path, offset, kind)
    stream.seek(start)
    try:
        return decode(np.fromfile(stream, np.uint8, size), kind)
    except ValueError as error:
        raise ArtifactError(f"{path}: damaged: the value at byte {offset}: {error}") from None


def _find(stream: BinaryIO, path: Path, offset: int, kind: TensorType) -> tuple[int, int]:
    """Return size and place of a value's bytes."""
    file_size = os.fstat(stream.fileno()).st_size
    if not _HEADER.size <= offset <= file_size - _RECORD.size:
        raise ArtifactError(f"{path}: cut short: the program reads at byte {offset}, and the file has {file_size}")
    _, version = _HEADER.unpack(stream.read(_HEADER.size))
    if version != _VERSION:
        raise ArtifactError(f"{path}: not a Core ML weight file of version {_VERSION} (found {version})")
    stream.seek(offset)
    mark, blob, size, start = _RECORD.unpack(stream.read(_RECORD.size))
    if mark != _MARK:
        raise ArtifactError(f"{path}: damaged: no value begins at byte {offset}")
    if blob != kind.element.blob:
        raise ArtifactError(f"{path}: the value at byte {offset} has element type {blob}; the program expects {kind}")
    if start + size > file_size:
        raise ArtifactError(f"{path}: cut short: the value at byte {offset} ends at {start + size}, and the file has {file_size}")
    return size, start
