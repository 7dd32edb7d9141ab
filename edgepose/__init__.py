"""edgepose: ViTPose human-pose models on edge and mobile devices.

    import edgepose

    session = edgepose.load("vitpose-s-fp16.xml")
    poses = edgepose.PoseEstimator(session)(image, boxes)

    for frame in edgepose.stream("walk.mp4", "vitpose-s-fp16.xml", track=True):
        print(frame.ids, frame.poses.keypoints_xy)

Importing this package loads no runtime, no OpenCV and no torch: each name below is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "EdgePoseError",
    "ModelSpec",
    "PoseEstimator",
    "Poses",
    "Session",
    "Skeleton",
    "__version__",
    "draw_poses",
    "list_runtimes",
    "load",
    "open_detector",
    "read_image",
    "stream",
]

if TYPE_CHECKING:
    from edgepose.drawing import draw_poses
    from edgepose.errors import EdgePoseError
    from edgepose.estimator import PoseEstimator, Poses
    from edgepose.image import read_image
    from edgepose.pipeline.detection import open_detector
    from edgepose.pipeline.opening import stream
    from edgepose.runtime import Session, list_runtimes, load
    from edgepose.skeleton import Skeleton
    from edgepose.spec import ModelSpec

_HOMES = {
    "EdgePoseError": "edgepose.errors",
    "ModelSpec": "edgepose.spec",
    "PoseEstimator": "edgepose.estimator",
    "Poses": "edgepose.estimator",
    "Session": "edgepose.runtime",
    "Skeleton": "edgepose.skeleton",
    "draw_poses": "edgepose.drawing",
    "list_runtimes": "edgepose.runtime",
    "load": "edgepose.runtime",
    "open_detector": "edgepose.pipeline.detection",
    "read_image": "edgepose.image",
    "stream": "edgepose.pipeline.opening",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgepose' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
