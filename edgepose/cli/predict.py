"""``edgepose predict``: poses on photos, drawn and as JSON."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepose.cli.options import add_device_options, add_json_option
from edgepose.cli.progress import Progress
from edgepose.cli.table import format_table
from edgepose.errors import InputError

if TYPE_CHECKING:
    from edgepose.boxes import BoxFile
    from edgepose.estimator import PoseEstimator

__all__ = ["add_parser", "run"]


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "predict",
        help="find poses on photos with a device file",
        description="Find poses on photos. Writes NAME-pose.jpg, a drawing, and NAME-pose.json, the keypoints, for each.",
    )
    parser.add_argument("artifact", metavar="ARTIFACT", help="a file that `edgepose convert` wrote")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="FILE",
        help="person boxes as JSON: [[x1, y1, x2, y2], …] or {image name: [[…], …]} (default: the whole image)",
    )
    parser.add_argument("--out", type=Path, default=Path("poses"), metavar="DIR", help="folder to write to (default: poses)")
    parser.add_argument("--flip-test", action="store_true", help="average with the mirrored image: slower, a little more accurate")
    parser.add_argument("--min-score", type=float, default=0.3, metavar="S", help="draw keypoints from this score on (default: 0.3)")
    add_device_options(parser)
    add_json_option(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from edgepose.boxes import load_boxes
    from edgepose.estimator import PoseEstimator
    from edgepose.runtime import load

    names = _output_names(options.images)
    boxes = load_boxes(options.boxes) if options.boxes else None
    results: list[dict[str, Any]] = []
    failed = 0
    with load(options.artifact, options.device, options.threads, dict(options.option)) as session:
        estimator = PoseEstimator(session, flip_test=options.flip_test)
        with Progress(len(options.images)) as progress:
            for image, name in zip(options.images, names, strict=True):
                progress.note(image.name)
                try:
                    results.append(_predict(estimator, image, boxes, options.out / name, options.min_score))
                except InputError as error:
                    failed += 1
                    progress.print(f"edgepose predict: {error}")
                progress.step()
        runtime = str(session.info)
    if options.json:
        json.dump({"artifact": options.artifact, "runtime": runtime, "images": results}, sys.stdout, indent=2)
        print()
    elif results:
        rows = [[each["image"], str(len(each["people"])), f"{each['seconds'] * 1e3:.0f} ms", each["drawing"]] for each in results]
        print(format_table(["image", "people", "time", "drawing"], rows, right=(1, 2)))
        print(f"on {runtime}")
    return int(failed > 0)


def _predict(estimator: "PoseEstimator", path: Path, boxes: "BoxFile | None", stem: Path, min_score: float) -> dict[str, Any]:
    from edgepose.draw import draw_poses
    from edgepose.files import staged_file
    from edgepose.image import read_image, write_image

    image = read_image(path)
    start = time.perf_counter()
    try:
        poses = estimator(image, None if boxes is None else boxes.for_image(path.name))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    seconds = time.perf_counter() - start
    drawing, keypoints = stem.with_name(stem.name + ".jpg"), stem.with_name(stem.name + ".json")
    document = {"image": path.name, "width": image.shape[1], "height": image.shape[0], **poses.to_document()}
    try:
        write_image(drawing, draw_poses(image, poses, min_score=min_score))
        with staged_file(keypoints) as staged:
            staged.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise InputError(f"{drawing.parent}: can't be written to: {error.strerror or error}") from None
    return document | {"image": str(path), "seconds": seconds, "drawing": str(drawing), "keypoints": str(keypoints)}


def _output_names(images: list[Path]) -> list[str]:
    """Return ``NAME-pose`` for each image, numbered where two share a name."""
    names: list[str] = []
    for image in images:
        name, number = f"{image.stem}-pose", 2
        while name in names:
            name, number = f"{image.stem}-{number}-pose", number + 1
        names.append(name)
    return names
