"""Options that several commands share, and readers of option values."""

import argparse

__all__ = ["add_device_options", "add_json_option", "batch_size", "comma_list", "input_size", "key_value"]


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, ``--threads`` and ``--option``."""
    parser.add_argument("--device", default="auto", metavar="[RUNTIME:]DEVICE", help="see `edgepose devices` (default: auto)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: the runtime decides)")
    parser.add_argument(
        "--option", action="append", type=key_value, default=[], metavar="KEY=VALUE", help="a setting of the runtime; may be repeated"
    )


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


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
    height, _, width = text.lower().partition("x")
    if not (height.isascii() and height.isdigit() and width.isascii() and width.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} isn't HEIGHTxWIDTH, such as 256x192")
    size = int(height), int(width)
    if any(side % 16 or not 32 <= side <= 4096 for side in size):
        raise argparse.ArgumentTypeError(f"{text!r}: height and width must be multiples of 16 from 32 to 4096")
    return size


def batch_size(text: str) -> int | None:
    """Read a batch size, or ``dynamic``."""
    if text == "dynamic":
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 4096):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number from 1 to 4096 nor 'dynamic'")
    return int(text)
