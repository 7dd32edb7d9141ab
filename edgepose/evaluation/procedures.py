"""How boxes become crops, and heatmaps keypoints: as published, or as another program does it, for comparisons with that program."""

from dataclasses import replace
from typing import Literal

from edgepose.evaluation.mmpose_decode import decode_like_mmpose1
from edgepose.evaluation.transformers_procedure import CODEC, crop_like_transformers, decode_like_transformers
from edgepose.pipeline.top_down import PUBLISHED, Procedure

__all__ = ["PROCEDURES", "ProcedureName"]

ProcedureName = Literal["published", "transformers", "mmpose1"]


PROCEDURES: dict[ProcedureName, Procedure] = {
    "published": PUBLISHED,
    "transformers": Procedure(
        title="crop and decoding of transformers",
        codec=lambda _: CODEC,
        crop=lambda image, boxes, input_spec, _: crop_like_transformers(image, boxes, input_spec),
        decode=lambda heatmaps, _: decode_like_transformers(heatmaps),
    ),
    "mmpose1": replace(PUBLISHED, title="published crop and decoding of mmpose 1.x", decode=decode_like_mmpose1),
}
