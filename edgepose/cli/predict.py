"""``edgepose predict``: poses on photos, drawn and as JSON."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepose.cli.isolation import add_untrusted_option
from edgepose.cli.options import add_device_options, add_json_option, add_max_pixels_option, score
from edgepose.cli.progress import Progress
from edgepose.cli.table import format_table
from edgepose.errors import InputError

if TYPE_CHECKING:
    from edgepose.boxes import BoxFile
    from edgepose.estimator import PoseEstimator

__all__ = ["add_parser", "run"]

_SHOWN = 3


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "predict",
        help="find poses on photos with a device file",
        description="Find poses on photos. Writes NAME-pose.jpg, a drawing, and NAME-pose.json, the keypoints, for each. A box that can't "
        "be used (outside the image, say) is a person without keypoints, and a reason. The exit code is 1 where an image can't be used, or "
        "none of its boxes can.",
    )
    parser.add_argument("artifact", metavar="ARTIFACT", help="a file that `edgepose convert` wrote")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="FILE",
        help="person boxes as JSON: [[x1, y1, x2, y2], …], {image name: [[…], …]} or COCO's detections; boxes may have a score and a "
        "class, of which 0 are people (default: the whole image)",
    )
    parser.add_argument("--out", type=Path, default=Path("poses"), metavar="DIR", help="folder to write to (default: poses)")
    parser.add_argument("--flip-test", action="store_true", help="average with the mirrored image: slower, a little more accurate")
    parser.add_argument("--min-score", type=score, default=0.3, metavar="S", help="draw keypoints from this score on (default: 0.3)")
    add_max_pixels_option(parser)
    add_device_options(parser)
    add_untrusted_option(parser)
    add_json_option(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from edgepose.boxes import load_boxes
    from edgepose.estimator import PoseEstimator
    from edgepose.runtime import load

    for image in options.images:
        if image.is_dir():
            raise InputError(f"{str(image)!r} is a folder: name the images in it, e.g. {image / '*.jpg'}")
    names = _output_names(options.images)
    boxes = load_boxes(options.boxes) if options.boxes else None
    if boxes is not None:
        boxes.check_names(options.images)
    results: list[dict[str, Any]] = []
    failed = 0
    with load(options.artifact, options.device, options.threads, dict(options.option), untrusted=options.untrusted) as session:
        estimator = PoseEstimator(session, flip_test=options.flip_test)
        with Progress(len(options.images)) as progress:
            for image, name in zip(options.images, names, strict=True):
                progress.note(image.name)
                try:
                    result, reasons = _predict(estimator, image, boxes, options.out / name, options)
                except InputError as error:
                    failed += 1
                    progress.print(f"edgepose predict: {error}")
                else:
                    results.append(result)
                    failed += 0 < len(reasons) == len(result["people"])
                    if reasons:
                        progress.print(f"edgepose predict: {image}: {_explain(reasons, len(result['people']))}")
                progress.step()
        runtime = str(session.info)
    if options.json:
        json.dump({"artifact": options.artifact, "runtime": runtime, "images": results}, sys.stdout, indent=2)
        print()
    elif results:
        rows = [[each["image"], _count(each["people"]), f"{each['seconds'] * 1e3:.0f} ms", each["drawing"]] for each in results]
        print(format_table(["image", "people", "time", "drawing"], rows, right=(1, 2)))
        print(f"on {runtime}")
    return int(failed > 0)


def _predict(
    estimator: "PoseEstimator", path: Path, boxes: "BoxFile | None", stem: Path, options: argparse.Namespace
) -> tuple[dict[str, Any], list[str]]:
    """Write the poses of an image; return them, and why boxes couldn't be used."""
    from edgepose.drawing import draw_poses
    from edgepose.files import staged_file
    from edgepose.image import read_image, write_image

    image = read_image(path, max_pixels=options.max_pixels)
    start = time.perf_counter()
    try:
        poses = estimator(image, None if boxes is None else boxes.rows_for_image(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    seconds = time.perf_counter() - start
    drawing, keypoints = stem.with_name(stem.name + ".jpg"), stem.with_name(stem.name + ".json")
    document = {"image": path.name, "width": image.shape[1], "height": image.shape[0], **poses.to_document()}
    try:
        write_image(drawing, draw_poses(image, poses, min_score=options.min_score))
        with staged_file(keypoints) as staged:
            staged.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise InputError(f"{drawing.parent}: can't be written to: {error.strerror or error}") from None
    result = document | {"image": str(path), "seconds": seconds, "drawing": str(drawing), "keypoints": str(keypoints)}
    return result, [reason for reason in poses.reasons if reason]


def _explain(reasons: list[str], boxes: int) -> str:
    more = f"; and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    return f"{len(reasons)} of {boxes} boxes can't be used and have no pose: {'; '.join(reasons[:_SHOWN])}{more}"


def _count(people: list[dict[str, Any]]) -> str:
    without = sum("status" in person for person in people)
    return f"{len(people) - without} (+{without} without a pose)" if without else str(len(people))


def _output_names(images: list[Path]) -> list[str]:
    """Return ``NAME-pose`` for each image, numbered where two share a name."""
    names: list[str] = []
    for image in images:
        name, number = f"{image.stem}-pose", 2
        while name in names:
            name, number = f"{image.stem}-{number}-pose", number + 1
        names.append(name)
    return names
