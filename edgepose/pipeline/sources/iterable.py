"""Frames that Python code makes: arrays, pairs of time and array, or ``Frame``s."""

import threading
from collections.abc import Iterable, Iterator, Sized
from dataclasses import replace
from typing import Any

import numpy as np

from edgepose.errors import InputError
from edgepose.image import check_image
from edgepose.pipeline.frame import Failure, Frame
from edgepose.pipeline.protocols import SourceInfo

__all__ = ["IterableSource"]


class IterableSource:
    """Takes (H, W, 3) uint8 RGB arrays, (seconds, array) or ``Frame``; what is neither is a ``Failure`` in its place.

    Pictures are copied: they are read ahead, and a generator may well put the next one into the same array.
    """

    def __init__(self, items: Iterable[Any], *, rate_hz: float | None = None) -> None:
        frames = len(items) if isinstance(items, Sized) else None
        name = type(items).__name__
        self.info = SourceInfo(name=name, kind="iterable", live=False, frames=frames, rate_hz=rate_hz, size=None, reader="Python")
        self._items = items
        self._rate_hz = rate_hz
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame | Failure]:
        items = iter(self._items)
        index = 0
        try:
            for item in items:
                if self._closed.is_set():
                    return
                yield self._take(index, item)
                index += 1
        finally:
            # A generator is closed where it ran, not by the collector at some time.
            close = getattr(items, "close", None)
            if callable(close):
                close()

    def close(self) -> None:
        """Stop at the next item."""
        self._closed.set()

    def _take(self, index: int, item: Any) -> Frame | Failure:
        time_s = None if self._rate_hz is None else index / self._rate_hz
        if isinstance(item, Frame):
            return replace(item, image=np.array(item.image))
        image = item
        if isinstance(item, tuple) and len(item) == 2:
            stated, image = item
            if not isinstance(stated, int | float | np.number) or not np.isfinite(stated):
                return Failure(index=index, time_s=None, name=self.info.name, reason=f"item {index}: time {stated!r} isn't seconds")
            time_s = float(stated)
        try:
            return Frame(image=check_image(image).copy(), index=index, time_s=time_s, name=self.info.name)
        except InputError as error:
            return Failure(index=index, time_s=time_s, name=self.info.name, reason=f"item {index}: {error}")
