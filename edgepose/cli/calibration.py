"""Options that name calibration photos, for the commands that quantize."""

import argparse
from pathlib import Path

__all__ = ["add_calibration_options"]


def add_calibration_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--calibration`` and ``--boxes``."""
    parser.add_argument(
        "--calibration", type=Path, nargs="+", default=[], metavar="PHOTO", help="photos of people, or folders of them, to calibrate on"
    )
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="FILE",
        help="the people on the calibration photos as JSON: {image name: [[x1, y1, x2, y2], …]} (default: each photo is one person)",
    )
