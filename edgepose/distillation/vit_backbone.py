"""Backbones of pretrained ViTs as first weights: masked autoencoders, timm's and DeiT's ViTs, DINOv2, and what Hugging Face makes of them.

All are the same network under other names, with parts that a ViTPose lacks: a class token, DeiT's distillation token and DINOv2's registers
are dropped with their positions, and DINOv2's LayerScale is folded into the layer before it. Which file it is shows in its names alone.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from edgepose.errors import CheckpointError
from edgepose.models.positions import fold_class_slot, infer_grid, resize_positions
from edgepose.models.vitpose import ViT
from edgepose.models.weights import read_weights

__all__ = ["copy_vit"]

# Hugging Face's names (transformers 4 and 5, then those they share) → those of timm, of Meta's own files and of ours.
_RENAMED = (
    (re.compile(r"^embeddings\.patch_embeddings\.projection\."), "patch_embed.proj."),
    (re.compile(r"^embeddings\.position_embeddings$"), "pos_embed"),
    (re.compile(r"^embeddings\.(cls_token|register_tokens)$"), r"\1"),
    (re.compile(r"^embeddings\.distillation_token$"), "dist_token"),
    (re.compile(r"^(?:encoder\.layer|layers)\.(\d+)\."), r"blocks.\1."),
    (re.compile(r"^(blocks\.\d+)\.attention\.attention\.(query|key|value)\."), r"\1.attn.\2."),
    (re.compile(r"^(blocks\.\d+)\.attention\.q_proj\."), r"\1.attn.query."),
    (re.compile(r"^(blocks\.\d+)\.attention\.k_proj\."), r"\1.attn.key."),
    (re.compile(r"^(blocks\.\d+)\.attention\.v_proj\."), r"\1.attn.value."),
    (re.compile(r"^(blocks\.\d+)\.attention\.(?:output\.dense|o_proj)\."), r"\1.attn.proj."),
    (re.compile(r"^(blocks\.\d+)\.layernorm_before\."), r"\1.norm1."),
    (re.compile(r"^(blocks\.\d+)\.layernorm_after\."), r"\1.norm2."),
    (re.compile(r"^(blocks\.\d+)\.intermediate\.dense\."), r"\1.mlp.fc1."),
    (re.compile(r"^(blocks\.\d+)\.output\.dense\."), r"\1.mlp.fc2."),
    (re.compile(r"^(blocks\.\d+)\.layer_scale([12])\.lambda1$"), r"\1.ls\2.gamma"),
    (re.compile(r"^layernorm\."), "norm."),
    # Meta's DINOv2 can cut its blocks into groups; timm calls registers otherwise.
    (re.compile(r"^blocks\.\d+\.(\d+)\."), r"blocks.\1."),
    (re.compile(r"^reg_token$"), "register_tokens"),
    # A ViT that averages tokens normalizes after that.
    (re.compile(r"^fc_norm\."), "norm."),
    (re.compile(r"^patch_embed\.proj\."), "patch_embed."),
)
_PREFIXES = ("", "module.", "backbone.", "encoder.", "model.", "vit.", "deit.", "dinov2.", "dinov2_with_registers.", "teacher.backbone.")
_PATCHES = ("patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight")
_ADDED_TOKENS = ("cls_token", "dist_token", "register_tokens")


def copy_vit(backbone: ViT, path: str) -> None:
    """Copy a pretrained ViT's weights into a student's backbone; positions and patches are resized to the student's.

    Args:
        backbone: of the student; changed in place.
        path: ``.pth``, ``.safetensors`` …, see ``read_weights``.

    Raises:
        CheckpointError: the file isn't such a ViT, has a gated MLP, or its channels or blocks aren't the student's.
    """
    tensors = _read(path)
    wanted = backbone.state_dict()
    if any(".mlp.w12." in name or ".mlp.weights_in." in name for name in tensors):
        raise CheckpointError(f"{path}: its blocks have a gated MLP (SwiGLU), which a ViTPose lacks; take a ViT with a plain one")
    lacking = [name for name in wanted if name not in tensors]
    if lacking:
        raise CheckpointError(f"{path}: lacks {', '.join(lacking[:3])}; it has {len(lacking)} of {len(wanted)} tensors too few")
    state = {name: tensors[name].detach().float() for name in wanted}
    _fold_layer_scale(state, tensors)
    state["pos_embed"] = _fit_positions(state["pos_embed"], tensors, backbone.grid, path)
    state["patch_embed.weight"] = _fit_patches(state["patch_embed.weight"], wanted["patch_embed.weight"].shape)
    wrong = [name for name, tensor in state.items() if tensor.shape != wanted[name].shape]
    if wrong:
        shape, expected = tuple(state[wrong[0]].shape), tuple(wanted[wrong[0]].shape)
        raise CheckpointError(f"{path}: {wrong[0]!r} has the shape {shape}; the student's is {expected}")
    given = sum(bool(re.fullmatch(r"blocks\.\d+\.norm1\.weight", name)) for name in tensors)
    if given != len(backbone.blocks):
        raise CheckpointError(f"{path}: has {given} blocks; the student has {len(backbone.blocks)}")
    backbone.load_state_dict(state)


def _read(path: str) -> Mapping[str, Tensor]:
    """Return the file's tensors under the names that ours have, queries, keys and values as one."""
    given = read_weights(Path(path), where=path, source=Path(path).name).tensors
    prefix = next((prefix for prefix in _PREFIXES for patches in _PATCHES if prefix + patches in given), None)
    if prefix is None:
        raise CheckpointError(
            f"{path}: has neither {' nor '.join(map(repr, _PATCHES))}: not the ViT of a masked autoencoder, timm, DeiT or DINOv2"
        )
    tensors: dict[str, Tensor] = {}
    for name, tensor in given.items():
        if name.startswith(prefix):
            renamed = name.removeprefix(prefix)
            for pattern, replacement in _RENAMED:
                renamed = pattern.sub(replacement, renamed)
            tensors[renamed] = tensor
    for name in [name for name in tensors if ".attn.query." in name]:
        parts = [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        if all(part in tensors for part in parts):
            tensors[name.replace(".query.", ".qkv.")] = torch.cat([tensors[part] for part in parts])
    return tensors


def _fold_layer_scale(state: dict[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Multiply what LayerScale multiplies (Touvron et al., arXiv 2103.17239) into the layer whose output it is."""
    for name, scale in tensors.items():
        block, dot, which = name.rpartition(".ls")
        if not dot or which not in ("1.gamma", "2.gamma"):
            continue
        layer = f"{block}.{'attn.proj' if which[0] == '1' else 'mlp.fc2'}"
        factors = scale.detach().float()
        state[f"{layer}.weight"] = state[f"{layer}.weight"] * factors[:, None]
        state[f"{layer}.bias"] = state[f"{layer}.bias"] * factors


def _fit_positions(positions: Tensor, tensors: Mapping[str, Tensor], grid: tuple[int, int], path: str) -> Tensor:
    """Return the positions of patches alone, on the student's grid."""
    slots = positions.shape[1]
    if any(name in tensors for name in _ADDED_TOKENS):
        # The picture is a square, so what is left over are the slots of added tokens, which come first; registers may have none.
        side = math.isqrt(slots)
        if slots - side**2 > 2:
            raise CheckpointError(f"{path}: has {slots} positions, which are no square and a class and a distillation token")
        return resize_positions(positions[:, slots - side**2 :], (side, side), grid)
    given = infer_grid(slots)
    if given is None:
        raise CheckpointError(f"{path}: has {slots} positions, which make no grid")
    return resize_positions(fold_class_slot(positions, given), given, grid)


def _fit_patches(kernel: Tensor, shape: torch.Size) -> Tensor:
    """Resize a patch embedding of another patch size; its response to a flat picture stays the same."""
    if kernel.shape[-2:] == shape[-2:] or kernel.shape[:2] != shape[:2]:
        return kernel
    resized = nn.functional.interpolate(kernel, size=shape[-2:], mode="bicubic", antialias=True)
    return resized * (kernel.shape[-1] * kernel.shape[-2]) / (shape[-1] * shape[-2])
