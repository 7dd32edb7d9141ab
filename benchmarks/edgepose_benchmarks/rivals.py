"""Other ways to run a ViTPose on a frame, as workers that answer as edgepose's own does: ``python -m edgepose_benchmarks.rivals NAME``.

``transformers``: ``VitPoseForPoseEstimation`` with ``VitPoseImageProcessor``, in float32, on a folder in Hugging Face's layout.
``rtmlib``: its ``ViTPose`` on an ONNX file, with ONNX Runtime.

Each gets the frame and the boxes and gives keypoints, by its own pipeline, as its documentation shows.
"""

import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

from edgepose.errors import DeviceError, InputError
from edgepose_benchmarks.environment import Monitor
from edgepose_benchmarks.inputs import Inputs
from edgepose_benchmarks.loadgen import Limit, run_singly
from edgepose_benchmarks.protocol import Answer, Failed, Measure, Measured, Message, Open, Opened
from edgepose_benchmarks.result import SessionFacts
from edgepose_benchmarks.worker import answer_messages

__all__ = ["RIVALS", "main"]

Estimate = Callable[[int], object]


def _open_transformers(path: str, inputs: Inputs) -> Estimate:
    import torch
    from transformers import VitPoseForPoseEstimation, VitPoseImageProcessor
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = VitPoseForPoseEstimation.from_pretrained(path).eval()
    processor = VitPoseImageProcessor()
    sizes = inputs.boxes_xyxy[:, :, 2:] - inputs.boxes_xyxy[:, :, :2]
    boxes_xywh = np.concatenate([inputs.boxes_xyxy[:, :, :2], sizes], axis=2).tolist()

    def estimate(index: int) -> object:
        number = index % len(inputs.frames)
        boxes = [boxes_xywh[number]]
        prepared = processor(images=inputs.frames[number], boxes=boxes, return_tensors="pt")
        with torch.inference_mode():
            output = model(**prepared)
        return processor.post_process_pose_estimation(output, boxes=boxes)

    return estimate


def _open_rtmlib(path: str, inputs: Inputs) -> Estimate:
    from rtmlib.tools.pose_estimation.vitpose import ViTPose

    height, width = inputs.crops.shape[2:]
    model = ViTPose(path, model_input_size=(width, height), backend="onnxruntime", device="cpu")
    # It takes BGR, as cv2.imread gives it.
    frames = [np.ascontiguousarray(frame[..., ::-1]) for frame in inputs.frames]
    boxes = [boxes_xyxy.tolist() for boxes_xyxy in inputs.boxes_xyxy]
    return lambda index: model(frames[index % len(frames)], bboxes=boxes[index % len(frames)])


RIVALS: dict[str, Callable[[str, Inputs], Estimate]] = {"transformers": _open_transformers, "rtmlib": _open_rtmlib}
"""Name of the package → what opens a file and returns a function that estimates the frame of a number."""


class _Rival:
    """One process's answers."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._estimate: Estimate | None = None

    def reply(self, message: Message) -> Answer:
        if isinstance(message, Open):
            return self._open(message)
        if isinstance(message, Measure) and self._estimate is not None:
            monitor = Monitor()
            samples = run_singly(self._estimate, Limit(seconds=message.seconds, least=message.least, most=message.most))
            return Measured(samples_ns=tuple(samples), conditions=monitor.stop())
        return Failed(error=f"{self._name} has no answer to {type(message).__name__} here")

    def _open(self, request: Open) -> Opened:
        inputs = Inputs.load(Path(request.inputs))
        start = time.perf_counter()
        try:
            self._estimate = RIVALS[self._name](request.artifact, inputs)
        except ImportError as error:
            raise DeviceError(f"{self._name} isn't installed: {error}") from None
        load_s = time.perf_counter() - start
        start = time.perf_counter()
        self._estimate(0)
        facts = SessionFacts(runtime=self._name, version=metadata.version(self._name), device="cpu", streams=1, batch=None)
        return Opened(session=facts, load_s=load_s, import_s=0.0, first_s=time.perf_counter() - start)


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer until standard input ends.

    Raises:
        InputError: no rival has that name.
    """
    (name,) = arguments if arguments is not None else sys.argv[1:]
    if name not in RIVALS:
        raise InputError(f"there is no rival {name!r}; there are: {', '.join(RIVALS)}")
    return answer_messages(_Rival(name).reply)


if __name__ == "__main__":
    sys.exit(main())
