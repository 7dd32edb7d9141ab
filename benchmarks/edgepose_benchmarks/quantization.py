"""What quantizing a ViTPose-S takes and gives: time, memory, sizes and speed against the same runtime's fp32.

    python -m edgepose_benchmarks.quantization [--photos DIR --boxes FILE]

Weights are random: what they are makes no difference to these figures. Without photos it calibrates on pieces of the sample photo. The
files of a runtime take turns, call by call, so that the ratios hold on a machine that isn't quiet.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import edgepose
from edgepose.artifact import open_artifact
from edgepose.assets import SAMPLE_IMAGE
from edgepose.cli.table import format_bytes, format_table
from edgepose.files import temporary_folder
from edgepose.image import write_image
from edgepose_benchmarks.conversion import random_checkpoint
from edgepose_benchmarks.process import measure

__all__ = ["main", "write_pieces"]

_PHOTOS = 375
"""Every fifth is held out, so 300 are calibrated on."""

_SUFFIXES = {"openvino": ".xml", "onnx": ".onnx", "litert": ".tflite", "coreml": ".mlpackage"}
_PRECISIONS = ("fp32", "int8", "int8-dynamic", "int4", "int8-full")
_NOT_TIMED = ("coreml", "int8-full")
"""Core ML is evaluated for its values here, not for its speed; a fully integer file is for NPUs."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(description="Time, memory, size and speed of quantization.")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="calibration photos (default: pieces of the sample photo)")
    parser.add_argument("--boxes", type=Path, metavar="FILE", help="the people on them")
    parser.add_argument("--rounds", type=int, default=30, metavar="N", help="calls of each file (default: 30)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads of each runtime (default: 2)")
    options = parser.parse_args(arguments)
    with temporary_folder() as folder:
        photos = options.photos or write_pieces(folder / "photos")
        checkpoint, out = folder / "vitpose-s.safetensors", folder / "models"
        random_checkpoint("s", checkpoint)
        command = [sys.executable, "-m", "edgepose.cli", "convert", str(checkpoint), "--out", str(out)]
        boxes = ["--boxes", str(options.boxes)] if options.boxes else []
        static = measure([*command, "--precision", "int8", "--calibration", str(photos), *boxes])
        measure([*command, "--precision", "int8-full", "--recipe", str(out / "vitpose-s-int8.quantization.json")])
        measure([*command, "--precision", "fp32,int8-dynamic,int4"])
        row = ["ViTPose-S, 300 crops → four int8 files", f"{static.seconds:.0f} s", f"{static.peak_bytes / 1e9:.2f} GB"]
        print(format_table(["`edgepose convert --precision int8`, verification included", "time", "peak memory"], [row], right=(1, 2)))
        print()
        rows = [row for target in _SUFFIXES for row in _measure_target(target, out, options.rounds, options.threads)]
        print(format_table(["file", "size", "of fp32", "median", "times fp32's speed"], rows, right=(1, 2, 3, 4)))
    print(
        f"\n{options.rounds} calls of each file in turns, batch 1, {options.threads} threads; the ratio is the median of the rounds' ratios"
    )


def write_pieces(folder: Path) -> Path:
    """Write randomly placed pieces of the sample photo into a new folder, to calibrate on where there are no photos; return the folder."""
    folder.mkdir()
    image = edgepose.read_image(SAMPLE_IMAGE)
    generator = np.random.default_rng(0)
    for number in range(_PHOTOS):
        height = int(generator.integers(160, image.shape[0]))
        width = height * 3 // 4
        top, left = generator.integers(0, image.shape[0] - height + 1), generator.integers(0, image.shape[1] - width + 1)
        write_image(folder / f"{number:03}.png", image[top : top + height, left : left + width])
    return folder


def _measure_target(target: str, out: Path, rounds: int, threads: int) -> list[list[str]]:
    files = {precision: out / f"vitpose-s-{precision}{_SUFFIXES[target]}" for precision in _PRECISIONS}
    files = {precision: path for precision, path in files.items() if path.exists()}
    sizes = {precision: open_artifact(path).size_bytes for precision, path in files.items()}
    timed = [precision for precision in files if target not in _NOT_TIMED and precision not in _NOT_TIMED]
    seconds = _take_turns([files[precision] for precision in timed], rounds, threads) if timed else np.zeros((0, 1))
    rows = []
    for precision, path in files.items():
        speed = ["–", "–"]
        if precision in timed:
            ours = seconds[timed.index(precision)]
            speed = [f"{np.median(ours) * 1e3:.1f} ms", f"{np.median(seconds[0] / ours):.2f} ×"]
        rows.append([path.name, format_bytes(sizes[precision]), f"{sizes[precision] / sizes['fp32']:.1%}", *speed])
    return rows


def _take_turns(paths: list[Path], rounds: int, threads: int) -> np.ndarray:
    """Return seconds (files, rounds) of single calls, after three that aren't counted."""
    crops = np.random.default_rng(0).standard_normal((1, 3, 256, 192)).astype(np.float32)
    sessions = [edgepose.load(path, threads=threads) for path in paths]
    seconds = np.zeros((len(paths), rounds))
    for number in range(-3, rounds):
        for index, session in enumerate(sessions):
            start = time.perf_counter()
            session.run(crops)
            if number >= 0:
                seconds[index, number] = time.perf_counter() - start
    for session in sessions:
        session.close()
    return seconds


if __name__ == "__main__":
    main()
