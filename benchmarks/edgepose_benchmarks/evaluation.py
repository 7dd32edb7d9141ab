"""What an evaluation takes beside its inference: time on a data set like COCO, and memory as the data set grows.

    python -m edgepose_benchmarks.evaluation [--artifact FILE] [--people N]

The pictures are copies of the sample photo at COCO's size, two people in each. Time: `edgepose.evaluation` from the annotation file to the
figures, and the same number of crops through ``Session.run`` alone, in turns; the ratio is the median of the rounds' ratios. Memory: fresh
processes on a tiny model, whose only difference is the number of pictures.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

import edgepose
from edgepose.artifact import open_artifact
from edgepose.assets import SAMPLE_BOXES, SAMPLE_IMAGE
from edgepose.boxes import load_boxes
from edgepose.cli.table import format_bytes, format_table
from edgepose.evaluation.evaluation import Request, evaluate, open_data
from edgepose.evaluation.running import RunOptions
from edgepose.files import temporary_folder
from edgepose.image import write_image
from edgepose.skeleton import get_skeleton
from edgepose.spec import Architecture
from edgepose_benchmarks.conversion import random_checkpoint
from edgepose_benchmarks.process import measure

__all__ = ["main"]

_SIZE = (480, 640)  # height and width of most of COCO's pictures
_PEOPLE_PER_PICTURE = 2
_SIZES_OF_SETS = (1_000, 20_000)
_TINY = Architecture(dim=48, depth=1, heads=3, head="simple")
_FILES = 50  # distinct files; larger sets name them again


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(description="What an evaluation takes beside its inference.")
    parser.add_argument("--artifact", type=Path, help="model file (default: a ViTPose-S with random weights, OpenVINO fp32)")
    parser.add_argument("--people", type=int, default=200, metavar="N", help="people of the set (default: 200)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="turns of each (default: 3)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads of the runtime (default: 2)")
    options = parser.parse_args(arguments)
    with temporary_folder() as folder:
        annotations = _write_set(folder, options.people)
        artifact = options.artifact or _convert(folder, "s")
        _print_time(artifact, annotations, options.people, options.rounds, options.threads)
        print()
        _print_memory(_convert(folder, "tiny", _TINY), folder)


def _convert(folder: Path, name: str, architecture: Architecture | None = None) -> Path:
    checkpoint = folder / f"vitpose-{name}.safetensors"
    random_checkpoint(name, checkpoint, architecture)
    measure(
        [sys.executable, "-m", "edgepose.cli", "convert", str(checkpoint), "--to", "openvino", "--precision", "fp32", "--out", str(folder)]
    )
    return folder / f"vitpose-{name}-fp32.xml"


def _write_set(folder: Path, people: int) -> Path:
    """Write pictures and their annotations; return the annotation file."""
    image = edgepose.read_image(SAMPLE_IMAGE)
    scale = np.array([_SIZE[1] / image.shape[1], _SIZE[0] / image.shape[0]] * 2)
    boxes = load_boxes(SAMPLE_BOXES).for_image(SAMPLE_IMAGE)[:_PEOPLE_PER_PICTURE] * scale
    picture = cv2.resize(image, _SIZE[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)
    for number in range(_FILES):
        if not (folder / f"{number}.jpg").exists():
            write_image(folder / f"{number}.jpg", picture)
    names = get_skeleton("coco").keypoints
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number in range(-(-people // _PEOPLE_PER_PICTURE)):
        images.append({"id": number, "file_name": f"{number % _FILES}.jpg", "height": _SIZE[0], "width": _SIZE[1]})
        for left, top, right, bottom in boxes.tolist()[: people - _PEOPLE_PER_PICTURE * number]:
            points = [value for k in range(len(names)) for value in (left + (right - left) * k / len(names), (top + bottom) / 2, 2)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top) / 2,
                    "keypoints": points,
                    "num_keypoints": len(names),
                }
            )
    path = folder / f"people-{people}.json"
    categories = [{"id": 1, "name": "person", "keypoints": list(names)}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}), "utf-8")
    return path


def _print_time(path: Path, annotations: Path, people: int, rounds: int, threads: int) -> None:
    artifact = open_artifact(path)
    run = RunOptions(threads=threads)
    request = Request(annotations=annotations, images=annotations.parent)
    crops = np.random.default_rng(0).standard_normal((run.batch, *artifact.spec.input_shape)).astype(np.float32)
    whole, alone, busy = [], [], []
    for number in range(-1, rounds):
        start = time.perf_counter()
        work = evaluate(artifact, open_data(request, artifact.spec), run).evaluation.work
        seconds = time.perf_counter() - start
        with edgepose.load(path, threads=threads) as session:
            session.run(crops)
            start = time.perf_counter()
            for begin in range(0, people, run.batch):
                session.run(crops[: people - begin])
            pure = time.perf_counter() - start
        if number >= 0:
            whole.append(seconds)
            alone.append(pure)
            busy.append(work.device_seconds / work.seconds)
    ratios = [each / pure for each, pure in zip(whole, alone, strict=True)]
    row = [
        f"{artifact.path.name}, {people} people in {-(-people // _PEOPLE_PER_PICTURE)} pictures",
        f"{statistics.median(alone):.1f} s",
        f"{statistics.median(whole):.1f} s",
        f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
        f"{statistics.median(busy):.0%}",
    ]
    print(format_table(["evaluation", "inference alone", "everything", "ratio", "device busy"], [row], right=(1, 2, 3, 4)))


def _print_memory(path: Path, folder: Path) -> None:
    rows = []
    for people in _SIZES_OF_SETS:
        annotations = _write_set(folder, people)
        command = [sys.executable, "-m", "edgepose.cli", "evaluate", str(path), "--annotations", str(annotations), "--images", str(folder)]
        used = measure([*command, "--out", str(folder / "out"), "--threads", "1"])
        rows.append([f"{people:,}", format_bytes(used.peak_bytes), f"{used.seconds:.0f} s"])
    print(format_table(["people", "peak memory", "time"], rows, right=(0, 1, 2)))


if __name__ == "__main__":
    main()
