"""OpenVINO: compressed weights, and FakeQuantize in front of the layers whose input is quantized.

This is the form that NNCF itself writes. The CPU, GPU and NPU plug-ins turn it into integer kernels when they compile it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.quantization.lowering import QuantizedLayer, QuantizedModel
from edgepose.quantization.recipe import ActivationRange
from edgepose_converters.lowering.matching import match_layers
from edgepose_converters.nibbles import pack_nibbles

__all__ = ["lower"]

_WEIGHTED = ("MatMul", "Convolution", "ConvolutionBackpropData")


def lower(model: Any, quantized: QuantizedModel) -> None:
    """Put the integer weights and the quantizers of ``quantized`` into the float OpenVINO ``model`` that was made from its module."""
    weighted = (node for node in model.get_ordered_ops() if node.get_type_name() in _WEIGHTED)
    found = [(node, weight.data) for node in weighted if (weight := node.input_value(1).get_node()).get_type_name() == "Constant"]
    for layer, node in list(match_layers(quantized, found)):
        lowered = quantized.layers.get(layer.name)
        if lowered is None:
            node.input(1).replace_source_output(_halved(node.input_value(1).get_node().data).output(0))
            continue
        node.input(1).replace_source_output(_weight(lowered).output(0))
        if lowered.input is not None:
            node.input(0).replace_source_output(_quantizer(node.input_value(0), lowered.input).output(0))


def _weight(layer: QuantizedLayer) -> Any:
    from openvino import Type, opset15

    if layer.scale.ndim == 2:
        return _grouped(layer)
    levels = opset15.constant(layer.weight)
    shape = [1] * layer.weight.ndim
    shape[1 if layer.layer.kind == "deconv" else 0] = -1
    return opset15.multiply(opset15.convert(levels, Type.f32), opset15.constant(layer.scale.reshape(shape)))


def _grouped(layer: QuantizedLayer) -> Any:
    """4-bit levels as (out, groups, group), scaled, then reshaped to the weight's own shape."""
    from openvino import Tensor, Type, opset15

    out, groups = layer.scale.shape
    shape = [out, groups, layer.weight.size // (out * groups)]
    levels = opset15.constant(Tensor(pack_nibbles(layer.weight), shape, Type.i4), shared_memory=False)
    scaled = opset15.multiply(opset15.convert(levels, Type.f32), opset15.constant(layer.scale[..., None]))
    return opset15.reshape(scaled, opset15.constant(np.array(layer.weight.shape, np.int64)), special_zero=False)


def _halved(weight: NDArray[np.float32]) -> Any:
    """OpenVINO's own compression leaves quantized models alone, so the layers that stay in float are halved here."""
    from openvino import Type, opset15

    return opset15.convert(opset15.constant(weight.astype(np.float16)), Type.f32)


def _quantizer(source: Any, levels: ActivationRange) -> Any:
    from openvino import opset15

    low, high = (opset15.constant(np.float32(value)) for value in (levels.low, levels.high))
    return opset15.fake_quantize(source, low, high, low, high, 256)
