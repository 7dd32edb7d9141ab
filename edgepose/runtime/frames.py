"""What parent and child of an untrusted session say to each other: frames of plain bytes over two pipes.

A frame is one letter, the length of its content (8 bytes, little endian), and the content: JSON, or an array as four sizes (uint32) and its
float32 values. Nothing is unpickled, and the reader says beforehand how long a frame may be.
"""

import os
import select
import struct
import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_JSON_BYTES", "ChannelClosedError", "ChannelTimeoutError", "pack_array", "receive", "send", "unpack_array"]

MAX_JSON_BYTES = 16 << 20
_HEAD = struct.Struct("<cQ")
_SIZES = struct.Struct("<4I")
_PIECE = 1 << 20


class ChannelClosedError(Exception):
    """The other side is gone, or sent what it must not."""


class ChannelTimeoutError(Exception):
    """The other side took too long."""


def send(descriptor: int, letter: bytes, *parts: bytes | memoryview, seconds: float | None = None) -> None:
    """Write a frame.

    Args:
        descriptor: the pipe; not blocking where ``seconds`` is given.
        letter: what it is.
        parts: its content.
        seconds: how long it may take.

    Raises:
        ChannelClosedError: nobody reads any more.
        ChannelTimeoutError: nobody read in time.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    for part in (_HEAD.pack(letter, sum(memoryview(part).nbytes for part in parts)), *parts):
        view = memoryview(part).cast("B")
        while view:
            _wait(descriptor, select.POLLOUT, deadline)
            try:
                view = view[os.write(descriptor, view[:_PIECE]) :]
            except BlockingIOError:
                continue
            except OSError:
                raise ChannelClosedError from None


def receive(descriptor: int, limits: Mapping[bytes, int], *, seconds: float | None = None) -> tuple[bytes, bytearray]:
    """Read a frame.

    Args:
        descriptor: the pipe; not blocking where ``seconds`` is given.
        limits: the letters that may come, and the most bytes that each may have.
        seconds: how long it may take.

    Raises:
        ChannelClosedError: nobody writes any more, or something else came.
        ChannelTimeoutError: it didn't come in time.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    letter, length = _HEAD.unpack(_read(descriptor, _HEAD.size, deadline))
    if length > limits.get(letter, -1):
        raise ChannelClosedError
    return letter, _read(descriptor, length, deadline)


def pack_array(array: NDArray[np.float32]) -> tuple[bytes, memoryview]:
    """Return the content of a frame with a four-dimensional array."""
    return _SIZES.pack(*array.shape), np.ascontiguousarray(array, "<f4").reshape(-1).view(np.uint8).data


def unpack_array(content: bytearray) -> NDArray[np.float32]:
    """Return the array of such a frame.

    Raises:
        ChannelClosedError: its sizes don't fit its values.
    """
    if len(content) < _SIZES.size:
        raise ChannelClosedError
    shape = _SIZES.unpack_from(content)
    values = np.frombuffer(content, "<f4", offset=_SIZES.size) if (len(content) - _SIZES.size) % 4 == 0 else np.empty(0, np.float32)
    count = shape[0] * shape[1] * shape[2] * shape[3]
    if values.size != count or len(content) != _SIZES.size + 4 * count:
        raise ChannelClosedError
    return values.reshape(shape).astype(np.float32, copy=False)


def _read(descriptor: int, size: int, deadline: float | None) -> bytearray:
    content = bytearray()
    while len(content) < size:
        _wait(descriptor, select.POLLIN, deadline)
        try:
            piece = os.read(descriptor, min(size - len(content), _PIECE))
        except BlockingIOError:
            continue
        except OSError:
            raise ChannelClosedError from None
        if not piece:
            raise ChannelClosedError
        content += piece
    return content


def _wait(descriptor: int, event: int, deadline: float | None) -> None:
    if deadline is None:
        return
    poll = select.poll()
    poll.register(descriptor, event)
    left = deadline - time.monotonic()
    if left <= 0 or not poll.poll(left * 1000):
        raise ChannelTimeoutError
