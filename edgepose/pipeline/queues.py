"""A bounded queue between two threads, which either side can end."""

import threading
import time
from collections import deque
from typing import Generic, TypeVar

__all__ = ["BoundedQueue", "QueueEnded"]

_Item = TypeVar("_Item")


class QueueEnded(Exception):  # noqa: N818  # the end isn't an error
    """Nothing more comes, or nobody takes anything any more."""


class BoundedQueue(Generic[_Item]):
    """First in, first out.

    Args:
        size: how many items wait at most.
        drop_oldest: a full queue makes room by dropping what has waited longest, instead of letting the giver wait.
    """

    def __init__(self, size: int, *, drop_oldest: bool = False) -> None:
        self._items: deque[_Item] = deque()
        self._size = size
        self._drop_oldest = drop_oldest
        self._changed = threading.Condition()
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None
        self._dropped = 0

    def put(self, item: _Item) -> None:
        """Add an item.

        Raises:
            QueueEnded: nobody takes it any more.
        """
        with self._changed:
            while len(self._items) >= self._size and not self._drop_oldest and not self._closed:
                self._changed.wait()
            if self._closed:
                raise QueueEnded
            while len(self._items) >= self._size:
                self._items.popleft()
                self._dropped += 1
            self._items.append(item)
            self._changed.notify_all()

    def get(self) -> tuple[_Item, int]:
        """Take the item that has waited longest.

        Returns:
            It, and how many were dropped since the one before.

        Raises:
            QueueEnded: the giver has ended, or the queue is closed.
            BaseException: what the giver ended with, after all items.
        """
        with self._changed:
            while not self._items and not self._ended and not self._closed:
                self._changed.wait()
            if self._closed or not self._items:
                if self._error is not None and not self._closed:
                    raise self._error
                raise QueueEnded
            item, dropped = self._items.popleft(), self._dropped
            self._dropped = 0
            self._changed.notify_all()
            return item, dropped

    def take_within(self, seconds: float) -> _Item | None:
        """Take the item that has waited longest, or that comes in time; ``None`` where none does."""
        deadline = time.monotonic() + max(0.0, seconds)
        with self._changed:
            while not self._items and not self._ended and not self._closed:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def end(self, error: BaseException | None = None) -> None:
        """Say that no more comes; what is there can still be taken."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()

    def close(self) -> None:
        """Let both sides stop at once; what is there is dropped."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
