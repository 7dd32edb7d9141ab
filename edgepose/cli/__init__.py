"""The command ``edgepose``: one module per command, each with ``add_parser`` and ``run``."""

import argparse
import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence

from edgepose import __version__
from edgepose.cli.caches import private_caches
from edgepose.cli.interruption import InterruptionError, format_interruption, interruptible
from edgepose.errors import EdgePoseError
from edgepose.printable import PrintableFormatter, printable
from edgepose.telemetry import switch_off

__all__ = ["main"]

COMMANDS = (
    "convert",
    "quantize",
    "distill",
    "predict",
    "serve",
    "check",
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
    command = next((word for word in (sys.argv[1:] if arguments is None else arguments) if word in COMMANDS), "")
    try:
        with interruptible(command, last=arguments is None):
            options = _parser().parse_args(arguments)
            return _run(options)
    except (InterruptionError, KeyboardInterrupt):
        print(format_interruption(command), file=sys.stderr, flush=True)
        if arguments is None:
            # All is tidied up. Python's own end would wait for other threads' work, and take seconds to clear torch away.
            os._exit(EXIT_FAILED)
    except EdgePoseError as error:
        print(f"edgepose {command}: {printable(str(error), continuation='  ')}", file=sys.stderr)
    except BrokenPipeError:
        # The reader of our output has gone (`| head`). Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_FAILED


def _run(options: argparse.Namespace) -> int:
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(PrintableFormatter("%(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, handlers=[shown])
    switch_off()
    # OpenCV would print its own lines above our one about an unreadable photo. It reads this when it is imported.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    with private_caches(keep_compiled=getattr(options, "compile", False)):
        code: int = options.run(options)
    sys.stdout.flush()
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
