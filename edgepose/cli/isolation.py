"""The option ``--untrusted``, of the commands that open files from somebody else."""

import argparse

__all__ = ["add_untrusted_option"]


def add_untrusted_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--untrusted``."""
    parser.add_argument(
        "--untrusted",
        action="store_true",
        help="open the file in a process of its own, with limits on memory, time and files and without network (Linux, CPU)",
    )
