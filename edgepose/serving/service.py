"""A picture in, its poses out: what ``POST /pose`` does."""

import json
import time
from typing import Any

import numpy as np

from edgepose.boxes import judge_boxes
from edgepose.errors import InputError
from edgepose.estimator import PoseEstimator
from edgepose.image import decode_image
from edgepose.pipeline.frame import Frame
from edgepose.pipeline.protocols import Detector
from edgepose.serving.joining import JoinedSession
from edgepose.serving.limits import ServingLimits

__all__ = ["PoseService"]

_BOXES_BYTES = 1_000_000


class PoseService:
    """Usable from many threads at once; their crops share calls of the model.

    Args:
        session: the model, joined.
        detector: who is in a picture that comes without boxes.
        limits: of a picture.
    """

    def __init__(self, session: JoinedSession, detector: Detector, limits: ServingLimits) -> None:
        self.session = session
        self.detector = detector
        self._limits = limits
        self._estimator = PoseEstimator(session)  # type: ignore[arg-type]  # it has what is used of a Session: spec and run

    def find(self, content: bytes, *, boxes: str | None = None, whole: bool = False) -> dict[str, Any]:
        """Find the poses in a picture.

        Args:
            content: of an image file.
            boxes: JSON, [[left, top, right, bottom], …] with scores and classes or without; instead of detection.
            whole: the picture is one person; instead of detection.

        Returns:
            ``width``, ``height``, ``looked_for``, ``seconds`` by step, and what ``Poses.to_document`` gives.

        Raises:
            InputError: the picture or the boxes can't be used.
            EdgePoseError: a runtime failed.
        """
        times = [time.perf_counter()]
        image = decode_image(content, "the picture", max_pixels=self._limits.pixels)
        times.append(time.perf_counter())
        if boxes is not None:
            rows, looked_for = _read_boxes(boxes), "people: boxes of the request"
        elif whole:
            rows, looked_for = [[0, 0, image.shape[1], image.shape[0]]], "people: the whole picture is one person"
        else:
            found = self.detector.find(Frame(image=image, index=0, time_s=None, name="the picture"))
            scores = np.ones(len(found)) if found.scores is None else found.scores
            order = np.sort(np.argsort(-scores, kind="stable")[: self._limits.people])
            rows = np.concatenate([found.boxes_xyxy, scores[:, None]], axis=1)[order]
            looked_for = f"people: {self.detector.description}"
        if len(rows) > self._limits.people:
            raise InputError(f"{len(rows)} boxes; allowed: {self._limits.people} for a picture")
        times.append(time.perf_counter())
        poses = self._estimator.estimate(image, judge_boxes(rows, image.shape, form_is_known=boxes is None))
        times.append(time.perf_counter())
        seconds = dict(zip(("decode", "detect", "pose"), (round(float(step), 6) for step in np.diff(times)), strict=True))
        facts = {"width": image.shape[1], "height": image.shape[0], "looked_for": looked_for, "seconds": seconds}
        return facts | poses.to_document()


def _read_boxes(text: str) -> Any:
    if len(text) > _BOXES_BYTES:
        raise InputError(f"boxes have {len(text)} characters; allowed: {_BOXES_BYTES}")
    try:
        rows = json.loads(text)
        return np.array(rows, np.float64) if rows else np.empty((0, 4))
    except (ValueError, RecursionError, TypeError):
        raise InputError("boxes aren't JSON of the form [[left, top, right, bottom], …]") from None
