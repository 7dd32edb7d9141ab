"""The original's ``.pth`` (ViTAE-Transformer/ViTPose, mmpose 0.x), with and without experts, and easy_ViTPose's.

Plain files have ``backbone.*`` and ``keypoint_head.*``. ViTPose+ (``vit_moe.py``, ``top_down_moe.py``) adds ``mlp.experts.i``, whose rows
complete those of a narrower ``fc2``, and ``associate_keypoint_heads.i`` for the data sets after the first. The authors' ``model_split.py``,
which easy_ViTPose uses too, joins ``fc2`` with one expert but leaves all experts (and for COCO all heads) in the file.
"""

import itertools
import re
from dataclasses import dataclass

import torch

from edgepose.errors import CheckpointError
from edgepose.models.datasets import DATASETS, EXPERTS
from edgepose.models.layouts.experts import choose_expert, index_of
from edgepose.models.layouts.layout import Reading, infer_architecture, rename, shape_of
from edgepose.models.layouts.training_config import read_training_config
from edgepose.models.weights import WeightFile
from edgepose.spec import Codec

__all__ = ["VitPoseLayout"]

_MODULES = {"backbone.patch_embed": "backbone.patch_embed.proj", "backbone.norm": "backbone.last_norm"}
_HEAD_MODULES = {
    "deconv1": "deconv_layers.0",
    "bn1": "deconv_layers.1",
    "deconv2": "deconv_layers.3",
    "bn2": "deconv_layers.4",
    "final": "final_layer",
}
_FC2 = re.compile(r"backbone\.blocks\.\d+\.mlp\.fc2\.")
_EXPERT = re.compile(r"backbone\.blocks\.\d+\.mlp\.experts\.\d+\.")
_HEAD = re.compile(r"(keypoint_)?head\.|associate_keypoint_heads\.\d+\.")
# Left over from pre-training (the network has no class token), and the second set of weights that mmcv's averaging hook registers.
_LEFTOVER = re.compile(r"backbone\.(cls_token|mask_token)$|ema_")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """Which head to take, and which expert to join to ``fc2``.

    Attributes:
        head: the head's prefix in the file.
        dataset: the data set that the head belongs to, or empty.
        expert: the data set whose expert is used, or empty.
        joined: the expert's number where it has to be joined here.
        notes: what a user should know.
    """

    head: str = "keypoint_head"
    dataset: str = ""
    expert: str = ""
    joined: int | None = None
    notes: tuple[str, ...] = ()


class VitPoseLayout:
    """Names of ViTAE-Transformer/ViTPose."""

    name = "vitpose"

    def matches(self, file: WeightFile) -> bool:
        """``keypoint_head`` and the original's names of the stem and the last norm."""
        return any(name.startswith(("keypoint_head.", "backbone.patch_embed.proj.", "backbone.last_norm.")) for name in file.tensors)

    def read(self, file: WeightFile, dataset: str | None) -> Reading:
        """Choose head and expert, and map the names."""
        choice = _choose(file, dataset)
        config = read_training_config(file.meta)
        slots = shape_of(file, "backbone.pos_embed", 3)[1]
        final = f"{choice.head}.final_layer.weight"
        keypoints = shape_of(file, final, 4)[0]
        if choice.head.startswith("associate"):
            # Some published heads are wider than their data set; the authors' splitter keeps the first rows too.
            keypoints = min(keypoints, DATASETS[choice.dataset].keypoints)
        modules = _MODULES | {f"head.{ours}": f"{choice.head}.{theirs}" for ours, theirs in _HEAD_MODULES.items()}

        def sources(name: str) -> tuple[str, ...]:
            theirs = rename(name, modules)
            if choice.joined is not None and _FC2.match(name):
                return theirs, theirs.replace(".fc2.", f".experts.{choice.joined}.")
            return (theirs,)

        return Reading(
            layout=self.name,
            architecture=infer_architecture(
                file,
                patch="backbone.patch_embed.proj.weight",
                blocks="backbone.blocks.",
                classic=any(name.startswith(f"{choice.head}.deconv_layers.") for name in file.tensors),
            ),
            keypoints=keypoints,
            sources=sources,
            unused=frozenset(name for name in file.tensors if _is_unused(name, choice)),
            grid=config.grid if config.grid and config.grid[0] * config.grid[1] in (slots, slots - 1) else None,
            expert=choice.expert,
            head=choice.dataset,
            stated_dataset=config.dataset,
            codec=Codec(kind=config.codec) if config.codec and not choice.dataset else None,
            notes=choice.notes,
        )


def _is_unused(name: str, choice: _Choice) -> bool:
    if _HEAD.match(name):
        return not name.startswith(f"{choice.head}.")
    return bool(_EXPERT.match(name) or _LEFTOVER.match(name))


def _choose(file: WeightFile, dataset: str | None) -> _Choice:
    experts = _count(file, "backbone.blocks.0.mlp.experts.{}.weight")
    associates = _count(file, "associate_keypoint_heads.{}.final_layer.weight")
    heads = ("keypoint_head", *(f"associate_keypoint_heads.{index}" for index in range(associates)))
    if experts and _is_joined(file):
        return _choose_split(file, experts, dataset)
    if len(heads) > 1:
        wanted = dataset or EXPERTS[0]
        head = heads[index_of(wanted, len(heads), what="head", where=file.where)]
        if not experts:
            return _Choice(head=head, dataset=wanted)
        return _Choice(head=head, dataset=wanted, expert=wanted, joined=index_of(wanted, experts, what="expert", where=file.where))
    if experts:
        keypoints = shape_of(file, "keypoint_head.final_layer.weight", 4)[0]
        expert = choose_expert(dataset, experts=experts, keypoints=keypoints, where=file.where)
        return _Choice(dataset=expert.head, expert=expert.dataset, joined=expert.index, notes=expert.notes)
    # Ports of the original rename its head.
    own = "head.final_layer.weight" in file.tensors and "keypoint_head.final_layer.weight" not in file.tensors
    return _Choice(head="head") if own else _Choice()


def _is_joined(file: WeightFile) -> bool:
    """Say whether ``fc2`` has all its rows: an expert has been joined to it."""
    rows = shape_of(file, "backbone.blocks.0.mlp.fc2.weight", 2)[0]
    return rows == shape_of(file, "backbone.patch_embed.proj.weight", 4)[0]


def _choose_split(file: WeightFile, experts: int, dataset: str | None) -> _Choice:
    """A file that was split for one data set: the expert whose rows end ``fc2`` tells for which, if it hasn't been trained further."""
    joined = file.tensors["backbone.blocks.0.mlp.fc2.weight"]
    for index, name in enumerate(EXPERTS[:experts]):
        rows = file.tensors[f"backbone.blocks.0.mlp.experts.{index}.weight"]
        if torch.equal(joined[-len(rows) :], rows):
            if dataset not in (None, name):
                raise CheckpointError(
                    f"{file.where}: was split from ViTPose+ for the data set {name!r}; {dataset!r} needs its own file, or the whole one"
                )
            fits = shape_of(file, "keypoint_head.final_layer.weight", 4)[0] == DATASETS[name].keypoints
            return _Choice(dataset=name if fits else "", expert=name)
    return _Choice()


def _count(file: WeightFile, pattern: str) -> int:
    """Count the tensors that ``pattern`` names with 0, 1, 2 and so on."""
    return next(index for index in itertools.count() if pattern.format(index) not in file.tensors)
