"""How boxes become crops, and heatmaps keypoints: as published, or as another program does it, for comparisons with that program."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgepose.crop import Crops, crop
from edgepose.evaluation.mmpose_decode import decode_like_mmpose1
from edgepose.evaluation.transformers_procedure import CODEC, crop_like_transformers, decode_like_transformers
from edgepose.heatmap import decode
from edgepose.spec import Codec, InputSpec

__all__ = ["PROCEDURES", "Procedure", "ProcedureName"]

ProcedureName = Literal["published", "transformers", "mmpose1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """Crop and decoding, which belong together.

    Attributes:
        title: in words, for people.
        codec: maps the model's codec to the one whose geometry holds.
        crop: cuts the boxes (N, 4) out of an image.
        decode: maps heatmaps (N, K, h, w) to coordinates (N, K, 2) in heatmap pixels and scores (N, K).
    """

    title: str
    codec: Callable[[Codec], Codec]
    crop: Callable[[NDArray[np.uint8], NDArray[np.float64], InputSpec, Codec], Crops]
    decode: Callable[[NDArray[np.float32], Codec], tuple[NDArray[np.float32], NDArray[np.float32]]]


def _keep(codec: Codec) -> Codec:
    return codec


PROCEDURES: dict[ProcedureName, Procedure] = {
    "published": Procedure(title="published crop and decoding", codec=_keep, crop=crop, decode=decode),
    "transformers": Procedure(
        title="crop and decoding of transformers",
        codec=lambda _: CODEC,
        crop=lambda image, boxes, input_spec, _: crop_like_transformers(image, boxes, input_spec),
        decode=lambda heatmaps, _: decode_like_transformers(heatmaps),
    ),
    "mmpose1": Procedure(title="published crop and decoding of mmpose 1.x", codec=_keep, crop=crop, decode=decode_like_mmpose1),
}
