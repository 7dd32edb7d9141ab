"""``edgepose label``: a model's keypoints as training labels."""

import argparse
from pathlib import Path

from edgepose.cli.evaluation_options import add_run_options, read_run_options
from edgepose.cli.options import add_device_options, score
from edgepose.cli.progress import Progress

__all__ = ["add_parser", "run"]

_SHOWN = 5


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "label",
        help="label a folder of photos with a device file's keypoints",
        description="Write a device file's keypoints on a folder of photos as a COCO keypoint file, to train on with `edgepose distill`.",
    )
    parser.add_argument("artifact", metavar="ARTIFACT", type=Path, help="a file that `edgepose convert` wrote")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of the photos")
    parser.add_argument("--boxes", type=Path, required=True, metavar="FILE", help="person boxes as JSON: {photo: [[x1, y1, x2, y2], …], …}")
    parser.add_argument("--out", type=Path, default=Path("labels.json"), metavar="FILE", help="file to write (default: labels.json)")
    parser.add_argument("--min-score", type=score, default=0.3, metavar="S", help="keypoints scored below get no label (default: 0.3)")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored crops")
    add_run_options(parser)
    add_device_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from edgepose.artifact import open_artifact
    from edgepose.boxes import load_boxes
    from edgepose.evaluation.labelling import label_folder

    artifact = open_artifact(options.artifact)
    with Progress(1) as progress:
        labelled = label_folder(
            artifact,
            options.images,
            load_boxes(options.boxes),
            options.out,
            read_run_options(options),
            min_score=options.min_score,
            flip_test=options.flip,
            progress=lambda done, total: progress.move(done, total, artifact.path.name),
        )
        for why in (*labelled.unusable[:_SHOWN], *labelled.bad_boxes[:_SHOWN]):
            progress.print(f"edgepose label: left out: {why}")
    work = labelled.work
    speed = labelled.people / work.seconds
    print(f"{labelled.path}: {labelled.people} people in {labelled.pictures} photos, {speed:.1f} people/s: {work.runtime}")
    if labelled.without_boxes:
        print(f"left out: {labelled.without_boxes} photos without boxes")
    if labelled.unusable:
        print(f"left out: {len(labelled.unusable)} photos that can't be used")
    if labelled.bad_boxes:
        print(f"left out: {len(labelled.bad_boxes)} people whose boxes can't be used")
    return int(bool(labelled.unusable))
