"""mmpose 1.x ``.pth``: the backbone is mmpretrain's ``VisionTransformer``, the head ``HeatmapHead``.

Names after mmpretrain ``models/backbones/vision_transformer.py`` and mmpose ``models/heads/heatmap_heads/heatmap_head.py`` (Apache-2.0).
The simple head's ReLU and upsampling are a neck without weights there.
"""

import re
from collections.abc import Iterable

from edgepose.errors import CheckpointError
from edgepose.models.layouts.layout import Reading, infer_architecture, rename, shape_of
from edgepose.models.layouts.training_config import read_training_config
from edgepose.models.naming import Labels, sanitize
from edgepose.models.positions import infer_grid
from edgepose.models.weights import WeightFile
from edgepose.spec import Codec

__all__ = ["MMPoseLayout"]

_MODULES = {
    "backbone.patch_embed": "backbone.patch_embed.projection",
    "backbone.blocks.*.norm1": "backbone.layers.*.ln1",
    "backbone.blocks.*.attn.qkv": "backbone.layers.*.attn.qkv",
    "backbone.blocks.*.attn.proj": "backbone.layers.*.attn.proj",
    "backbone.blocks.*.norm2": "backbone.layers.*.ln2",
    "backbone.blocks.*.mlp.fc1": "backbone.layers.*.ffn.layers.0.0",
    "backbone.blocks.*.mlp.fc2": "backbone.layers.*.ffn.layers.1",
    "backbone.norm": "backbone.ln1",
    "head.deconv1": "head.deconv_layers.0",
    "head.bn1": "head.deconv_layers.1",
    "head.deconv2": "head.deconv_layers.3",
    "head.bn2": "head.deconv_layers.4",
    "head.final": "head.final_layer",
}
# Normalization constants, and what pre-training leaves.
_LEFTOVER = re.compile(r"data_preprocessor\.(mean|std)$|backbone\.(cls_token|mask_token)$")
_CLASS_SLOT_NOTE = (
    "the positions keep the original's slot for a class token: it was added to every position, as the original does; mmpose drops it"
)


class MMPoseLayout:
    """Names of mmpose 1.x."""

    name = "mmpose"

    def matches(self, file: WeightFile) -> bool:
        """``backbone.layers`` and mmpretrain's patch embedding."""
        return any(name.startswith(("backbone.layers.", "backbone.patch_embed.projection.")) for name in file.tensors)

    def read(self, file: WeightFile, dataset: str | None) -> Reading:  # noqa: ARG002  one head, no experts
        """Map the names; take the keypoints from ``meta.dataset_meta``.

        Raises:
            CheckpointError: a class token takes part in attention, or the file lacks what tells its shape.
        """
        slots = shape_of(file, "backbone.pos_embed", 3)[1]
        config = read_training_config(file.meta)
        grid = infer_grid(slots, stated=config.grid)
        has_class_slot = grid is not None and slots > grid[0] * grid[1]
        if has_class_slot and "backbone.cls_token" in file.tensors:
            raise CheckpointError(
                f"{file.where}: its backbone was trained with a class token (with_cls_token=True), which ViTPose doesn't have"
            )
        return Reading(
            layout=self.name,
            architecture=infer_architecture(
                file,
                patch="backbone.patch_embed.projection.weight",
                blocks="backbone.layers.",
                classic=any(name.startswith("head.deconv_layers.") for name in file.tensors),
            ),
            keypoints=shape_of(file, "head.final_layer.weight", 4)[0],
            sources=lambda name: (rename(name, _MODULES),),
            unused=frozenset(name for name in file.tensors if _LEFTOVER.match(name)),
            grid=config.grid if grid is not None and grid == config.grid else None,
            stated_dataset=config.dataset,
            labels=lambda: _read_labels(file),
            # All ViTPose configurations of mmpose use UDPHeatmap; another one's text, which ``meta`` keeps, may say MSRAHeatmap.
            codec=Codec(kind=config.codec or "udp"),
            notes=(_CLASS_SLOT_NOTE,) if has_class_slot else (),
        )


def _read_labels(file: WeightFile) -> Labels | None:
    """Read what mmpose's ``parse_pose_metainfo`` makes of a data set's description."""
    meta = file.meta.get("dataset_meta")
    names = meta.get("keypoint_id2name") if isinstance(meta, dict) else None
    if not isinstance(meta, dict) or not isinstance(names, dict) or not names:
        return None
    return Labels(
        name=sanitize(str(meta.get("dataset_name", ""))),
        keypoints=tuple(str(names[index]) for index in range(len(names))),
        links=_pairs(meta.get("skeleton_links", ())),
        flip_pairs=_pairs(meta.get("flip_pairs", ())),
        sigmas=tuple(float(sigma) for sigma in meta.get("sigmas", ())),
    )


def _pairs(pairs: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    return tuple((int(start), int(end)) for start, end in pairs)
