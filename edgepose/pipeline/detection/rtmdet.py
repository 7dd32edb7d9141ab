"""RTMDet as mmdeploy exports it: non-maximum suppression is in the graph.

Preprocessing after mmdetection's configuration of RTMDet (Apache-2.0): BGR, ``(pixel - mean) / std`` of 0…255, grey below and to the right.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepose.pipeline.detection.kind import DetectorKind
from edgepose.runtime.ports import Port

__all__ = ["RTMDET"]

_MEAN = np.array([103.53, 116.28, 123.675], np.float32)[:, None, None]
_STD = np.array([57.375, 57.12, 58.395], np.float32)[:, None, None]
_PERSON = 0


def _recognise(inputs: Sequence[Port], outputs: Sequence[Port]) -> bool:
    return len(inputs) == 1 and [port.name for port in outputs] == ["dets", "labels"]


def _prepare(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    planes = image[..., ::-1].transpose(2, 0, 1).astype(np.float32)
    return np.ascontiguousarray((planes - _MEAN) / _STD)[None]


def _decode(outputs: Sequence[npt.NDArray[Any]], height: int, width: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    del height, width
    rows, labels = outputs[0][0].astype(np.float32), outputs[1][0]
    # Rows that the graph fills up with have no score.
    people = (labels == _PERSON) & (rows[:, 4] > 0)
    return rows[people, :4], rows[people, 4]


RTMDET = DetectorKind(
    name="RTMDet", default_size=(320, 320), default_min_score=0.55, recognise=_recognise, prepare=_prepare, decode=_decode
)
