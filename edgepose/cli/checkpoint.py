"""Options that choose how a checkpoint is read, for the commands that take one."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edgepose.cli.options import input_size
from edgepose.errors import MissingDependencyError
from edgepose.skeleton import Skeleton, load_skeleton

if TYPE_CHECKING:
    from edgepose.models import Checkpoint

__all__ = ["add_checkpoint_options", "read_checkpoint"]


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--dataset``, ``--skeleton``, ``--input-size`` and ``--trained-size``."""
    parser.add_argument(
        "--dataset",
        help="what the head was trained on, where the checkpoint doesn't say, and for ViTPose+ whose expert and head to take: coco, aic, "
        "mpii, ap10k, apt36k, wholebody or crowdpose",
    )
    parser.add_argument("--skeleton", type=Path, metavar="FILE", help="JSON file that names the keypoints of the head")
    parser.add_argument(
        "--input-size", type=input_size, metavar="HxW", help="height and width, multiples of 16 (default: the checkpoint's)"
    )
    parser.add_argument(
        "--trained-size",
        type=input_size,
        metavar="HxW",
        help="height and width that the checkpoint was trained at, where it doesn't say and --input-size is another",
    )


def read_checkpoint(
    model: str | None, options: argparse.Namespace, *, name: str | None = None, default_skeleton: Skeleton | None = None
) -> "Checkpoint":
    """Load the checkpoint that the options describe; ``None`` is the model in the package.

    Args:
        model: file, folder or hub id.
        options: see ``add_checkpoint_options``.
        name: the model's name; by default made of size, head and data set.
        default_skeleton: the keypoints, where neither an option nor the checkpoint names them.

    Raises:
        InputError: the checkpoint leaves open what its keypoints are or at which size it was trained, and so do the options.
    """
    try:
        from edgepose.models import load_checkpoint
    except ModuleNotFoundError as error:
        raise MissingDependencyError(error.name or "torch", extra="convert", purpose="Reading a checkpoint") from None
    from edgepose.assets import DEFAULT_MODEL

    return load_checkpoint(
        model or DEFAULT_MODEL,
        dataset=options.dataset,
        skeleton=load_skeleton(options.skeleton) if options.skeleton else None,
        default_skeleton=default_skeleton,
        input_size=options.input_size,
        trained_size=options.trained_size,
        name=name,
        assume=False,
    )
