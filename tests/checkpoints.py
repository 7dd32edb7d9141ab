"""Synthetic checkpoints in every layout, from random weights in which each single tensor matters.

The writers go the other way from ``edgepose.models``: from the model's own names to a layout's. ``tests/parity`` checks them against
``transformers``, so that a mistake made in both directions shows.
"""

import copy
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from edgepose.models import Checkpoint
from edgepose.models.datasets import DATASETS, EXPERTS
from edgepose.models.vitpose import ViTPose, VitPoseConfig
from edgepose.skeleton import Skeleton, get_skeleton
from edgepose.spec import Architecture, InputSpec, ModelSpec, Provenance

State = dict[str, Tensor]

_COCO_JOINTS = ("Eye", "Ear", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")
HUGGINGFACE_COCO = ["Nose", *(f"{side}_{joint}" for joint in _COCO_JOINTS for side in "LR")]
# SynthPose: COCO's names, then markers, some of them with the same letters in lower case.
_ARM_MARKERS = ("shoulder", "_lelbow", "_melbow", "_lwrist", "_mwrist", "_ASIS", "_PSIS")
_LEG_MARKERS = ("_knee", "_mknee", "_ankle", "_mankle", "_5meta", "_toe", "_big_toe")
_MARKERS = [side + marker for marker in (*_ARM_MARKERS, *_LEG_MARKERS) for side in "rl"]
SYNTHPOSE = [*HUGGINGFACE_COCO, "sternum", *_MARKERS, "l_calc", "r_calc", "C7", "L2", "T11", "T6"]
_VITPOSE_HEAD = {
    "deconv1": "deconv_layers.0",
    "bn1": "deconv_layers.1",
    "deconv2": "deconv_layers.3",
    "bn2": "deconv_layers.4",
    "final": "final_layer",
}


def random_model(
    *,
    dim: int = 192,
    depth: int = 2,
    heads: int = 3,
    head: str = "classic",
    keypoints: int = 17,
    height: int = 256,
    width: int = 192,
    layer_norm_eps: float = 1e-6,
    seed: int = 0,
) -> ViTPose:
    """Make a model whose every weight, bias, statistic and position is random; in eval mode."""
    config = VitPoseConfig(
        dim=dim, depth=depth, heads=heads, head=head, keypoints=keypoints, height=height, width=width, layer_norm_eps=layer_norm_eps
    )
    with torch.device("meta"):
        model = ViTPose(config)
    generator = torch.Generator().manual_seed(seed)
    state = {name: _randomise(name, tuple(tensor.shape), generator) for name, tensor in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    return model.eval()


def random_crops(model: ViTPose, *, batch: int = 2, seed: int = 1) -> Tensor:
    """Make normalized input (N, 3, H, W) for ``model``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, model.config.height, model.config.width, generator=generator)


def make_spec(model: ViTPose, *, skeleton: Skeleton | None = None, name: str = "test-model") -> ModelSpec:
    """Describe ``model``."""
    config = model.config
    return ModelSpec(
        name=name,
        architecture=Architecture(
            dim=config.dim, depth=config.depth, heads=config.heads, head=config.head, layer_norm_eps=config.layer_norm_eps
        ),
        skeleton=skeleton or (get_skeleton("coco") if config.keypoints == 17 else Skeleton.unnamed(config.keypoints)),
        input=InputSpec(height=config.height, width=config.width),
        provenance=Provenance(source="random weights"),
    )


@dataclass(frozen=True)
class Plus:
    """A ViTPose+ as the six plain models that it stands for: they share all but the head and the last ``part`` rows of each ``fc2``."""

    models: dict[str, ViTPose]
    part: int

    @property
    def shared(self) -> ViTPose:
        return self.models["coco"]


def random_plus(*, part: int = 48, seed: int = 0, **shape: object) -> Plus:
    """Make a random ViTPose+ with the six published data sets."""
    base = random_model(seed=seed, **shape)
    models = {}
    for index, name in enumerate(EXPERTS):
        model = random_model(seed=seed + 1 + index, **shape | {"keypoints": DATASETS[name].keypoints})
        state = copy.deepcopy(base.state_dict())
        for key, own in model.state_dict().items():
            if ".fc2." in key:
                state[key][-part:] = own[-part:]
            elif key.startswith("head."):
                state[key] = own
        model.load_state_dict(state)
        models[name] = model
    return Plus(models, part)


def vitpose_state(model: ViTPose, *, class_slot: bool = True, head: str = "keypoint_head") -> State:
    """The original's names; easy_ViTPose's too."""
    renamed = {}
    for key, tensor in model.state_dict().items():
        key = key.replace("backbone.patch_embed.", "backbone.patch_embed.proj.").replace("backbone.norm.", "backbone.last_norm.")
        if key.startswith("head."):
            module, _, leaf = key.removeprefix("head.").partition(".")
            key = f"{head}.{_VITPOSE_HEAD[module]}.{leaf}"
        renamed[key] = tensor
    if class_slot:
        renamed["backbone.pos_embed"] = split_positions(renamed["backbone.pos_embed"])
    return renamed


def vitpose_plus_state(plus: Plus) -> State:
    """The original's names for all experts and heads."""
    state = vitpose_state(plus.shared)
    for key in [key for key in state if ".fc2." in key]:
        for index, model in enumerate(plus.models.values()):
            state[key.replace(".fc2.", f".experts.{index}.")] = model.state_dict()[key][-plus.part :]
        state[key] = state[key][: -plus.part]
    for index, name in enumerate(EXPERTS[1:]):
        head = f"associate_keypoint_heads.{index}"
        state |= {key: tensor for key, tensor in vitpose_state(plus.models[name], head=head).items() if key.startswith(head)}
    return state


def vitpose_split_state(plus: Plus, dataset: str) -> State:
    """What the authors' splitter leaves: ``fc2`` joined, all experts still there, and for COCO the other heads."""
    whole = vitpose_plus_state(plus)
    kept = {key: tensor for key, tensor in whole.items() if ".experts." in key or (dataset == "coco" and key.startswith("associate"))}
    return kept | vitpose_state(plus.models[dataset])


def mmpose_state(model: ViTPose, *, class_slot: bool = False) -> State:
    """mmpretrain's and mmpose's names."""
    table = (
        ("backbone.patch_embed.", "backbone.patch_embed.projection."),
        ("backbone.norm.", "backbone.ln1."),
        ("backbone.blocks.", "backbone.layers."),
        (".norm1.", ".ln1."),
        (".norm2.", ".ln2."),
        (".mlp.fc1.", ".ffn.layers.0.0."),
        (".mlp.fc2.", ".ffn.layers.1."),
        *((f"head.{ours}.", f"head.{theirs}.") for ours, theirs in _VITPOSE_HEAD.items()),
    )
    renamed = {}
    for key, tensor in model.state_dict().items():
        for ours, theirs in table:
            key = key.replace(ours, theirs)
        renamed[key] = tensor
    if class_slot:
        renamed["backbone.pos_embed"] = split_positions(renamed["backbone.pos_embed"])
    return renamed


def mmpose_meta(skeleton: Skeleton) -> dict[str, object]:
    """The ``meta`` of a file of mmpose, NumPy arrays included."""
    index = {name: position for position, name in enumerate(skeleton.keypoints)}
    colors = np.zeros((len(index), 3), np.uint8)
    return {
        "cfg": "codec = dict(type='UDPHeatmap', input_size=(192, 256), heatmap_size=(48, 64), sigma=2)",
        "epoch": 210,
        "dataset_meta": {
            "dataset_name": skeleton.name,
            "num_keypoints": len(index),
            "keypoint_id2name": dict(enumerate(skeleton.keypoints)),
            "keypoint_name2id": index,
            "flip_pairs": [(index[left], index[right]) for left, right in skeleton.flip_pairs],
            "skeleton_links": [(index[start], index[end]) for start, end in skeleton.links],
            "keypoint_colors": colors,
            "dataset_keypoint_weights": np.ones(len(index), np.float32),
            "sigmas": np.array(skeleton.sigmas, np.float32),
        },
    }


def huggingface_state(model: ViTPose, *, qkv_bias: bool = True) -> State:
    """The names of transformers."""
    table = (
        ("backbone.patch_embed.", "backbone.embeddings.patch_embeddings.projection."),
        ("backbone.pos_embed", "backbone.embeddings.position_embeddings"),
        ("backbone.norm.", "backbone.layernorm."),
        ("backbone.blocks.", "backbone.encoder.layer."),
        (".attn.proj.", ".attention.output.dense."),
        (".norm1.", ".layernorm_before."),
        (".norm2.", ".layernorm_after."),
        ("head.bn", "head.batchnorm"),
        ("head.final.", "head.conv."),
    )
    renamed = {}
    for key, tensor in model.state_dict().items():
        for ours, theirs in table:
            key = key.replace(ours, theirs)
        if ".attn.qkv." in key:
            if qkv_bias or key.endswith("weight"):
                for part, rows in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                    renamed[key.replace(".attn.qkv.", f".attention.attention.{part}.")] = rows
            continue
        renamed[key] = split_positions(tensor) if key.endswith("position_embeddings") else tensor
    return renamed


def huggingface_plus_state(plus: Plus) -> State:
    """The names of transformers for a ViTPose+: six experts, COCO's head."""
    state = huggingface_state(plus.shared)
    for key in [key for key in state if ".fc2." in key]:
        for index, model in enumerate(plus.models.values()):
            own = model.state_dict()[key.replace("backbone.encoder.layer.", "backbone.blocks.")]
            state[key.replace(".fc2.", f".experts.{index}.")] = own[-plus.part :]
        state[key] = state[key][: -plus.part]
    return state


def huggingface_config(
    model: ViTPose, *, names: list[str] | None = None, top: dict[str, object] | None = None, **backbone: object
) -> dict[str, object]:
    """A ``config.json`` for ``model``; ``top`` and ``backbone`` replace fields of the two levels."""
    config = model.config
    labels = names or (HUGGINGFACE_COCO if config.keypoints == 17 else [f"LABEL_{index}" for index in range(config.keypoints)])
    return {
        "architectures": ["VitPoseForPoseEstimation"],
        "model_type": "vitpose",
        "scale_factor": 4,
        "use_simple_decoder": config.head == "simple",
        "id2label": {str(index): name for index, name in enumerate(labels)},
        "backbone_config": {
            "model_type": "vitpose_backbone",
            "hidden_act": "gelu",
            "hidden_size": config.dim,
            "image_size": [config.height, config.width],
            "layer_norm_eps": config.layer_norm_eps,
            "num_attention_heads": config.heads,
            "num_hidden_layers": config.depth,
            "out_indices": [config.depth],
        }
        | backbone,
    } | (top or {})


def write_huggingface(folder: Path, state: State, config: dict[str, object], *, kind: str = "safetensors") -> Path:
    """Write a folder as transformers does; ``kind`` is ``safetensors``, ``sharded`` or ``bin``."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    state = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    if kind == "bin":
        torch.save(state, folder / "pytorch_model.bin")
    elif kind == "safetensors":
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        names = sorted(state)
        parts = (names[: len(names) // 2], names[len(names) // 2 :])
        places = {}
        for number, part in enumerate(parts, 1):
            file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
            save_file({name: state[name] for name in part}, folder / file, metadata={"format": "pt"})
            places |= dict.fromkeys(part, file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}), "utf-8")
    return folder


def split_positions(positions: Tensor) -> Tensor:
    """Give folded positions (1, T, C) a slot for the class token back: (1, T + 1, C) that folds to the very same numbers."""
    slot = torch.full((1, 1, positions.shape[-1]), 0.25)
    return torch.cat((slot, positions - slot), dim=1)


def _randomise(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(7)
    noise = torch.randn(shape, generator=generator)
    if name.endswith("pos_embed"):
        # In steps of 1/256, so that taking a class slot off and putting it back is exact.
        return (noise * 128).round() / 256
    if name.endswith("running_var"):
        return 0.5 + noise.abs()
    if name.endswith(("bias", "running_mean")):
        return 0.2 * noise
    if len(shape) == 1:
        return 1 + 0.3 * noise
    return noise * 1.2 / math.sqrt(math.prod(shape[1:]))


def save(path: Path, state: object, **rest: object) -> Path:
    """Write ``state`` as training code does; return ``path``."""
    torch.save({"state_dict": state} | rest, path)
    return path


def assert_equal(checkpoint: Checkpoint, model: ViTPose) -> None:
    """Make sure that a checkpoint holds the weights of ``model``."""
    expected = model.state_dict()
    actual = checkpoint.model.state_dict()
    assert actual.keys() == expected.keys()
    for name, tensor in actual.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, expected[name]), name
