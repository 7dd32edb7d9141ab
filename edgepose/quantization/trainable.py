"""``TrainableNetwork``: a decision in the form that gradients can change, and the way back to a decision.

The fake-quantizers are NNCF's own (``nncf.torch.quantization.layers``): they let gradients through inside a range, and give the ends of the
range gradients, too.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from edgepose.errors import InputError
from edgepose.models.vitpose import Block, ClassicHead, ViTPose
from edgepose.quantization.fake_quantization import import_quantizers
from edgepose.quantization.layers import output_axis
from edgepose.quantization.lowering import QuantizedLayer, apply
from edgepose.quantization.preparation import centre, prepare, residual_writers, smooth
from edgepose.quantization.recipe import ActivationRange, LayerStatistics, Quantization, Statistics

__all__ = ["TrainableLayer", "TrainableNetwork"]

# Half the range is -64…64: where NNCF decides, the largest weight of a channel lies between 63 and 64, and may be rounded to either.
_LARGEST, _LARGEST_REDUCED = 127, 64
_INPUT_LEVELS = 256
# A weight further than this from its level, in steps, could be rounded to the next one by other arithmetic.
_NEAR = 0.499


class TrainableLayer(nn.Module):
    """A layer whose weights and input are fake-quantized.

    Args:
        layer: the layer, its weights not rounded.
        input_quantizer: NNCF's ``AsymmetricQuantizer``.
        weight_quantizer: NNCF's ``SymmetricQuantizer``.
    """

    def __init__(self, layer: nn.Module, input_quantizer: nn.Module, weight_quantizer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.input_quantizer: Any = input_quantizer
        self.weight_quantizer: Any = weight_quantizer

    def forward(self, x: Tensor) -> Tensor:
        """Round ``x`` and the weights, and apply the layer."""
        weight = self.weight_quantizer(self.layer.weight)
        out: Tensor = functional_call(self.layer, {"weight": weight}, (self.input_quantizer(x),))
        return out

    @torch.no_grad()
    def clip(self) -> None:
        """Move weights that the quantizer cuts off to the ends of its range, which changes nothing in what the layer computes."""
        limit = self.weight_quantizer.scale.abs()
        self.layer.get_parameter("weight").clamp_(-limit, limit)

    @torch.no_grad()
    def cover(self) -> None:
        """Widen the quantizer's range to where it cuts off nothing."""
        weight, scale = self.layer.get_parameter("weight"), self.weight_quantizer.scale
        others = [axis for axis, size in enumerate(scale.shape) if size == 1]
        scale.copy_(torch.maximum(scale.abs(), weight.abs().amax(others, keepdim=True)))

    @torch.no_grad()
    def settle(self) -> Tensor:
        """Return the weights, those halfway between two levels moved by a thousandth of a step to the side that they are rounded to."""
        weight = self.layer.get_parameter("weight")
        return _settle(weight, self.weight_quantizer(weight), self.weight_quantizer.scale.abs() / self.weight_quantizer.level_high)

    @torch.no_grad()
    def read(self) -> LayerStatistics:
        """Return the numbers that the layer has come to."""
        low, high = self.input_quantizer.get_input_low_input_high()
        return LayerStatistics(
            weight_scale=_floats(self.weight_quantizer.scale.abs() / self.weight_quantizer.level_high),
            bias=_floats(self.layer.get_parameter("bias")),
            input=ActivationRange(low=min(float(low), 0.0), high=max(float(high), 0.0)),
        )


class TrainableNetwork(nn.Module):
    """A prepared and smoothed ViTPose with fake-quantizers around the layers that a decision quantizes.

    At first it computes what ``lowering.simulate`` makes of the decision.

    Args:
        model: the trained model.
        quantization: a decision about it.

    Raises:
        MissingDependencyError: NNCF isn't installed.
        InputError: the decision was made for another model, or has no ranges of activations.
    """

    def __init__(self, model: ViTPose, quantization: Quantization) -> None:
        super().__init__()
        quantized = apply(model, quantization)
        self._quantization = quantization
        self.network = smooth(prepare(model), quantization.statistics.smoothing).requires_grad_(True)
        self._writers = residual_writers(self.network)
        for block in self.network.backbone.blocks:
            if isinstance(block, Block):
                # Folded into the layers behind: they stay at zero, so that preparing the trained model again changes nothing.
                block.norm1.bias.requires_grad_(False)
                block.norm2.bias.requires_grad_(False)
        for name, decided in quantized.layers.items():
            layer = _wrap(self.network.get_submodule(name), decided, reduce_range=quantization.recipe.reduce_range)
            self.network.set_submodule(name, layer)
        self._float_biases = {
            name: self.network.get_submodule(name).get_parameter("bias").detach().clone()
            for name in quantization.statistics.layers
            if name not in quantized.layers
        }
        self.project()

    def forward(self, x: Tensor) -> Tensor:
        """Map normalized crops (N, 3, H, W) to heatmaps (N, K, H/4, W/4)."""
        out: Tensor = self.network(x)
        return out

    def trained(self) -> dict[str, nn.Parameter]:
        """Return what is trained, by name; also all that ``load`` needs to restore the network."""
        return {name: parameter for name, parameter in self.network.named_parameters() if parameter.requires_grad}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's groups, each with a ``scale`` for the learning rate.

        Adam's steps are as large as the learning rate: right for weights, but next to nothing for the ranges of activations, which are
        hundreds of times larger. Their steps are relative to the range.
        """
        ranges = {
            f"{name}.input_quantizer.": float(layer.input_quantizer.input_range.detach().abs())
            for name, layer in self.network.named_modules()
            if isinstance(layer, TrainableLayer)
        }
        groups: list[dict[str, Any]] = [{"params": [], "scale": 1.0}, *({"params": [], "scale": scale} for scale in ranges.values())]
        places = {prefix: index for index, prefix in enumerate(ranges, 1)}
        for name, parameter in self.trained().items():
            prefix = name[: name.rfind(".") + 1]
            groups[places.get(prefix, 0)]["params"].append(parameter)
        return groups

    @torch.no_grad()
    def load(self, values: dict[str, Tensor]) -> None:
        """Restore what ``trained`` returned.

        Raises:
            InputError: the names or shapes are others.
        """
        trained = self.trained()
        if {name: value.shape for name, value in values.items()} != {name: value.shape for name, value in trained.items()}:
            raise InputError("the saved weights belong to another network")
        for name, parameter in trained.items():
            parameter.copy_(values[name])

    def project(self) -> None:
        """Return to the networks that a decision can describe: residual stream centred, no weight outside its quantizer's range.

        To be called after each step of an optimizer.
        """
        layers = [layer for layer in self.network.modules() if isinstance(layer, TrainableLayer)]
        for layer in layers:
            layer.clip()
        centre(self._writers)
        for layer in layers:
            layer.cover()

    @torch.no_grad()
    def to_model(self) -> ViTPose:
        """Return the weights, not rounded, as a plain ViTPose; ``prepare`` gives back this network without its quantizers."""
        state = {
            name.replace(".layer.", "."): parameter.detach().clone()
            for name, parameter in self.network.named_parameters()
            if "_quantizer." not in name
        }
        for name, layer in self.network.named_modules():
            if isinstance(layer, TrainableLayer):
                state[f"{name}.weight"] = layer.settle()
        with torch.device("meta"):
            model = ViTPose(self.network.config)
        if isinstance(model.head, ClassicHead):
            for number, norm in enumerate((model.head.bn1, model.head.bn2), 1):
                # A BatchNorm that divides by one and adds the bias, which a transposed convolution of this head doesn't have.
                bias = state.pop(f"head.deconv{number}.bias")
                state |= {
                    f"head.bn{number}.weight": torch.ones_like(bias),
                    f"head.bn{number}.bias": bias,
                    f"head.bn{number}.running_mean": torch.zeros_like(bias),
                    f"head.bn{number}.running_var": torch.full_like(bias, 1 - norm.eps),
                    f"head.bn{number}.num_batches_tracked": torch.tensor(0),
                }
        model.load_state_dict(state, assign=True)
        return model.eval().requires_grad_(False)

    def to_statistics(self) -> Statistics:
        """Return the decision's numbers for ``to_model``, without the ranges behind layers, which are to be measured again."""
        statistics = self._quantization.statistics
        layers = {}
        for name, numbers in statistics.layers.items():
            layer = self.network.get_submodule(name)
            layers[name] = layer.read() if isinstance(layer, TrainableLayer) else self._read_float(name, layer, numbers)
        return replace(statistics, layers=layers, smoothing={}, norms={}, scores={}, sensitivity=())

    @torch.no_grad()
    def _read_float(self, name: str, layer: nn.Module, numbers: LayerStatistics) -> LayerStatistics:
        """Keep a float layer's numbers, for files that hold no float, and make them fit the trained weights."""
        weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
        others = [axis for axis in range(weight.ndim) if axis != output_axis(layer)]
        largest = _LARGEST_REDUCED if self._quantization.recipe.reduce_range else _LARGEST
        scale = torch.maximum(torch.tensor(numbers.weight_scale), weight.abs().amax(others) / largest)
        correction = torch.tensor(numbers.bias) - self._float_biases[name]
        return LayerStatistics(weight_scale=_floats(scale), bias=_floats(bias + correction), input=numbers.input)


@torch.no_grad()
def _wrap(layer: nn.Module, decided: QuantizedLayer, *, reduce_range: bool) -> TrainableLayer:
    if decided.input is None:
        raise InputError(f"the decision has no range for the input of {decided.layer.name}; fine-tuning needs one of precision 'int8'")
    nncf = import_quantizers()
    weight = layer.get_parameter("weight")
    shape = [1] * weight.ndim
    shape[output_axis(layer)] = -1
    scale = torch.from_numpy(decided.scale).reshape(shape)
    largest = _LARGEST_REDUCED if reduce_range else _LARGEST

    def describe(mode: object, scale_shape: tuple[int, ...], *, signed: bool | None, narrow: bool) -> object:
        return nncf.PTQuantizerSpec(
            num_bits=8,
            mode=mode,
            signedness_to_force=signed,
            narrow_range=narrow,
            half_range=signed is True and reduce_range,
            scale_shape=scale_shape,
            logarithm_scale=False,
        )

    weights = nncf.SymmetricQuantizer(describe(nncf.QuantizationMode.SYMMETRIC, tuple(scale.shape), signed=True, narrow=True))
    weights.level_low, weights.level_high = -largest, largest
    weights.scale.copy_(scale * largest)
    inputs = nncf.AsymmetricQuantizer(describe(nncf.QuantizationMode.ASYMMETRIC, (1,), signed=None, narrow=False))
    # Multiples of the step, as NNCF would move ends between two levels.
    inputs.input_low.fill_(-decided.input.zero_point * decided.input.scale)
    inputs.input_range.fill_((_INPUT_LEVELS - 1) * decided.input.scale)
    weight.copy_(_settle(weight, torch.from_numpy(decided.weight) * scale, scale))
    layer.get_parameter("bias").copy_(torch.from_numpy(decided.bias))
    return TrainableLayer(layer, inputs, weights)


def _settle(weight: Tensor, rounded: Tensor, step: Tensor) -> Tensor:
    return weight.clamp(rounded - _NEAR * step, rounded + _NEAR * step)


def _floats(tensor: Tensor) -> tuple[float, ...]:
    return tuple(tensor.detach().float().ravel().tolist())
