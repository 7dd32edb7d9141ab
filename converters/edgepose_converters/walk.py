"""A ViTPose operator by operator, so that each can be computed in a precision of its own.

Operators are named after the layers of the model; those without a layer are ``….residual`` (what a branch adds to the stream),
``….scores``, ``….softmax`` and ``….mixed`` (attention), ``….gelu`` and ``….resize``.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgepose.models.vitpose import Attention, Block, SimpleHead, ViTPose, VitPoseConfig

__all__ = ["Compute", "Mixed", "Run", "Spelling", "is_simple", "list_holders", "list_names", "walk"]

Spelling = Literal["fused", "tflite"]
"""How LayerNorm stands in the file: as one operator, or as TFLite's."""

_Value = TypeVar("_Value")
Compute = Callable[..., Tensor]
Run = Callable[[str, Compute, Sequence[_Value]], _Value]


def walk(config: VitPoseConfig, simple: bool, spelling: Spelling, run: Run[_Value], x: _Value) -> _Value:
    """Run a network operator by operator.

    Args:
        config: of the network.
        simple: which head it has.
        spelling: of LayerNorm.
        run: runs one operator: gets its name, what computes it from a model and its operands, and these.
        x: the crops.
    """
    rows, columns = config.grid
    x = run("backbone.patch_embed", lambda m, x: m.backbone.patch_embed(x).reshape(-1, config.dim, rows * columns).transpose(1, 2), [x])
    x = run("backbone.pos_embed", lambda m, x: x + m.backbone.pos_embed, [x])
    for index in range(config.depth):
        x = _walk_block(index, spelling, run, x)
    x = _walk_norm("backbone.norm", lambda m: m.backbone.norm, spelling, run, x)
    features = _unembed(config)
    if simple:
        # ReLU and the change of layout change no value's size; they go with what follows.
        x = run("head.resize", lambda _, x: _resize(features(x)), [x])
        return run("head.final", lambda m, x: m.head.final(x), [x])
    x = run("head.deconv1", lambda m, x: F.relu(m.head.deconv1(features(x))), [x])
    x = run("head.deconv2", lambda m, x: F.relu(m.head.deconv2(x)), [x])
    return run("head.final", lambda m, x: m.head.final(x), [x])


def _walk_block(index: int, spelling: Spelling, run: Run[_Value], x: _Value) -> _Value:
    name = f"backbone.blocks.{index}"

    def block(model: ViTPose) -> Block:
        found = model.backbone.blocks[index]
        assert isinstance(found, Block)  # noqa: S101
        return found

    y = _walk_norm(f"{name}.norm1", lambda m: block(m).norm1, spelling, run, x)
    qkv = run(f"{name}.attn.qkv", lambda m, y: block(m).attn.qkv(y), [y])
    scores = run(f"{name}.attn.scores", lambda m, z: _scores(block(m).attn, z), [qkv])
    weights = run(f"{name}.attn.softmax", lambda _, z: z.softmax(dim=-1), [scores])
    mixed = run(f"{name}.attn.mixed", lambda m, w, z: _mix(block(m).attn, w, z), [weights, qkv])
    y = run(f"{name}.attn.proj", lambda m, z: block(m).attn.proj(z), [mixed])
    x = run(f"{name}.attn.residual", lambda _, x, y: x + y, [x, y])
    y = _walk_norm(f"{name}.norm2", lambda m: block(m).norm2, spelling, run, x)
    y = run(f"{name}.mlp.fc1", lambda m, y: block(m).mlp.fc1(y), [y])
    y = run(f"{name}.mlp.gelu", lambda _, y: F.gelu(y), [y])
    y = run(f"{name}.mlp.fc2", lambda m, y: block(m).mlp.fc2(y), [y])
    return run(f"{name}.mlp.residual", lambda _, x, y: x + y, [x, y])


def _walk_norm(name: str, norm: Callable[[ViTPose], nn.LayerNorm], spelling: Spelling, run: Run[_Value], x: _Value) -> _Value:
    if spelling == "fused":
        # In half precision torch's own kernel is float32 inside as well.
        return run(name, lambda m, x: norm(m)(x), [x])
    square = run(f"{name}.square", lambda _, x: x * x, [x])
    mean = run(f"{name}.mean", lambda _, s: s.mean(-1, keepdim=True), [square])
    divisor = run(f"{name}.rsqrt", lambda m, s: (s + norm(m).eps).rsqrt(), [mean])
    x = run(name, lambda _, x, d: x * d, [x, divisor])
    return run(f"{name}.affine", lambda m, x: x * norm(m).weight + norm(m).bias, [x]) if name == "backbone.norm" else x


def _scores(attention: Attention, qkv: Tensor) -> Tensor:
    q, k, _ = (_split(attention, part) for part in qkv.chunk(3, dim=-1))
    return (q * attention.scale) @ k.transpose(-2, -1)


def _mix(attention: Attention, weights: Tensor, qkv: Tensor) -> Tensor:
    mixed = weights @ _split(attention, qkv.chunk(3, dim=-1)[2])
    return mixed.transpose(1, 2).reshape(-1, mixed.shape[2], attention.heads * attention.head_dim)


def _split(attention: Attention, part: Tensor) -> Tensor:
    return part.reshape(-1, part.shape[1], attention.heads, attention.head_dim).transpose(1, 2)


def _resize(features: Tensor) -> Tensor:
    return F.interpolate(F.relu(features), scale_factor=4.0, mode="bilinear", align_corners=False)


def _unembed(config: VitPoseConfig) -> Callable[[Tensor], Tensor]:
    return lambda x: x.transpose(1, 2).reshape(-1, config.dim, *config.grid)


def is_simple(model: ViTPose) -> bool:
    """Say which head a network has."""
    return isinstance(model.head, SimpleHead)


def list_holders(model: ViTPose) -> list[tuple[str, nn.Module]]:
    """Return the modules that have weights of their own, by operator."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.LayerNorm)
    ]


def list_names(model: ViTPose, spelling: Spelling = "fused") -> list[str]:
    """Return the names of a network's operators, in the order in which they run."""
    names: list[str] = []

    def note(name: str, _compute: Compute, _inputs: Sequence[None]) -> None:
        names.append(name)

    walk(model.config, is_simple(model), spelling, note, None)
    return names


class Mixed(nn.Module):
    """A network in half precision, but for the operators that compute in float32; it takes and gives float32.

    Args:
        model: as it is exported; stays as it is.
        float32: names of operators.
    """

    def __init__(self, model: ViTPose, float32: frozenset[str]) -> None:
        super().__init__()
        self.module = copy.deepcopy(model)
        self._float32 = float32
        for name, holder in list_holders(self.module):
            if name not in float32:
                holder.half()
        if "backbone.pos_embed" not in float32:
            self.module.backbone.pos_embed.data = self.module.backbone.pos_embed.data.half()

    def forward(self, x: Tensor) -> Tensor:
        """Map crops (N, 3, H, W) to heatmaps (N, K, H/4, W/4)."""
        return walk(self.module.config, is_simple(self.module), "fused", self._run, x).float()

    def _run(self, name: str, compute: Compute, inputs: Sequence[Tensor]) -> Tensor:
        kind = torch.float32 if name in self._float32 else torch.float16
        return compute(self.module, *(each.to(kind) for each in inputs))
