"""The layers of a ViTPose that can be quantized, and the layer that can take a smoothing factor before each."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from edgepose.models.vitpose import ViTPose

__all__ = ["Layer", "list_layers", "output_axis"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A matrix product or convolution with weights.

    Attributes:
        name: the module's path, e.g. ``backbone.blocks.0.attn.qkv``.
        kind: ``linear``, ``conv`` or ``deconv`` (a transposed convolution).
        parameters: number of weights.
    """

    name: str
    kind: Literal["linear", "conv", "deconv"]
    parameters: int


def list_layers(model: ViTPose) -> tuple[Layer, ...]:
    """Return the layers in the order in which they run."""
    layers = []
    for name, module in model.named_modules():
        if (kind := _kind(module)) is not None:
            layers.append(Layer(name=name, kind=kind, parameters=module.get_parameter("weight").numel()))
    return tuple(layers)


def _kind(module: nn.Module) -> Literal["linear", "conv", "deconv"] | None:
    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, nn.Conv2d):
        return "conv"
    return "deconv" if isinstance(module, nn.ConvTranspose2d) else None


def output_axis(module: nn.Module) -> int:
    """Return the axis of a layer's weight that counts output channels."""
    return 1 if isinstance(module, nn.ConvTranspose2d) else 0
