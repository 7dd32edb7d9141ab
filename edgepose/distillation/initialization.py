"""First weights of a student."""

import math

import torch
from torch import Tensor, nn

from edgepose.distillation.recipe import Initialization, Phase, Student
from edgepose.distillation.vit_backbone import copy_vit
from edgepose.errors import CheckpointError, SpecError
from edgepose.models.positions import resize_positions
from edgepose.models.sizes import SIZES, Size
from edgepose.models.vitpose import Block, ClassicHead, SimpleHead, ViTPose, VitPoseConfig
from edgepose.skeleton import get_skeleton

__all__ = ["configure", "initialize", "resize_network"]

SIMPLE = "-simple"
POSITION_SCALE = 0.5
QUERY_KEY = 0.7  # mimetic: W_q · W_kᵀ ≈ 0.7 · noise + 0.7 · identity
VALUE_OUT = 0.4  # mimetic: W_v · W_o ≈ 0.4 · noise - 0.4 · identity
HEAD_STD = 0.002


def configure(student: Student, phase: Phase) -> VitPoseConfig:
    """Return the network that ``student.model`` names, for the input of ``phase``.

    Raises:
        SpecError: no such size.
    """
    size, head = _parse(student.model)
    return VitPoseConfig(
        dim=size.dim,
        depth=size.depth,
        heads=size.heads,
        head="simple" if head else "classic",
        keypoints=len(get_skeleton(student.skeleton).keypoints),
        height=phase.height,
        width=phase.width,
    )


def _parse(model: str) -> tuple[Size, bool]:
    simple = model.endswith(SIMPLE)
    name = model.removesuffix(SIMPLE).removeprefix("vitpose-")
    for size in SIZES:
        if size.name == name:
            return size, simple
    numbers = name.split("x")
    if len(numbers) == 3 and all(number.isascii() and number.isdigit() for number in numbers):
        dim, depth, heads = map(int, numbers)
        if min(dim, depth, heads) >= 1 and dim % (4 * heads) == 0:
            return Size(name=name, dim=dim, depth=depth, heads=heads), simple
    known = ", ".join(f"vitpose-{size.name}" for size in SIZES)
    raise SpecError(
        f"student.model is {model!r}; allowed: {known}, or vitpose-CHANNELSxBLOCKSxHEADS with channels that are a multiple of four times "
        f"the heads; each also with {SIMPLE!r}"
    )


def initialize(config: VitPoseConfig, init: Initialization, *, seed: int) -> ViTPose:
    """Make the student.

    Raises:
        CheckpointError: ``init.path`` can't be read, or nothing in it fits.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ViTPose(config)
        _scratch(model, mimetic=init.kind in ("mimetic", "vit", "checkpoint"))
    if init.kind == "checkpoint":
        _copy_checkpoint(model, init.path)
    elif init.kind == "vit":
        copy_vit(model.backbone, init.path)
    return model


def resize_network(model: ViTPose, height: int, width: int) -> ViTPose:
    """Return a network for another input size with copies of the same weights; positions are interpolated."""
    old = model.config
    if (old.height, old.width) == (height, width):
        return model
    config = VitPoseConfig(
        dim=old.dim,
        depth=old.depth,
        heads=old.heads,
        head=old.head,
        keypoints=old.keypoints,
        height=height,
        width=width,
        layer_norm_eps=old.layer_norm_eps,
    )
    with torch.random.fork_rng(devices=[]):
        resized = ViTPose(config).to(model.backbone.pos_embed.device)
    state = dict(model.state_dict())
    state["backbone.pos_embed"] = resize_positions(state["backbone.pos_embed"], old.grid, config.grid)
    resized.load_state_dict(state)
    return resized.train(model.training)


def _scratch(model: ViTPose, *, mimetic: bool) -> None:
    """Weights from scratch; attention so that it starts by looking at like tokens (Trockman and Kolter, arXiv 2305.09828, section 3)."""
    with torch.no_grad():
        backbone = model.backbone
        backbone.pos_embed.copy_(POSITION_SCALE * _sine_positions(*backbone.grid, backbone.dim))
        for block in (each for each in backbone.blocks if isinstance(each, Block)):
            for linear in (block.mlp.fc1, block.mlp.fc2):
                nn.init.xavier_uniform_(linear.weight)
                nn.init.zeros_(linear.bias)
            nn.init.zeros_(block.attn.qkv.bias)
            nn.init.zeros_(block.attn.proj.bias)
            if mimetic:
                _mimic(block.attn.qkv.weight, block.attn.proj.weight, block.attn.heads)
            else:
                nn.init.xavier_uniform_(block.attn.qkv.weight)
                nn.init.xavier_uniform_(block.attn.proj.weight)
        _scratch_head(model.head)


def _scratch_head(head: nn.Module) -> None:
    """A head that first says nothing: nearly empty heatmaps."""
    if isinstance(head, ClassicHead):
        for deconvolution in (head.deconv1, head.deconv2):
            nn.init.normal_(deconvolution.weight, std=HEAD_STD)
    if isinstance(head, ClassicHead | SimpleHead):
        nn.init.normal_(head.final.weight, std=HEAD_STD)
        if head.final.bias is not None:
            nn.init.zeros_(head.final.bias)


def _mimic(qkv: Tensor, proj: Tensor, heads: int) -> None:
    """Factor the wanted products, Q·Kᵀ for each head and V·O over all of them, by singular values."""
    dim = proj.shape[0]
    part = dim // heads
    noise = torch.randn(heads + 1, dim, dim) / math.sqrt(dim)
    identity = torch.eye(dim)
    for head in range(heads):
        left, values, right = torch.linalg.svd(QUERY_KEY * (noise[head] + identity))
        root = values[:part].sqrt()
        rows = slice(head * part, (head + 1) * part)
        qkv[:dim][rows] = (left[:, :part] * root).T
        qkv[dim : 2 * dim][rows] = root[:, None] * right[:part]
    left, values, right = torch.linalg.svd(VALUE_OUT * (noise[-1] - identity))
    root = values.sqrt()
    qkv[2 * dim :] = root[:, None] * right
    proj.copy_(left * root)


def _sine_positions(rows: int, columns: int, dim: int) -> Tensor:
    """Two-dimensional sines and cosines (1, rows·columns, dim), of places relative to the picture: any grid shows the same waves."""
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows * 16, (torch.arange(columns) + 0.5) / columns * 12, indexing="ij")
    quarter = dim // 4
    frequencies = 100.0 ** -(torch.arange(quarter) / quarter)
    waves = [wave for axis in (x, y) for angle in [axis.reshape(-1, 1) * frequencies] for wave in (angle.sin(), angle.cos())]
    positions = torch.cat(waves, dim=1)
    return nn.functional.pad(positions, (0, dim - positions.shape[1]))[None]


def _copy_checkpoint(model: ViTPose, path: str) -> None:
    """Take the backbone of a ViTPose, and its head where that is the same."""
    from edgepose.models.checkpoint import load_checkpoint

    size = (model.config.height, model.config.width)
    given = load_checkpoint(path, input_size=size).model
    wanted = model.state_dict()
    state = {name: tensor for name, tensor in given.state_dict().items() if name in wanted and tensor.shape == wanted[name].shape}
    lacking = [name for name in wanted if name.startswith("backbone.") and name not in state]
    if lacking:
        raise CheckpointError(f"{path}: its backbone isn't the student's: {lacking[0]!r} and {len(lacking) - 1} more tensors don't fit")
    model.load_state_dict(state, strict=False)
