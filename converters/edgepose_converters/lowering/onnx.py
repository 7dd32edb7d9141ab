"""ONNX: the forms of integer layers that ONNX Runtime fuses, and that other runtimes know.

``int8`` is QuantizeLinear → DequantizeLinear in front of each layer (uint8: the form of x86's integer instructions) and int8 weights behind
a DequantizeLinear of their own; the bias of a matrix product is int32, without which ONNX Runtime takes its float kernel. There is no
quantizer behind the layer: the integer kernel then writes float, which spares a rounding and a pass over memory. ``int8-dynamic`` is
DynamicQuantizeLinear and MatMulInteger for matrix products, and weights alone for convolutions, for which ONNX Runtime has no dynamic
kernel that pays. ``int4`` is a blocked DequantizeLinear.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgepose.precision import get_precision
from edgepose.quantization.lowering import QuantizedLayer, QuantizedModel
from edgepose.quantization.recipe import ActivationRange
from edgepose_converters.lowering.matching import match_layers
from edgepose_converters.nibbles import pack_nibbles

__all__ = ["INT4_OPSET", "lower"]

INT4_OPSET = 21
"""The first opset with 4-bit integers and blocked scales."""

_UNSIGNED = 128
_WEIGHTED = ("MatMul", "Conv", "ConvTranspose")


def lower(model: onnx.ModelProto, quantized: QuantizedModel) -> None:
    """Put the integer weights and the quantizers of ``quantized`` into the float ``model`` that was exported from its module."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    found = [
        (node, numpy_helper.to_array(constants[node.input[1]]))
        for node in graph.node
        if node.op_type in _WEIGHTED and node.input[1] in constants
    ]
    consumers = {name: node for node in graph.node for name in node.input}
    decision = get_precision(quantized.quantization.recipe.precision)
    dynamic = decision.weight_bits == 8 and not decision.calibrated
    replacements: dict[str, list[NodeProto]] = {}
    for layer, node in match_layers(quantized, found, linear_axes=(1, 0)):
        lowered = quantized.layers.get(layer.name)
        writer = _Writer(graph, layer.name)
        if lowered is None:
            writer.halved(node, numpy_helper.to_array(constants[node.input[1]]))
        elif dynamic and layer.kind == "linear":
            writer.dynamic(node, lowered)
        else:
            writer.static(node, lowered)
        if layer.kind == "linear" and lowered is not None and lowered.input is not None:
            addition = consumers[node.output[0]]
            ports = [port for port, name in enumerate(addition.input) if name in constants]
            # A bias of zero may have been left out.
            if addition.op_type == "Add" and ports:
                addition.input[ports[0]] = writer.bias(lowered, lowered.input)
        replacements[node.output[0]] = writer.nodes
    nodes = [new for node in graph.node for new in replacements.get(node.output[0], [node])]
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


class _Writer:
    """Makes the nodes and constants of one layer."""

    def __init__(self, graph: onnx.GraphProto, name: str) -> None:
        self.nodes: list[NodeProto] = []
        self._graph = graph
        self._name = name

    def static(self, node: NodeProto, layer: QuantizedLayer) -> None:
        """Round the input where that is decided, and take the weights from their integers."""
        source = node.input[0]
        if layer.input is not None:
            scale = self._constant("input_scale", np.float32(layer.input.scale))
            zero = self._constant("input_zero_point", np.uint8(layer.input.zero_point))
            levels = self._add("QuantizeLinear", [source, scale, zero], "input_levels")
            source = self._add("DequantizeLinear", [levels, scale, zero], "input_rounded")
        node = _copy(node)
        node.input[0], node.input[1] = source, self._weight(layer)
        self.nodes.append(node)

    def bias(self, layer: QuantizedLayer, levels: ActivationRange) -> str:
        """Return the bias as integers in units of the product's scale."""
        scale = np.float32(levels.scale) * layer.scale
        rounded = np.rint(layer.bias / scale).clip(-(2**31), 2**31 - 1).astype(np.int32)
        inputs = [self._constant("bias_levels", rounded), self._constant("bias_scale", scale)]
        return self._add("DequantizeLinear", inputs, "rounded_bias", axis=0)

    def halved(self, node: NodeProto, weight: NDArray[np.float32]) -> None:
        """Store the weights of a layer that stays in float in half precision; runtimes widen them when they load."""
        node = _copy(node)
        node.input[1] = self._add("Cast", [self._constant("half_weight", weight.astype(np.float16))], "wide_weight", to=TensorProto.FLOAT)
        self.nodes.append(node)

    def dynamic(self, node: NodeProto, layer: QuantizedLayer) -> None:
        """Quantize the input at run time and multiply integers."""
        outputs = [f"{self._name}.{part}" for part in ("levels", "input_scale", "input_zero_point")]
        self.nodes.append(helper.make_node("DynamicQuantizeLinear", [node.input[0]], outputs, name=f"{self._name}.quantize"))
        # Unsigned, because x86 CPUs without VNNI add products of signed and unsigned bytes in 16 bits, which overflow with 8-bit weights.
        weight = self._constant("weight_levels", (layer.weight.T.astype(np.int16) + _UNSIGNED).astype(np.uint8))
        zero = self._constant("weight_zero_point", np.uint8(_UNSIGNED))
        product = self._add("MatMulInteger", [outputs[0], weight, outputs[2], zero], "product")
        scale = self._add("Mul", [outputs[1], self._constant("weight_scale", layer.scale)], "scale")
        real = self._add("Cast", [product], "real", to=TensorProto.FLOAT)
        self.nodes.append(helper.make_node("Mul", [real, scale], list(node.output), name=f"{self._name}.scaled"))

    def _weight(self, layer: QuantizedLayer) -> str:
        linear = layer.layer.kind == "linear"
        if layer.scale.ndim == 2:
            levels = self._int4(layer.weight.T)
            scale = self._constant("weight_scale", layer.scale.T)
            block = layer.weight.shape[1] // layer.scale.shape[1]
            return self._add("DequantizeLinear", [levels, scale], "rounded_weight", axis=0, block_size=block)
        levels = self._constant("weight_levels", layer.weight.T if linear else layer.weight)
        scale = self._constant("weight_scale", layer.scale)
        zero = self._constant("weight_zero_point", np.zeros(layer.scale.shape, np.int8))
        return self._add("DequantizeLinear", [levels, scale, zero], "rounded_weight", axis=0 if layer.layer.kind == "conv" else 1)

    def _int4(self, levels: NDArray[np.int8]) -> str:
        name = f"{self._name}.weight_levels"
        content = pack_nibbles(levels).tobytes()
        self._graph.initializer.append(TensorProto(name=name, data_type=TensorProto.INT4, dims=levels.shape, raw_data=content))
        return name

    def _constant(self, part: str, value: NDArray[np.generic] | np.generic) -> str:
        name = f"{self._name}.{part}"
        self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name))
        return name

    def _add(self, kind: str, inputs: list[str], part: str, **attributes: Any) -> str:
        output = f"{self._name}.{part}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{output}.{kind}", **attributes))
        return output


def _copy(node: NodeProto) -> NodeProto:
    copied = NodeProto()
    copied.CopyFrom(node)
    return copied
