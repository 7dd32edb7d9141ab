"""Read values from the weight files of a Core ML package.

A weight file is a 64-byte header (uint32 count, uint32 version) and, for each value, a 64-byte record and its data. The program refers to
a value by the offset of its record: uint32 mark, uint32 element type, uint64 size and offset of the data. Format:
``mlmodel/src/MILBlob/Blob/StorageFormat.hpp`` in apple/coremltools, BSD-3-Clause.
"""

import os
import struct
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from edgepose.errors import ArtifactError
from edgepose.runtime.mil.elements import Array, TensorType, decode

__all__ = ["find_inside", "read_weight"]

_HEADER = struct.Struct("<II")
_RECORD = struct.Struct("<IIQQ")
_VERSION = 2
_MARK = 0xDEADBEEF


def find_inside(folder: Path, relative: str, source: Path) -> Path:
    """Return the file of a package that one of its files names.

    Args:
        folder: what the name is relative to; nothing outside of it is ever opened.
        relative: the name, with forward slashes.
        source: the file that names it, for error messages.

    Raises:
        ArtifactError: the name, or a link behind it, leads out of the folder, or there is no such file.
    """
    name = PurePosixPath(relative)
    if name.is_absolute() or ".." in name.parts or not {"\\", ":", "\0"}.isdisjoint(relative):
        raise ArtifactError(f"{source}: names {relative!r}, a file outside the package")
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ArtifactError(f"{source}: names {relative!r}, a link that leads out of the package")
        found = path.is_file()
    except (OSError, RuntimeError) as error:
        raise ArtifactError(f"{source}: names {relative!r}, which can't be opened: {error}") from None
    if not found:
        raise ArtifactError(f"{path}: no such file: the package is incomplete")
    return path


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


def _read(stream: BinaryIO, path: Path, offset: int, kind: TensorType) -> Array:
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
    stream.seek(start)
    try:
        return decode(np.fromfile(stream, np.uint8, size), kind)
    except ValueError as error:
        raise ArtifactError(f"{path}: damaged: the value at byte {offset}: {error}") from None
