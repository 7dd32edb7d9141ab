"""What a source is asked for beside its name."""

from dataclasses import dataclass
from typing import Literal

from edgepose.errors import InputError
from edgepose.image import MAX_PIXELS

__all__ = ["Reader", "SourceOptions"]

Reader = Literal["auto", "pyav", "opencv"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """See ``open_source``, whose arguments these are.

    Raises:
        InputError: a number out of range.
    """

    size: tuple[int, int] | None = None
    pixel_format: str = "rgb24"
    rate_hz: float | None = None
    reader: Reader = "auto"
    hardware: str | None = None
    timeout_s: float = 10.0
    reconnect: int = 0
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.size is not None and not all(1 <= side <= 32_766 for side in self.size):
            raise InputError(f"size is {self.size[0]}×{self.size[1]}; allowed: sides of 1 to 32766 pixels")
        if self.rate_hz is not None and not 0 < self.rate_hz <= 100_000:
            raise InputError(f"rate_hz is {self.rate_hz}; allowed: above 0 to 100000 frames per second")
        if not 0 < self.timeout_s <= 86_400:
            raise InputError(f"timeout_s is {self.timeout_s}; allowed: above 0 to 86400 seconds")
        if not 0 <= self.reconnect <= 1_000_000 or self.max_pixels < 1:
            raise InputError(f"reconnect is {self.reconnect} and max_pixels {self.max_pixels}; allowed: 0 to 1000000, and 1 and more")
