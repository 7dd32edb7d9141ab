"""A detector that is a network."""

from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from edgepose.errors import EdgePoseError, InputError
from edgepose.pipeline.detection.decoding import decode
from edgepose.pipeline.detection.letterbox import prepare
from edgepose.pipeline.detection.spec import DetectorSpec
from edgepose.pipeline.frame import Detections, Frame
from edgepose.runtime.network import Network

__all__ = ["NetworkDetector"]


class NetworkDetector:
    """Finds people with a network; see ``edgepose.pipeline.protocols.Detector``. Usable from several threads at once.

    Args:
        network: the loaded network; closed with the detector.
        spec: how it is used; its inputs and outputs are the network's.
        min_score: boxes that score less are left out, 0 to 1; by default as the spec says.
        title: what it is called in ``description``; by default the spec's name.

    Attributes:
        spec: as it was given.
        min_score: what counts.

    Raises:
        InputError: ``min_score`` is out of range.
    """

    images_only = True

    def __init__(self, network: Network, spec: DetectorSpec, *, min_score: float | None = None, title: str = "") -> None:
        self.min_score = spec.min_score if min_score is None else min_score
        if not 0 <= self.min_score <= 1:
            raise InputError(f"min_score is {self.min_score}; allowed: 0 to 1")
        self.spec = spec
        self.description = f"{title or spec.name} on {network.info}"
        self._network = network
        names = [port.name for port in network.outputs]
        self._order = [names.index(name) for name in spec.outputs] if set(spec.outputs) <= set(names) else list(range(len(names)))

    def find(self, frame: Frame) -> Detections:
        """Find the people; see ``Detector``."""
        return self.find_in(frame.image)

    def find_in(self, image: npt.NDArray[np.uint8]) -> Detections:
        """Find the people in a picture.

        Args:
            image: (H, W, 3) uint8, RGB.

        Raises:
            InputError: the detector is closed.
            EdgePoseError: the runtime failed, or gave something else than the spec says.
        """
        values, scale = prepare(image, self.spec.input)
        boxes, scores = decode(self.run(values), self.spec)
        kept = scores >= self.min_score
        sides = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
        found, scores = np.clip(boxes[kept] / np.float32(scale), 0, sides), scores[kept]
        # What lies in the grey beside the picture is nobody.
        inside = (found[:, 2:] - found[:, :2] >= 1).all(axis=1)
        return Detections(boxes_xyxy=found[inside], scores=scores[inside])

    def run(self, values: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """Compute the raw outputs.

        Args:
            values: ``spec.input_shape``, as ``letterbox.prepare`` makes it.

        Returns:
            The outputs in the order and of the shapes of ``spec.outputs``.

        Raises:
            InputError: the detector is closed.
            EdgePoseError: the runtime failed, or gave something else than the spec says.
        """
        found = self._network.run(values)
        outputs = [found[index] for index in self._order]
        for (name, shape), output in zip(self.spec.outputs.items(), outputs, strict=True):
            if output.ndim != len(shape) or any(wanted not in (None, size) for size, wanted in zip(output.shape, shape, strict=True)):
                raise EdgePoseError(f"{self.description} gave {name!r} of shape {output.shape}; its spec says {shape}")
        return outputs

    def close(self) -> None:
        """Free the network, after the calls that are running. Closing twice is allowed."""
        self._network.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
