"""Options that several commands share, and readers of option values.

A value that an option can't take ends with exit code 2 and a line that names the option, the value and what is allowed: readers of numbers
are made by ``whole_number`` and ``real_number``; no option is read by ``int`` or ``float`` themselves.
"""

import argparse
import re
from collections.abc import Callable

__all__ = [
    "MAX_SEED",
    "MAX_THREADS",
    "add_device_options",
    "add_json_option",
    "add_max_pixels_option",
    "batch_size",
    "comma_list",
    "input_size",
    "key_value",
    "real_number",
    "score",
    "size_in_pixels",
    "whole_number",
]

MAX_THREADS = 1024
MAX_SEED = 2**31 - 1
_MAX_BATCH = 4096
_MAX_PIXELS = 100_000_000
_NUMBER = re.compile(r"[-+]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})(e[-+]?\d{1,3})?", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"\d{1,18}", re.ASCII)
_SIZE = re.compile(r"(\d{1,4})x(\d{1,4})", re.ASCII)


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, ``--threads`` and ``--option``."""
    parser.add_argument("--device", default="auto", metavar="[RUNTIME:]DEVICE", help="see `edgepose devices` (default: auto)")
    parser.add_argument("--threads", type=whole_number(1, MAX_THREADS), metavar="N", help="CPU threads (default: the runtime decides)")
    parser.add_argument(
        "--option", action="append", type=key_value, default=[], metavar="KEY=VALUE", help="a setting of the runtime; may be repeated"
    )


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def add_max_pixels_option(parser: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """Add ``--max-pixels``."""
    parser.add_argument(
        "--max-pixels",
        type=whole_number(1, 32_766**2),
        default=_MAX_PIXELS,
        metavar="N",
        help="refuse larger pictures before they are decoded (default: 100000000)",
    )


def size_in_pixels(text: str) -> tuple[int, int]:
    """Read ``WIDTHxHEIGHT`` in pixels, as video tools write it."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text, re.ASCII)
    if match is None or not all(1 <= int(side) <= 32_766 for side in match.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} isn't WIDTHxHEIGHT with sides of 1 to 32766 pixels, such as 640x480")
    return int(match.group(1)), int(match.group(2))


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from ``low`` to ``high``."""

    def read(text: str) -> int:
        if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} isn't a whole number from {low} to {high}")
        return int(text)

    return read


def real_number(low: float, high: float, *, above: bool = False) -> Callable[[str], float]:
    """Return a reader of numbers from ``low`` to ``high``; ``above``: ``low`` itself isn't one of them."""

    def read(text: str) -> float:
        value = float(text) if _NUMBER.fullmatch(text) else None
        if value is None or not low <= value <= high or (above and value == low):
            reach = f"above {low:g}, up to {high:g}" if above else f"from {low:g} to {high:g}"
            raise argparse.ArgumentTypeError(f"{text!r} isn't a number {reach}")
        return value

    return read


score = real_number(0, 1)
"""Reads a score."""


def key_value(text: str) -> tuple[str, str]:
    """Read ``KEY=VALUE``."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} isn't KEY=VALUE")
    return key, value


def comma_list(text: str) -> list[str]:
    """Read ``a,b,c``."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("expected a comma-separated list")
    return names


def input_size(text: str) -> tuple[int, int]:
    """Read ``HEIGHTxWIDTH``, both multiples of 16."""
    sides = _SIZE.fullmatch(text)
    if not sides:
        raise argparse.ArgumentTypeError(f"{text!r} isn't HEIGHTxWIDTH, such as 256x192")
    size = int(sides.group(1)), int(sides.group(2))
    if any(side % 16 or not 32 <= side <= 4096 for side in size):
        raise argparse.ArgumentTypeError(f"{text!r}: height and width must be multiples of 16 from 32 to 4096")
    return size


def batch_size(text: str) -> int | None:
    """Read a batch size, or ``dynamic``."""
    if text == "dynamic":
        return None
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= _MAX_BATCH:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number from 1 to {_MAX_BATCH} nor 'dynamic'")
    return int(text)
