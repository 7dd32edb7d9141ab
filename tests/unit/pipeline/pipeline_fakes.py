"""Sources, detectors, trackers and a model that tests steer."""

import threading
import time

import numpy as np

from edgepose.pipeline.frame import Detections, Failure, Frame
from edgepose.pipeline.protocols import SourceInfo
from edgepose.runtime.session import SessionInfo
from edgepose.skeleton import Skeleton
from edgepose.spec import Architecture, Codec, InputSpec, ModelSpec, Provenance

INPUT = InputSpec(height=64, width=48)


def make_spec(keypoints=3):
    return ModelSpec(
        name="fake",
        input=INPUT,
        codec=Codec(),
        skeleton=Skeleton.unnamed(keypoints),
        architecture=Architecture(dim=48, depth=1, heads=3, head="simple"),
        provenance=Provenance(source="fake"),
    )


class FakeSession:
    """Heatmaps whose peak lies in the middle, as high as the crop is bright; a black crop's isn't finite where asked."""

    def __init__(self, *, streams=1, seconds=0.0, fail_on_black=False):
        self.spec = make_spec()
        self.info = SessionInfo(runtime="fake", version="1", requested="auto", device="none", threads=None, batch=None, streams=streams)
        self.seconds = seconds
        self.fail_on_black = fail_on_black
        self.calls = 0
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def run(self, batch):
        with self._lock:
            self.calls += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.seconds)
        heatmaps = np.zeros((len(batch), *self.spec.heatmap_shape), np.float32)
        brightness = batch.mean(axis=(1, 2, 3)) + 2.5
        heatmaps[:, :, 8, 6] = brightness[:, None]
        if self.fail_on_black:
            heatmaps[brightness < 1] = np.nan
        with self._lock:
            self.at_once -= 1
        return heatmaps


class FakeSource:
    """Frames (or failures, or an error to raise) from a list; each value is the picture's brightness, or the picture."""

    def __init__(self, values, *, live=False, gap_s=0.0, size=(40, 60), hang=False):
        self.info = SourceInfo(name="fake", kind="iterable", live=live, frames=None, rate_hz=None, size=size[::-1], reader="fake")
        self._values = values
        self._gap_s = gap_s
        self._size = size
        self._hang = hang
        self.given = 0
        self.closed = threading.Event()

    def __iter__(self):
        for index, value in enumerate(self._values):
            if self._gap_s:
                self.closed.wait(self._gap_s)
            if self.closed.is_set():
                return
            self.given += 1
            if isinstance(value, Exception):
                raise value
            if isinstance(value, str):
                yield Failure(index=index, time_s=index / 10, name="fake", reason=value)
            else:
                image = value if isinstance(value, np.ndarray) else np.full((*self._size, 3), value, np.uint8)
                yield Frame(image=image, index=index, time_s=index / 10, name="fake")
        if self._hang:
            self.closed.wait(30)

    def close(self):
        self.closed.set()


class FakeDetector:
    """Everybody in ``boxes``, or in what it says of a frame's index; remembers which frames it was asked about."""

    description = "fake"

    def __init__(self, boxes=((10, 5, 30, 35),), scores=None, *, images_only=True, error_on=(), seconds=0.0):
        self.images_only = images_only
        self._boxes = boxes if callable(boxes) else lambda _index: boxes
        self._scores = None if scores is None else np.array(scores, np.float32)
        self._error_on = error_on
        self._seconds = seconds
        self.asked = []
        self.closed = False

    def find(self, frame):
        time.sleep(self._seconds)
        self.asked.append(frame.index)
        for index, error in self._error_on:
            if frame.index == index:
                raise error
        return Detections(boxes_xyxy=np.array(self._boxes(frame.index), np.float32).reshape(-1, 4), scores=self._scores)

    def close(self):
        self.closed = True


class FakeTracker:
    """Carries boxes on, one pixel to the right per frame."""

    def __init__(self):
        self.log = []
        self._boxes = np.zeros((0, 4), np.float32)

    def carry(self, frame):
        self.log.append(("carry", frame.index))
        return Detections(boxes_xyxy=self._boxes + np.float32([1, 0, 1, 0]), scores=None)

    def match(self, frame, detections):
        self.log.append(("match", frame.index))
        return detections

    def update(self, frame, poses):
        self.log.append(("update", frame.index))
        self._boxes = poses.boxes_xyxy
        return poses, np.arange(1, len(poses) + 1)
