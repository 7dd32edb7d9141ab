"""What a person costs besides the network: crop, normalization and decoding, next to transformers and rtmlib.

    python -m edgepose_benchmarks.codec

Eight people in a frame of 1280×720, crops of 192×256, 17 keypoints, DARK with kernel 11. The three implementations take turns in one
process, with the same boxes and heatmaps; figures are medians, per person. transformers and rtmlib are measured if they are installed.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

import cv2
import numpy as np
import numpy.typing as npt

from edgepose.cli.table import format_table
from edgepose.crop import crop
from edgepose.heatmap import decode, encode, to_image
from edgepose.spec import Codec, InputSpec

__all__ = ["main"]

PEOPLE, KEYPOINTS = 8, 17
WARM_UP, BLOCK = 5, 10
INPUT, CODEC = InputSpec(), Codec()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """What every implementation gets.

    Attributes:
        image: (720, 1280, 3) uint8, RGB.
        boxes_xyxy: (N, 4).
        heatmaps: float32 (N, K, 64, 48).
    """

    image: npt.NDArray[np.uint8]
    boxes_xyxy: npt.NDArray[np.float64]
    heatmaps: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One implementation: what it does before the network, and what after, for all people of the frame."""

    name: str
    before: Callable[[], object]
    after: Callable[[], object]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="Crop, normalization and decoding, per person.")
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args(arguments)
    frame = _make_frame()
    contenders, absent = [_edgepose(frame)], []
    for name, make in (("transformers", _transformers), ("rtmlib", _rtmlib)):
        try:
            contenders.append(make(frame))
        except ImportError as error:
            absent.append([f"{name}: not installed ({error.name})", "", "", "", ""])
    times = _measure(contenders, options.rounds)
    totals = [before + after for before, after in times]
    rows = [
        [contender.name, f"{before:.3f} ms", f"{after:.3f} ms", f"{total:.3f} ms", f"{total / totals[0]:.1f} ×"]
        for contender, (before, after), total in zip(contenders, times, totals, strict=True)
    ]
    headers = ["per person", "crop + normalise", "decode", "both", "of edgepose"]
    print(format_table(headers, rows + absent, right=(1, 2, 3, 4)))
    print(
        f"\n{PEOPLE} people, {options.rounds} rounds, OpenCV {cv2.__version__} with {cv2.getNumThreads()} threads, numpy {np.__version__}"
    )


def _make_frame() -> Frame:
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    height = generator.uniform(200, 600, PEOPLE)
    width = height * generator.uniform(0.3, 0.6, PEOPLE)
    left, top = generator.uniform(0, 1280 - width), generator.uniform(0, 720 - height)
    keypoints_xy = generator.uniform((20, 20), (170, 230), (PEOPLE, KEYPOINTS, 2))
    heatmaps, _ = encode(keypoints_xy, np.ones((PEOPLE, KEYPOINTS)), INPUT, CODEC)
    return Frame(
        image=np.asarray(cv2.GaussianBlur(noise, (5, 5), 0), dtype=np.uint8),
        boxes_xyxy=np.stack([left, top, left + width, top + height], axis=1),
        heatmaps=heatmaps + generator.normal(0, 0.01, heatmaps.shape).astype(np.float32),
    )


def _measure(contenders: list[Contender], rounds: int) -> list[tuple[float, float]]:
    """Median milliseconds per person before and after the network.

    The contenders take turns in blocks, and the first calls of each block aren't counted: what one of them leaves behind (caches, freed
    memory, threads that still spin) would be measured with the next one otherwise.
    """
    samples: list[tuple[list[float], list[float]]] = [([], []) for _ in contenders]
    for _ in range(max(1, rounds // BLOCK)):
        for contender, times in zip(contenders, samples, strict=True):
            for index in range(WARM_UP + BLOCK):
                for work, values in zip((contender.before, contender.after), times, strict=True):
                    start = time.perf_counter_ns()
                    work()
                    if index >= WARM_UP:
                        values.append((time.perf_counter_ns() - start) / 1e6 / PEOPLE)
    return [(statistics.median(before), statistics.median(after)) for before, after in samples]


def _edgepose(frame: Frame) -> Contender:
    crops = crop(frame.image, frame.boxes_xyxy, INPUT, CODEC)

    def after() -> object:
        coordinates, scores = decode(frame.heatmaps, CODEC)
        return to_image(coordinates, crops.centres, crops.sizes, INPUT.heatmap_size, CODEC), scores

    return Contender(name="edgepose", before=lambda: crop(frame.image, frame.boxes_xyxy, INPUT, CODEC), after=after)


def _transformers(frame: Frame) -> Contender:
    import torch
    from transformers import VitPoseImageProcessor
    from transformers.models.vitpose.modeling_vitpose import VitPoseEstimatorOutput

    processor = VitPoseImageProcessor()
    boxes_xywh = np.concatenate([frame.boxes_xyxy[:, :2], frame.boxes_xyxy[:, 2:] - frame.boxes_xyxy[:, :2]], axis=1).tolist()
    output = VitPoseEstimatorOutput(heatmaps=torch.from_numpy(frame.heatmaps))
    return Contender(
        name=f"transformers {metadata.version('transformers')}",
        before=lambda: processor(images=frame.image, boxes=[boxes_xywh], return_tensors="pt"),
        after=lambda: processor.post_process_pose_estimation(output, boxes=[boxes_xywh]),
    )


def _rtmlib(frame: Frame) -> Contender:
    from rtmlib.tools.pose_estimation.vitpose import ViTPose

    model = ViTPose.__new__(ViTPose)  # its constructor loads a network, which isn't measured here
    model.model_input_size = (INPUT.width, INPUT.height)
    model.mean, model.std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    prepared = [model.preprocess(frame.image, box) for box in frame.boxes_xyxy]

    def before() -> object:
        # Its network's input is made from this by `inference`: the cast and the transposition belong to the crop.
        images = (model.preprocess(frame.image, box)[0] for box in frame.boxes_xyxy)
        return [np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32) for image in images]

    def after() -> object:
        # It smooths the heatmaps in place, so each round needs new ones: the copy takes less than a hundredth of the time.
        people = zip(frame.heatmaps, prepared, strict=True)
        return [model.postprocess([heatmaps[None].copy()], centre, scale) for heatmaps, (_, centre, scale) in people]

    return Contender(name=f"rtmlib {metadata.version('rtmlib')}", before=before, after=after)


if __name__ == "__main__":
    main()
