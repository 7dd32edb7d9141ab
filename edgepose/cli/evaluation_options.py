"""The options of ``edgepose evaluate``, ``edgepose label`` and ``edgepose convert --accept-if``."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from edgepose.cli.options import MAX_THREADS, add_max_pixels_option, score, whole_number
from edgepose.errors import InputError

if TYPE_CHECKING:
    from edgepose.evaluation.evaluation import Request
    from edgepose.evaluation.running import RunOptions

__all__ = ["add_data_options", "add_run_options", "read_request", "read_run_options"]


def add_data_options(parser: "argparse.ArgumentParser | argparse._ArgumentGroup", *, required: bool) -> None:
    """Add ``--annotations``, ``--images``, ``--detections`` and how keypoints are found and judged."""
    parser.add_argument(
        "--annotations", type=Path, required=required, metavar="FILE", help="COCO keypoint JSON (or the like), or MPII's annotations"
    )
    parser.add_argument("--images", type=Path, required=required, metavar="DIR", help="folder of the pictures")
    parser.add_argument("--detections", type=Path, metavar="FILE", help="a detector's boxes, COCO results JSON (default: annotated boxes)")
    parser.add_argument("--min-box-score", type=score, default=0.0, metavar="S", help="leave out detections below (default: 0)")
    parser.add_argument(
        "--protocol",
        metavar="NAME",
        help="coco, wholebody, crowdpose, aic, ap10k, mpii or pck (default: by the annotations)",
    )
    parser.add_argument("--flip", action="store_true", help="average with the mirrored crops, as papers do")
    parser.add_argument(
        "--procedure",
        "--decode",
        choices=("published", "transformers", "mmpose1"),
        default="published",
        help="crop and decode as published (mmpose 0.x), or as transformers' image processor or mmpose 1.x does (default: published)",
    )
    parser.add_argument("--skip-missing", action="store_true", help="evaluate the rest where pictures are missing")
    parser.add_argument(
        "--keypoints-as-listed",
        action="store_true",
        help="take the annotations' keypoints for the model's, in their order, where their names can't be compared; the result says so",
    )


def read_request(options: argparse.Namespace) -> "Request":
    """Return what ``add_data_options`` asked for.

    Raises:
        InputError: the least score isn't a number of 0 or more.
    """
    if not 0 <= options.min_box_score < math.inf:
        raise InputError(f"--min-box-score is {options.min_box_score}; it must be 0 or more, on the scale of the detections' scores")
    from edgepose.evaluation.evaluation import Request

    return Request(
        annotations=options.annotations,
        images=options.images,
        detections=options.detections,
        protocol=options.protocol,
        min_score=options.min_box_score,
        flip_test=options.flip,
        procedure=options.procedure,
        skip_missing=options.skip_missing,
        keypoints_as_listed=options.keypoints_as_listed,
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add how a model runs over many people, beside ``--device`` and ``--threads``."""
    parser.add_argument("--batch", type=whole_number(1, 4096), default=8, metavar="N", help="crops per call (default: 8)")
    parser.add_argument(
        "--streams", type=whole_number(1, MAX_THREADS), default=1, metavar="N", help="calls that run at the same time (default: 1)"
    )
    parser.add_argument(
        "--workers", type=whole_number(1, MAX_THREADS), default=2, metavar="N", help="threads that read and decode (default: 2)"
    )
    parser.add_argument(
        "--ray", type=whole_number(1, 10_000), metavar="N", help="run N models as actors of a Ray cluster, a thread each (see --threads)"
    )
    add_max_pixels_option(parser)
    parser.add_argument("--ray-address", metavar="HOST:PORT", help="of a running cluster (default: one on this machine)")


def read_run_options(options: argparse.Namespace) -> "RunOptions":
    """Return what ``add_run_options`` and ``add_device_options`` asked for.

    Raises:
        InputError: a cluster's address, but not how many models run on it.
    """
    from edgepose.evaluation.distributed import Cluster
    from edgepose.evaluation.running import RunOptions

    if options.ray_address and not options.ray:
        raise InputError("--ray-address names a cluster; say with --ray N how many models run on it")
    return RunOptions(
        device=options.device,
        threads=options.threads,
        streams=options.streams,
        options=dict(options.option),
        batch=options.batch,
        workers=options.workers,
        max_pixels=options.max_pixels,
        cluster=Cluster(workers=options.ray, address=options.ray_address, cpus=options.threads or 1) if options.ray else None,
    )
