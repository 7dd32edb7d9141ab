"""The one way from boxes to keypoints: crop, run, decode.

Everything that finds poses goes through ``TopDown``: ``PoseEstimator``, streams, evaluation, labelling, training's validation. What differs
between them is who brings the images, and which threads do which of the three steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from edgepose.crop import Crops, crop
from edgepose.errors import InputError
from edgepose.heatmap import decode, flip_heatmaps, to_image
from edgepose.runtime.session import Session
from edgepose.skeleton import Skeleton
from edgepose.spec import Codec, InputSpec

__all__ = ["PUBLISHED", "Procedure", "TopDown", "check_flip_test"]

Run = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """How boxes become crops, and heatmaps keypoints: two things that belong together.

    Attributes:
        title: in words, for people.
        codec: maps the model's codec to the one whose geometry holds.
        crop: cuts the boxes (N, 4) out of an image.
        decode: maps heatmaps (N, K, h, w) to coordinates (N, K, 2) in heatmap pixels and scores (N, K).
    """

    title: str
    codec: Callable[[Codec], Codec]
    crop: Callable[[npt.NDArray[np.uint8], npt.NDArray[np.float64], InputSpec, Codec], Crops]
    decode: Callable[[npt.NDArray[np.float32], Codec], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]


PUBLISHED = Procedure(title="published crop and decoding", codec=lambda codec: codec, crop=crop, decode=decode)


class TopDown:
    """Crop, run and decode, each callable from several threads at once.

    Args:
        run: computes heatmaps (N, K, h, w) of crops (N, 3, H, W), float32.
        input_spec: what the network takes.
        codec: how its head was trained.
        skeleton: which keypoints change places in a mirrored picture; for the flip test.
        flip_test: average with the heatmaps of the mirrored crops.
        procedure: crop and decoding.

    Raises:
        InputError: the flip test is asked for, but the skeleton doesn't say which keypoints change places.
    """

    def __init__(
        self,
        run: Run,
        input_spec: InputSpec,
        codec: Codec,
        *,
        skeleton: Skeleton | None = None,
        flip_test: bool = False,
        procedure: Procedure = PUBLISHED,
    ) -> None:
        self._run = run
        self._input = input_spec
        self._codec = procedure.codec(codec)
        self._procedure = procedure
        self._flip_order: tuple[int, ...] | None = None
        if flip_test:
            self._flip_order = check_flip_test(skeleton)

    @classmethod
    def of(cls, session: Session, *, flip_test: bool = False, procedure: Procedure = PUBLISHED) -> Self:
        """Return that of a loaded model, as its spec says.

        Raises:
            InputError: see the class.
        """
        spec = session.spec
        return cls(session.run, spec.input, spec.codec, skeleton=spec.skeleton, flip_test=flip_test, procedure=procedure)

    def cut(self, image: npt.NDArray[np.uint8], boxes_xyxy: npt.NDArray[np.float64]) -> Crops:
        """Cut boxes out of an image.

        Args:
            image: (H, W, 3) uint8, RGB.
            boxes_xyxy: (N, 4) in image pixels, all usable (see ``edgepose.boxes``).
        """
        return self._procedure.crop(image, boxes_xyxy, self._input, self._codec)

    def infer(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Compute heatmaps (N, K, h, w) of crops (N, 3, H, W)."""
        heatmaps = self._run(batch)
        if self._flip_order is None:
            return heatmaps
        mirrored = self._run(np.ascontiguousarray(batch[..., ::-1]))
        return (heatmaps + flip_heatmaps(mirrored, self._flip_order, self._codec)) * np.float32(0.5)

    def decode(
        self, heatmaps: npt.NDArray[np.float32], centres: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        """Find the keypoints in heatmaps.

        Args:
            heatmaps: (N, K, h, w).
            centres: (N, 2) of the crops.
            sizes: (N, 2) of the crops.

        Returns:
            (N, K, 2), x and y in image pixels; and scores (N, K).

        Raises:
            InputError: a heatmap whose highest value isn't finite.
        """
        places, scores = self._procedure.decode(heatmaps, self._codec)
        return to_image(places, centres, sizes, self._input.heatmap_size, self._codec), scores

    def find(
        self, image: npt.NDArray[np.uint8], boxes_xyxy: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        """Do all three for the boxes of one image; arguments as for ``cut``, results as of ``decode``."""
        crops = self.cut(image, boxes_xyxy)
        return self.decode(self.infer(crops.batch), crops.centres, crops.sizes)


def check_flip_test(skeleton: Skeleton | None) -> tuple[int, ...]:
    """Return which keypoint each one becomes in a mirrored picture, so that its heatmaps can be put back in place.

    Raises:
        InputError: the skeleton doesn't say which keypoints change places.
    """
    if skeleton is None or not skeleton.flip_pairs:
        raise InputError(
            "the flip test needs to know which keypoints change places in a mirrored image, but the skeleton "
            f"{skeleton.name if skeleton else 'unknown'!r} has no flip pairs: leave it out, or convert the model with a skeleton file that "
            "has them"
        )
    return skeleton.flip_order
