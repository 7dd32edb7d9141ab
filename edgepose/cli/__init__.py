"""The command ``edgepose``: one module per command, each with ``add_parser`` and ``run``."""

import argparse
import importlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from edgepose import __version__
from edgepose.errors import EdgePoseError

__all__ = ["main"]

COMMANDS = ("convert", "predict", "info", "verify", "devices", "models")

EXIT_OK, EXIT_FAILED = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; ``None`` takes the process's.

    Returns:
        0 when all went well, 1 when the work failed. Wrong usage exits with 2.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, _terminate)
    # OpenCV would print its own lines above our one about an unreadable photo. It reads this when it is imported.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except EdgePoseError as error:
        print(f"edgepose {options.command}: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
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


def _terminate(_number: int, _frame: FrameType | None) -> None:
    # As Ctrl-C: what is half-written is removed on the way out.
    raise KeyboardInterrupt
