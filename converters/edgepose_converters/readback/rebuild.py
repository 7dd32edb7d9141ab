"""Make a model of what a quantized file holds, for when the decision behind it isn't at hand."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from edgepose.errors import VerificationError
from edgepose.models import for_export
from edgepose.models.vitpose import ViTPose
from edgepose.precision import Precision
from edgepose.quantization.layers import Layer, list_layers, output_axis
from edgepose.quantization.lowering import QuantizedLayer, QuantizedModel
from edgepose.quantization.preparation import prepare
from edgepose.quantization.recipe import ActivationRange, ChannelRanges, Quantization, QuantizationRecipe, Statistics
from edgepose_converters.readback.comparison import check_structure
from edgepose_converters.readback.expected import expect
from edgepose_converters.readback.graph import Levels, StoredGraph
from edgepose_converters.readback.layers import StoredLayer

__all__ = ["rebuild"]

_SINGLE_SCALE = np.float32
_BYTE = 256


def rebuild(graph: StoredGraph, model: ViTPose, precision: Precision, format: str) -> QuantizedModel:  # noqa: A002
    """Return what a file holds as a model that can be simulated, and whose numbers can be compared with the float model's.

    Args:
        graph: the file's.
        model: the float model that it should stand for.
        precision: of the file; a quantized one.
        format: ``openvino``, ``onnx``, ``litert`` or ``coreml``.

    Raises:
        VerificationError: it isn't the same network.
    """
    expected = expect(for_export(model), None, precision, format)
    stored = check_structure(graph, expected)
    module = prepare(model)
    layers: dict[str, QuantizedLayer] = {}
    for layer, parts in _grouped(list_layers(module), stored):
        _restore(module, layer, parts, precision)
        if (integers := _integers(module, layer, parts)) is not None:
            layers[layer.name] = integers
    assert precision.decision is not None  # noqa: S101  # the caller made sure
    names = tuple(layer.name for layer in list_layers(module) if layer.name not in layers)
    recipe = QuantizationRecipe(precision=precision.decision, float_layers=names)
    quantization = Quantization(model="", weights_sha256="", recipe=recipe, statistics=Statistics(layers={}))
    return QuantizedModel(module=module.eval(), layers=layers, every_layer=layers, quantization=quantization)


def _grouped(layers: tuple[Layer, ...], stored: tuple[StoredLayer, ...]) -> Iterator[tuple[Layer, tuple[StoredLayer, ...]]]:
    position = 0
    split = len(stored) > len(layers)
    for layer in layers:
        count = 3 if split and layer.name.endswith(".qkv") else 1
        yield layer, stored[position : position + count]
        position += count


@torch.no_grad()
def _restore(module: ViTPose, layer: Layer, parts: tuple[StoredLayer, ...], precision: Precision) -> None:
    """Put a layer's stored numbers into the model, and those of the norm in front of it."""
    target = module.get_submodule(layer.name)
    axis = output_axis(target)
    weights, biases = [], []
    for part, factor in zip(parts, _factors(module, parts), strict=True):
        weight = part.operator.weight
        assert weight is not None  # noqa: S101  # a layer has weights
        units = _units(part, weight.values.shape[axis]) / factor
        along = [1] * weight.values.ndim
        along[axis] = -1
        weights.append(weight.real() * units.reshape(along))
        biases.append((np.zeros(len(units)) if part.bias is None else part.bias.real().reshape(-1)) * units)
    target.load_state_dict({"weight": _tensor(np.concatenate(weights, axis)), "bias": _tensor(np.concatenate(biases))})
    first = parts[0]
    if first.positions is not None:
        module.backbone.pos_embed.copy_(_tensor(first.positions.real().reshape(module.backbone.pos_embed.shape)))
    if first.norm is not None:
        block, _, role = layer.name.rpartition(".attn." if ".attn." in layer.name else ".mlp.")
        norm = module.backbone.norm if layer.name.startswith("head.") else module.get_submodule(f"{block}.{_NORMS[role]}")
        assert isinstance(norm, torch.nn.LayerNorm)  # noqa: S101  # that is where these layers are
        if first.norm.epsilon is not None and not np.isclose(first.norm.epsilon, norm.eps, rtol=1e-5, atol=0):
            raise VerificationError(f"{layer.name}: the epsilon in front of it is {first.norm.epsilon:.3g}; the model's is {norm.eps:.3g}")
        root = float(norm.get_parameter("weight").numel()) ** 0.5 if precision.whole else 1.0
        for name, neutral, given in (("weight", 1.0, first.norm.weights), ("bias", 0.0, first.norm.biases)):
            parameter = norm.get_parameter(name)
            scale = root if name == "weight" else 1.0
            parameter.copy_(_tensor(given[0].real().reshape(-1) / scale) if given else torch.full_like(parameter, neutral))


_NORMS = {"qkv": "norm1", "fc1": "norm2"}


def _integers(module: ViTPose, layer: Layer, parts: tuple[StoredLayer, ...]) -> QuantizedLayer | None:
    axis = output_axis(module.get_submodule(layer.name))
    levels, scales, lows, highs = [], [], [], []
    for part, factor in zip(parts, _factors(module, parts), strict=True):
        weight = part.operator.weight
        if weight is None or weight.scale is None:
            return None
        units = _units(part, weight.values.shape[axis]) / factor
        zero = 0 if weight.zero_point is None else weight.zero_point
        levels.append((weight.values.astype(np.int16) - zero).astype(np.int8))
        # One scale per weight: whatever groups there are.
        spread = np.broadcast_to(weight.scale.astype(np.float64), weight.values.shape)
        rows = np.moveaxis(spread, axis, 0).reshape(len(units), -1) * units[:, None]
        scales.append(rows if np.ptp(rows, axis=1).any() else rows[:, 0])
        if part.output is not None:
            low, high = _ends(part.output)
            lows.append(np.minimum(low, 0) * units)
            highs.append(np.maximum(high, 0) * units)
    inputs = parts[0].inputs
    for each in (levels for part in parts for levels in part.inputs):
        # Rounding, and back to real numbers, must mean the same.
        if not np.allclose(_ends(each), _ends(inputs[0]), rtol=1e-5, atol=1e-5 * each.scale):
            raise VerificationError(f"{layer.name}: its input is rounded as {each} and taken for {inputs[0]}")
    return QuantizedLayer(
        layer=layer,
        weight=np.concatenate(levels, axis),
        scale=np.concatenate(scales).astype(_SINGLE_SCALE),
        bias=module.get_submodule(layer.name).get_parameter("bias").detach().numpy(),
        input=ActivationRange(low=min(_ends(inputs[0])[0], 0.0), high=_ends(inputs[0])[1]) if inputs and inputs[0].count == _BYTE else None,
        output=ChannelRanges(low=tuple(np.concatenate(lows).tolist()), high=tuple(np.concatenate(highs).tolist())) if lows else None,
    )


def _ends(levels: Levels) -> tuple[float, float]:
    return -levels.zero_point * levels.scale, (levels.count - 1 - levels.zero_point) * levels.scale


def _factors(module: ViTPose, parts: tuple[StoredLayer, ...]) -> list[float]:
    """The queries of a file that splits ``qkv`` hold the scaling of the scores."""
    if len(parts) == 1:
        return [1.0]
    head = module.config.dim // module.config.heads
    return [head**-0.5, 1.0, 1.0]


def _units(part: StoredLayer, channels: int) -> NDArray[np.float64]:
    return np.ones(channels) if part.units is None else part.units.real().reshape(-1)


def _tensor(values: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
