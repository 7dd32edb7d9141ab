"""A detector that is a network."""

import numpy as np
import numpy.typing as npt

from edgepose.errors import EdgePoseError, InputError
from edgepose.pipeline.detection.kind import DetectorKind
from edgepose.pipeline.detection.letterbox import letterbox
from edgepose.pipeline.frame import Detections, Frame
from edgepose.runtime.network import Network

__all__ = ["NetworkDetector"]


class NetworkDetector:
    """Finds people with a network; see ``edgepose.pipeline.protocols.Detector``. Usable from several threads at once.

    Args:
        network: the loaded network; closed with the detector.
        kind: how it is used.
        name: for the description.
        min_score: boxes that score less are left out, 0 to 1.

    Raises:
        InputError: ``min_score`` is out of range.
    """

    images_only = True

    def __init__(self, network: Network, kind: DetectorKind, name: str, *, min_score: float) -> None:
        if not 0 <= min_score <= 1:
            raise InputError(f"min_score is {min_score}; allowed: 0 to 1")
        self.description = f"{name} on {network.info}"
        self._network = network
        self._kind = kind
        self._min_score = min_score
        shape = network.inputs[0].shape or (None,) * 4
        self._size = (shape[2] or kind.default_size[0], shape[3] or kind.default_size[1])

    def find(self, frame: Frame) -> Detections:
        """Find the people; see ``Detector``."""
        return self.find_in(frame.image)

    def find_in(self, image: npt.NDArray[np.uint8]) -> Detections:
        """Find the people in a picture.

        Args:
            image: (H, W, 3) uint8, RGB.

        Raises:
            EdgePoseError: the runtime failed.
        """
        height, width = self._size
        canvas, scale = letterbox(image, height, width)
        try:
            outputs = self._network.run(self._kind.prepare(canvas))
        except EdgePoseError:
            raise
        except Exception as error:  # each runtime has exception types of its own
            raise EdgePoseError(f"{self.description} failed: {error}") from error
        boxes, scores = self._kind.decode(outputs, height, width)
        kept = (scores >= self._min_score) & np.isfinite(boxes).all(axis=1)
        sides = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
        found = np.clip(boxes[kept] / np.float32(scale), 0, sides)
        scores = scores[kept]
        # What lies in the grey beside the picture is nobody.
        inside = (found[:, 2:] - found[:, :2] >= 1).all(axis=1)
        return Detections(boxes_xyxy=found[inside], scores=np.clip(scores[inside], 0, 1))

    def close(self) -> None:
        """Free the network."""
        self._network.close()
