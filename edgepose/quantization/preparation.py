"""Rewrite a ViTPose, without changing what it computes, so that it quantizes well and equally in every format.

Three identities of pre-norm transformers are used. The bias of a LayerNorm can move into the linear layer behind it. What every layer adds
to the residual stream can be centred over its channels, because each LayerNorm subtracts the mean anyway. And SmoothQuant's factors
(arXiv 2211.10438) fold into the layer before: into the LayerNorm's weight, or, for the projection behind attention, into the rows of
``qkv`` that make the values, since attention mixes tokens but never channels. Folded factors cost nothing at run time.
"""

import copy
import hashlib

import torch
from torch import nn

from edgepose.errors import InputError
from edgepose.models import for_export
from edgepose.models.vitpose import Block, ViTPose

__all__ = ["FOLDABLE", "centre", "fingerprint", "prepare", "residual_writers", "smooth"]

FOLDABLE = ("attn.qkv", "attn.proj", "mlp.fc1")
"""Layers of a block whose smoothing factors fold into the layer before; between GELU and ``mlp.fc2`` nothing is linear."""


@torch.no_grad()
def prepare(model: ViTPose) -> ViTPose:
    """Return ``model`` as it computes in inference, with BatchNorm and LayerNorm biases folded and the residual stream centred.

    The result shares no memory with ``model``.
    """
    prepared = copy.deepcopy(for_export(model))
    for block in _blocks(prepared):
        for norm, linear in ((block.norm1, block.attn.qkv), (block.norm2, block.mlp.fc1)):
            bias = linear.bias.double() + linear.weight.double() @ norm.bias.double()
            linear.bias.copy_(bias)
            norm.bias.zero_()
    centre(residual_writers(prepared))
    return prepared


def residual_writers(model: ViTPose) -> list[tuple[nn.Parameter, int]]:
    """Return the parameters whose sums make the residual stream, each with its axis of the stream's channels."""
    layers: list[nn.Module] = [model.backbone.patch_embed]
    for block in _blocks(model):
        layers += [block.attn.proj, block.mlp.fc2]
    return [*((parameter, 0) for layer in layers for parameter in layer.parameters()), (model.backbone.pos_embed, -1)]


@torch.no_grad()
def centre(writers: list[tuple[nn.Parameter, int]]) -> None:
    """Subtract from parameters, in place, their mean over the channels; see ``residual_writers``."""
    for parameter, axis in writers:
        values = parameter.double()
        parameter.copy_(values - values.mean(axis, keepdim=True))


@torch.no_grad()
def smooth(prepared: ViTPose, factors: dict[str, tuple[float, ...]]) -> ViTPose:
    """Return a copy in which the inputs of the named layers are multiplied by ``factors`` and their weights divided by them.

    Args:
        prepared: what ``prepare`` returned.
        factors: one factor per input channel, by layer name; the names end as in ``FOLDABLE``.

    Raises:
        InputError: an unknown layer, a wrong number of factors, or one that isn't above zero.
    """
    smoothed = copy.deepcopy(prepared)
    layers = dict(smoothed.named_modules())
    for name, values in factors.items():
        prefix, _, kind = name.rpartition(".attn.") if ".attn." in name else name.rpartition(".mlp.")
        block, layer = layers.get(prefix), layers.get(name)
        if not isinstance(block, Block) or not isinstance(layer, nn.Linear) or kind == "fc2":
            raise InputError(f"smoothing names {name!r}, which isn't a layer that it can be folded before")
        factor = torch.tensor(values, dtype=layer.weight.dtype)
        if factor.shape != (layer.in_features,) or not bool((factor > 0).all()):
            raise InputError(f"smoothing of {name} has {len(values)} factors; expected {layer.in_features}, all above zero")
        layer.weight.div_(factor)
        if kind == "proj":
            block.attn.qkv.weight[-len(factor) :] *= factor[:, None]
            block.attn.qkv.bias[-len(factor) :] *= factor
        else:
            norm = block.norm1 if kind == "qkv" else block.norm2
            norm.weight.mul_(factor)
    return smoothed


def fingerprint(model: ViTPose) -> str:
    """Return the SHA-256, in hex, of the weights' names, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()


def _blocks(model: ViTPose) -> list[Block]:
    return [block for block in model.backbone.blocks if isinstance(block, Block)]
