"""How much a client may ask for."""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from edgepose.errors import InputError

__all__ = ["RateLimiter", "ServingLimits"]

_CLIENTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingLimits:
    """Limits of a server.

    Attributes:
        body_bytes: of a request's body.
        body_s: in which it must arrive.
        pixels: of a picture.
        people: of a picture.
        at_once: requests that are worked on or wait; more are refused.
        per_second: requests of one client, on average; short bursts of twice as many pass.
        viewers: of the live page.

    Raises:
        InputError: a limit that isn't positive.
    """

    body_bytes: int = 10_000_000
    body_s: float = 15.0
    pixels: int = 50_000_000
    people: int = 100
    at_once: int = 32
    per_second: float = 50.0
    viewers: int = 16

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise InputError(f"{name} is {getattr(self, name)}; allowed: above zero")


class RateLimiter:
    """A token bucket for each client; forgets who hasn't asked for the longest time."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._most = max(1.0, 2 * per_second)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, client: str) -> float:
        """Take a token; returns 0, or the seconds after which there will be one."""
        now = time.monotonic()
        with self._lock:
            tokens, before = self._buckets.pop(client, (self._most, now))
            tokens = min(self._most, tokens + (now - before) * self._per_second)
            wait = 0.0 if tokens >= 1 else (1 - tokens) / self._per_second
            self._buckets[client] = (tokens - 1 if wait == 0 else tokens, now)
            while len(self._buckets) > _CLIENTS:
                self._buckets.popitem(last=False)
        return wait
