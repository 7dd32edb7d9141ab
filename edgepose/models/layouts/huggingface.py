"""Hugging Face ``transformers``: ``VitPoseForPoseEstimation``, described by ``config.json``.

Names and defaults after ``models/vitpose`` and ``models/vitpose_backbone`` (Apache-2.0). ViTPose+ keeps its six experts, but of the heads
COCO's alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from edgepose.document import from_document
from edgepose.errors import CheckpointError, SpecError
from edgepose.models.layouts.experts import Expert, choose_expert
from edgepose.models.layouts.layout import Reading, count_blocks, rename, shape_of, starred
from edgepose.models.naming import Labels
from edgepose.models.vitpose import PATCH
from edgepose.models.weights import WeightFile, read_json
from edgepose.spec import MAX_INPUT_SIDE, Architecture, InputSpec

__all__ = ["HuggingFaceLayout"]

_MODULES = {
    "backbone.patch_embed": "backbone.embeddings.patch_embeddings.projection",
    "backbone.blocks.*.norm1": "backbone.encoder.layer.*.layernorm_before",
    "backbone.blocks.*.attn.proj": "backbone.encoder.layer.*.attention.output.dense",
    "backbone.blocks.*.norm2": "backbone.encoder.layer.*.layernorm_after",
    "backbone.blocks.*.mlp.fc1": "backbone.encoder.layer.*.mlp.fc1",
    "backbone.blocks.*.mlp.fc2": "backbone.encoder.layer.*.mlp.fc2",
    "backbone.norm": "backbone.layernorm",
    "head.bn1": "head.batchnorm1",
    "head.bn2": "head.batchnorm2",
    "head.final": "head.conv",
}
# ViT-22B, the largest published ViT, has 6144 channels and 48 layers.
_MAX_DIM = 8192
_MAX_DEPTH = 256
_LAYER = re.compile(r"backbone\.encoder\.layer\.(\d+)\.")
_EXPERT = re.compile(r"backbone\.encoder\.layer\.\d+\.mlp\.experts\.")
_LEFTOVER = frozenset({"backbone.embeddings.cls_token", "backbone.embeddings.mask_token"})
_GENERIC_LABEL = re.compile(r"LABEL_\d+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Backbone:
    """The fields of ``VitPoseBackboneConfig`` that shape the network, with its defaults."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    layer_norm_eps: float = 1e-12
    image_size: int | tuple[int, int] = (256, 192)
    patch_size: int | tuple[int, int] = (PATCH, PATCH)
    num_channels: Literal[3] = 3
    mlp_ratio: Literal[4] = 4
    hidden_act: Literal["gelu"] = "gelu"
    qkv_bias: bool = True
    num_experts: int = 1
    out_indices: tuple[int, ...] | None = None
    out_features: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name, value, highest in (
            ("hidden_size", self.hidden_size, _MAX_DIM),
            ("num_hidden_layers", self.num_hidden_layers, _MAX_DEPTH),
            ("num_attention_heads", self.num_attention_heads, _MAX_DIM),
            ("num_experts", self.num_experts, _MAX_DEPTH),
        ):
            if not 1 <= value <= highest:
                raise SpecError(f"{name} is {value}; allowed: 1 to {highest}")
        if not 0 < self.layer_norm_eps < 1:
            raise SpecError(f"layer_norm_eps is {self.layer_norm_eps}; allowed: above 0 and below 1")
        if max(self.input_size) > MAX_INPUT_SIDE:
            raise SpecError(f"image_size is {self.image_size}; allowed: up to {MAX_INPUT_SIDE}")
        if min(self.input_size) < PATCH or any(side % PATCH for side in self.input_size):
            raise SpecError(f"image_size is {self.image_size}; allowed: multiples of {PATCH}")
        if self.patch_size not in (PATCH, (PATCH, PATCH)):
            raise SpecError(f"patch_size is {self.patch_size}; allowed: {PATCH}")

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    @property
    def depth(self) -> int:
        """Number of layers before the features that the head takes: the last of those asked for."""
        stages = self.num_hidden_layers + 1
        wanted = self.out_indices
        if wanted is None and self.out_features is not None:
            names = ["stem", *(f"stage{number}" for number in range(1, stages))]
            wanted = tuple(names.index(name) if name in names else stages for name in self.out_features)
        if wanted is None:
            return self.num_hidden_layers
        if not wanted or not all(-stages <= stage < stages for stage in wanted):
            raise SpecError(f"out_indices is {self.out_indices} and out_features {self.out_features}; allowed: stages 0 to {stages - 1}")
        return max(stage % stages for stage in wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Config:
    """The fields of ``VitPoseConfig`` that matter here, with its defaults; ``edges`` is an addition of the published checkpoints."""

    model_type: Literal["vitpose"] = "vitpose"
    # Without a backbone's configuration, transformers takes the features of stage 4.
    backbone_config: _Backbone = _Backbone(out_indices=(4,))
    use_simple_decoder: bool = True
    scale_factor: Literal[4] = 4
    id2label: dict[str, str] | None = None
    edges: tuple[tuple[int, int], ...] | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> "_Config":
        """Read ``config.json``.

        Raises:
            SpecError: a field has a value that ViTPose can't be built with.
        """
        document = _known(document, cls)
        backbone = document.pop("backbone_config", None)
        if isinstance(backbone, dict):
            document["backbone_config"] = _known(backbone, _Backbone)
        return from_document(cls, document, where="config.json")

    @property
    def architecture(self) -> Architecture:
        """The network's shape."""
        backbone = self.backbone_config
        return Architecture(
            dim=backbone.hidden_size,
            depth=backbone.depth,
            heads=backbone.num_attention_heads,
            head="simple" if self.use_simple_decoder else "classic",
            layer_norm_eps=backbone.layer_norm_eps,
        )

    def read_labels(self) -> Labels | None:
        """Return keypoint names and links; ``None`` where the names are transformers' placeholders."""
        if not self.id2label or all(_GENERIC_LABEL.match(name) for name in self.id2label.values()):
            return None
        numbers = [str(number) for number in range(len(self.id2label))]
        if set(numbers) != set(self.id2label):
            raise SpecError(f"id2label numbers its keypoints {', '.join(self.id2label)}; expected 0 to {len(numbers) - 1}")
        names = tuple(self.id2label[number] for number in numbers)
        return Labels(name=f"keypoints-{len(names)}", keypoints=names, links=self.edges or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Preprocessor:
    """The fields of ``preprocessor_config.json`` that say what the network was fed, with ``VitPoseImageProcessor``'s defaults."""

    image_mean: tuple[float, float, float] | None = None
    image_std: tuple[float, float, float] | None = None
    do_normalize: bool = True
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    size: dict[str, int] | tuple[int, ...] | int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.rescale_factor <= 1:
            raise SpecError(f"preprocessor_config.json.rescale_factor is {self.rescale_factor}; allowed: above 0, up to 1")

    @property
    def input(self) -> InputSpec | None:
        """Mean and deviation of pixels from 0 to 1 that do the same; ``None`` for the usual ones."""
        scale = 255 * (self.rescale_factor if self.do_rescale else 1.0)
        usual = InputSpec()
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        if self.do_normalize:
            mean, std = self.image_mean or usual.mean, self.image_std or usual.std
        if abs(scale - 1) > 1e-6:
            mean = (mean[0] / scale, mean[1] / scale, mean[2] / scale)
            std = (std[0] / scale, std[1] / scale, std[2] / scale)
        if not all(0 <= value <= 1 for value in mean):
            raise SpecError(
                f"mean is {self.image_mean}, of pixels up to {scale:.4g}: no picture has it; write mean and deviation in the same units as "
                "the pixels, after rescale_factor"
            )
        return None if (mean, std) == (usual.mean, usual.std) else InputSpec(mean=mean, std=std)

    def note_size(self, height: int, width: int) -> tuple[str, ...]:
        """Say so if crops have another size than the network's."""
        stated = (self.size.get("height"), self.size.get("width")) if isinstance(self.size, dict) else (height, width)
        if stated == (height, width):
            return ()
        crops = "x".join(map(str, stated))
        return (
            f"preprocessor_config.json makes crops of {crops} (height × width), but config.json's network takes {height}x{width}: taken",
        )


def _known(document: Mapping[str, object], cls: type[_Backbone] | type[_Config] | type[_Preprocessor]) -> dict[str, object]:
    names = {field.name for field in fields(cls)}
    return {name: value for name, value in document.items() if name in names}


class HuggingFaceLayout:
    """Names of ``transformers``."""

    name = "huggingface"

    def matches(self, file: WeightFile) -> bool:
        """``backbone.embeddings`` and ``backbone.encoder``."""
        return any(name.startswith(("backbone.embeddings.", "backbone.encoder.layer.")) for name in file.tensors)

    def read(self, file: WeightFile, dataset: str | None) -> Reading:
        """Follow ``config.json``.

        Raises:
            CheckpointError: there is none, or it describes what ViTPose doesn't have.
        """
        path = file.folder / "config.json"
        if not path.is_file():
            raise CheckpointError(f"{file.where}: has the tensor names of transformers, which need a config.json beside the file")
        try:
            config = _Config.from_json(read_json(path, file.where))
            architecture = config.architecture
        except SpecError as error:
            raise CheckpointError(f"{file.where}: {error}") from None
        backbone = config.backbone_config
        keypoints = shape_of(file, "head.conv.weight", 4)[0]
        expert = None
        if backbone.num_experts > 1:
            expert = choose_expert(dataset, experts=backbone.num_experts, keypoints=keypoints, where=file.where)
        stem = shape_of(file, "backbone.embeddings.patch_embeddings.projection.weight", 4)
        if stem != (architecture.dim, 3, PATCH, PATCH):
            raise CheckpointError(
                f"{file.where}: its patch embedding has the shape {stem}, config.json asks for {(architecture.dim, 3, PATCH, PATCH)}"
            )
        preprocessor = _read_preprocessor(file)
        depth = architecture.depth
        present = count_blocks(file, "backbone.encoder.layer.")
        if present < depth:
            raise CheckpointError(f"{file.where}: has {present} layers; config.json asks for {depth}")

        return Reading(
            layout=self.name,
            architecture=architecture,
            keypoints=keypoints,
            sources=lambda name: _sources(name, expert, qkv_bias=backbone.qkv_bias),
            unused=frozenset(name for name in file.tensors if _is_unused(name, depth, has_experts=expert is not None)),
            grid=(backbone.input_size[0] // PATCH, backbone.input_size[1] // PATCH),
            expert=expert.dataset if expert else "",
            head=expert.head if expert else "",
            labels=config.read_labels,
            input=_read_input(file, preprocessor),
            notes=(*preprocessor.note_size(*backbone.input_size), *(expert.notes if expert else ())),
        )


def _sources(name: str, expert: Expert | None, *, qkv_bias: bool) -> tuple[str, ...]:
    general, number = starred(name)
    if general == "backbone.pos_embed":
        return ("backbone.embeddings.position_embeddings",)
    if general.startswith("backbone.blocks.*.attn.qkv."):
        leaf = general.rpartition(".")[2]
        if leaf == "bias" and not qkv_bias:
            return ()
        return tuple(f"backbone.encoder.layer.{number}.attention.attention.{part}.{leaf}" for part in ("query", "key", "value"))
    theirs = rename(name, _MODULES)
    if expert and general.startswith("backbone.blocks.*.mlp.fc2."):
        return theirs, theirs.replace(".fc2.", f".experts.{expert.index}.")
    return (theirs,)


def _is_unused(name: str, depth: int, *, has_experts: bool) -> bool:
    layer = _LAYER.match(name)
    # Features may be taken from an earlier stage; the layers after it stay in the file.
    beyond = layer is not None and int(layer.group(1)) >= depth
    return beyond or name in _LEFTOVER or (has_experts and bool(_EXPERT.match(name)))


def _read_input(file: WeightFile, preprocessor: _Preprocessor) -> InputSpec | None:
    try:
        return preprocessor.input
    except SpecError as error:
        raise CheckpointError(f"{file.where}: preprocessor_config.json: {error}") from None


def _read_preprocessor(file: WeightFile) -> _Preprocessor:
    path = file.folder / "preprocessor_config.json"
    if not path.is_file():
        return _Preprocessor()
    document = read_json(path, file.where)
    try:
        return from_document(_Preprocessor, _known(document, _Preprocessor), where=path.name)
    except SpecError as error:
        raise CheckpointError(f"{file.where}: {error}") from None
