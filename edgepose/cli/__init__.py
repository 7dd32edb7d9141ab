"""The command ``edgepose``: one module per command, each with ``add_parser`` and ``run``."""

import argparse
import importlib
import io
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from edgepose import __version__
from edgepose.errors import EdgePoseError
from edgepose.printable import PrintableFormatter, printable
from edgepose.telemetry import switch_off

__all__ = ["main"]

COMMANDS = (
    "convert",
    "quantize",
    "distill",
    "predict",
    "evaluate",
    "label",
    "info",
    "verify",
    "benchmark",
    "report",
    "card",
    "devices",
    "models",
)

EXIT_OK, EXIT_FAILED = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; ``None`` takes the process's.

    Returns:
        0 when all went well, 1 when the work failed. Wrong usage exits with 2.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file name or a spec may hold what the terminal's encoding can't show; it isn't worth a traceback.
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    options = parser.parse_args(arguments)
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(PrintableFormatter("%(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, handlers=[shown])
    switch_off()
    # OpenCV would print its own lines above our one about an unreadable photo. It reads this when it is imported.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    try:
        with _interruptible():
            code: int = options.run(options)
        sys.stdout.flush()
    except EdgePoseError as error:
        print(f"edgepose {options.command}: {printable(str(error), continuation='  ')}", file=sys.stderr)
        return EXIT_FAILED
    except (KeyboardInterrupt, _InterruptedError):
        print(f"\nedgepose {options.command}: interrupted; nothing half-written is left behind", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`). Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgepose", description="ViTPose human-pose models on edge and mobile devices.")
    parser.add_argument("--version", action="version", version=f"edgepose {__version__}")
    parser.add_argument("--verbose", action="store_true", help="log what is going on")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"edgepose.cli.{name}")
        command = module.add_parser(commands)
        command.set_defaults(run=module.run)
    return parser


class _InterruptedError(BaseException):
    """Ctrl-C or SIGTERM. Not a KeyboardInterrupt: once that passes through ``exec``, Python ends the process by the signal itself."""


@contextmanager
def _interruptible() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C, so that what is half-written is removed on the way out of both."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise _InterruptedError

    signals = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, interrupt) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, previous, strict=True):
            signal.signal(number, handler)
