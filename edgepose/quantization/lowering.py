"""``QuantizedModel``: a decision applied to weights, in the form that every converter lowers and that torch can run."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgepose.errors import InputError
from edgepose.models.vitpose import ViTPose
from edgepose.quantization.layers import Layer, list_layers, output_axis
from edgepose.quantization.preparation import fingerprint, prepare, smooth
from edgepose.quantization.recipe import ActivationRange, ChannelRanges, LayerStatistics, Quantization

__all__ = ["QuantizedLayer", "QuantizedModel", "SimulatedLayer", "apply", "simulate"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantizedLayer:
    """One layer with integer weights.

    Attributes:
        layer: which.
        weight: int8, in torch's layout for the layer; 4-bit values lie in -7…7.
        scale: float32: (out,), or (out, groups) for 4 bits, where each group is a run of ``group_size`` inputs.
        bias: float32 (out,).
        input: the range of its input, where that is quantized ahead of time.
        output: the ranges of its output channels, for kernels that write integers.
    """

    layer: Layer
    weight: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.float32]
    input: ActivationRange | None
    output: ChannelRanges | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantizedModel:
    """A model with a decision applied.

    Attributes:
        module: the network in float, with the weights of the quantized layers rounded to what their integers stand for.
        layers: the quantized layers, by name.
        every_layer: all layers that have statistics, those that stay in float included; for targets that hold no float at all.
        quantization: the decision.
    """

    module: ViTPose
    layers: dict[str, QuantizedLayer]
    every_layer: dict[str, QuantizedLayer]
    quantization: Quantization


def apply(model: ViTPose, quantization: Quantization) -> QuantizedModel:
    """Apply a decision to the model that it was made for.

    Raises:
        InputError: the decision was made for other weights, names an unknown layer, or has the wrong number of values for one.
    """
    if (ours := fingerprint(model)) != quantization.weights_sha256:
        raise InputError(
            f"the recipe was made for other weights: {quantization.model} with SHA-256 {quantization.weights_sha256[:12]}…, "
            f"while this model has {ours[:12]}…; quantize this model, or convert the one that the recipe belongs to"
        )
    recipe, statistics = quantization.recipe, quantization.statistics
    module = smooth(prepare(model), statistics.smoothing)
    known = {layer.name: layer for layer in list_layers(module)}
    for name in (*recipe.float_layers, *statistics.layers):
        if name not in known:
            raise InputError(f"the recipe names the layer {name!r}, which the model doesn't have; it has: {', '.join(known)}")
    every = {
        name: _quantize_layer(layer, module.get_submodule(name), statistics.layers[name], recipe.group_size)
        for name, layer in known.items()
        if name in statistics.layers
    }
    layers = {name: layer for name, layer in every.items() if name not in recipe.float_layers}
    for name, quantized in layers.items():
        target = module.get_submodule(name)
        target.load_state_dict(
            {"weight": torch.from_numpy(_dequantize(quantized, output_axis(target))), "bias": torch.from_numpy(quantized.bias)}
        )
    return QuantizedModel(module=module, layers=layers, every_layer=every, quantization=quantization)


class SimulatedLayer(nn.Module):
    """A layer whose input is rounded to 256 levels, as integer kernels see it.

    Args:
        layer: the layer, its weights rounded already.
        input: the levels' range.
    """

    def __init__(self, layer: nn.Module, input: ActivationRange) -> None:  # noqa: A002
        super().__init__()
        self.layer = layer
        self.scale = float(np.float32(input.scale))
        self.zero_point = input.zero_point

    def forward(self, x: Tensor) -> Tensor:
        """Round ``x``, any shape, and apply the layer."""
        out: Tensor = self.layer(torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, 0, 255))
        return out


def simulate(quantized: QuantizedModel, *, only: str | None = None) -> ViTPose:
    """Return a torch model that computes what the decision says, in float arithmetic on rounded values.

    Args:
        quantized: what ``apply`` returned.
        only: the one layer whose input is to be rounded; ``None`` means all of them.
    """
    simulated = copy.deepcopy(quantized.module)
    for name, layer in quantized.layers.items():
        if layer.input is not None and only in (None, name):
            parent, _, child = name.rpartition(".")
            setattr(simulated.get_submodule(parent), child, SimulatedLayer(simulated.get_submodule(name), layer.input))
    return simulated.eval()


def _quantize_layer(layer: Layer, module: nn.Module, numbers: LayerStatistics, group_size: int) -> QuantizedLayer:
    weight = module.get_parameter("weight").detach().numpy()
    axis = output_axis(module)
    out = weight.shape[axis]
    rows = np.moveaxis(weight, axis, 0).reshape(out, -1)
    low, high, groups = (-127, 127, 1) if numbers.weight_bits == 8 else (-7, 7, max(1, rows.shape[1] // group_size))
    if len(numbers.weight_scale) != out * groups or len(numbers.bias) != out or rows.shape[1] % groups:
        raise InputError(
            f"the recipe has {len(numbers.weight_scale)} weight scales and {len(numbers.bias)} biases for {layer.name}; "
            f"expected {out * groups} and {out}"
        )
    scale = np.array(numbers.weight_scale, np.float32).reshape(out, groups)
    if not (scale > 0).all():
        raise InputError(f"the recipe has a weight scale for {layer.name} that isn't above zero")
    levels = np.rint(rows.reshape(out, groups, -1) / scale[..., None]).clip(low, high).astype(np.int8)
    moved = np.moveaxis(weight, axis, 0).shape
    return QuantizedLayer(
        layer=layer,
        weight=np.ascontiguousarray(np.moveaxis(levels.reshape(moved), 0, axis)),
        scale=scale if numbers.weight_bits == 4 else scale[:, 0],
        bias=np.array(numbers.bias, np.float32),
        input=numbers.input,
        output=numbers.output,
    )


def _dequantize(quantized: QuantizedLayer, axis: int) -> NDArray[np.float32]:
    out = quantized.weight.shape[axis]
    moved = np.moveaxis(quantized.weight, axis, 0)
    scale = quantized.scale.reshape(out, -1)
    rows = moved.reshape(out, scale.shape[1], -1).astype(np.float32) * scale[..., None]
    return np.ascontiguousarray(np.moveaxis(rows.reshape(moved.shape), 0, axis))
