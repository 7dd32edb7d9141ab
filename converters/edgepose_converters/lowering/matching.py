"""Find a model's layers in a converted graph."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edgepose.errors import ConversionError
from edgepose.quantization.layers import Layer, list_layers
from edgepose.quantization.lowering import QuantizedModel

__all__ = ["match_layers"]

_T = TypeVar("_T")


def match_layers(
    quantized: QuantizedModel, found: Sequence[tuple[_T, npt.NDArray[np.float32]]], *, linear_axes: tuple[int, int] = (0, 1)
) -> Iterator[tuple[Layer, _T]]:
    """Pair the layers with the operators of a graph that have weights: both come in the order in which they run.

    Names don't say it, because exporters rename weights and merge equal ones; the values are compared to be sure, as far as half
    precision goes.

    Args:
        quantized: the model that was exported.
        found: the operators with their weights.
        linear_axes: how the format orders the axes of a linear layer's weight: (0, 1) as torch does, (1, 0) transposed.

    Raises:
        ConversionError: the graph has other layers than the model.
    """
    layers = list_layers(quantized.module)
    if len(layers) != len(found):
        raise ConversionError(f"the exported graph has {len(found)} operators with weights, the model has {len(layers)} layers")
    for layer, (operator, weight) in zip(layers, found, strict=True):
        ours = quantized.module.get_submodule(layer.name).get_parameter("weight").detach().numpy()
        if layer.kind == "linear":
            ours = ours.transpose(linear_axes)
        if weight.shape != ours.shape or not np.allclose(weight, ours, rtol=1e-3, atol=1e-6):
            raise ConversionError(f"the exported graph has other weights than the model where {layer.name} should be")
        yield layer, operator
