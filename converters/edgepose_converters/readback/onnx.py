"""ONNX, through the ``onnx`` package's own reader."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from edgepose.errors import VerificationError
from edgepose_converters.readback.graph import Kind, Levels, Operator, Stored, StoredGraph

__all__ = ["read"]

_LAYERS: dict[str, Kind] = {"MatMul": "linear", "Conv": "conv", "ConvTranspose": "deconv"}
_WITH_CONSTANT: dict[str, Kind] = {"Add": "add", "Mul": "multiply"}
_KINDS: dict[str, Kind] = {"Softmax": "softmax", "Gelu": "activation", "Relu": "activation", "Resize": "activation"}
_PLAIN = frozenset({"Add", "Mul", "MatMul", "Cast", "Identity", "Reshape", "Transpose", "Split", "Concat"})


def read(path: Path) -> StoredGraph:
    """Read a file.

    Raises:
        VerificationError: it isn't made as edgepose makes files.
    """
    graph = onnx.load(path).graph
    reader = _Reader(consumers={name: node for node in graph.node for name in node.input})
    for tensor in graph.initializer:
        reader.constants[tensor.name] = Stored(values=_values(tensor))
    for node in graph.node:
        reader.take(node)
    return StoredGraph(operators=tuple(reader.operators), input=graph.input[0].name, output=graph.output[0].name)


@dataclass(slots=True, kw_only=True, eq=False)
class _Reader:
    consumers: dict[str, NodeProto]
    constants: dict[str, Stored] = field(default_factory=dict)
    operators: list[Operator] = field(default_factory=list)
    dynamic: dict[str, NodeProto] = field(default_factory=dict)
    products: dict[str, tuple[NodeProto, Stored]] = field(default_factory=dict)
    scales: dict[str, tuple[str, Stored]] = field(default_factory=dict)

    def take(self, node: NodeProto) -> None:
        """Read one node; those of a dynamically quantized product become one operator."""
        kind = node.op_type
        given = [name for name in node.input if name]
        if kind == "Constant":
            self.constants[node.output[0]] = Stored(values=_values(helper.get_node_attr_value(node, "value")))
        elif given and all(name in self.constants for name in given):
            self.constants[node.output[0]] = self._fold(node)
        elif kind == "DynamicQuantizeLinear":
            self.dynamic.update(dict.fromkeys(node.output, node))
        elif kind == "MatMulInteger":
            self._product(node)
        elif kind == "Cast" and given[0] in self.products:
            self.products[node.output[0]] = self.products[given[0]]
        elif kind == "Mul" and (scaled := self._scaling(node)) is not None:
            self.scales[node.output[0]] = scaled
        elif kind == "Mul" and given[0] in self.products:
            self._scaled_product(node)
        else:
            self.operators.append(self._operator(node))

    def _fold(self, node: NodeProto) -> Stored:
        operands = [self.constants[name] for name in node.input if name]
        first = operands[0]
        if node.op_type == "Cast":
            return first
        if node.op_type == "Transpose":
            return first.transposed(tuple(helper.get_node_attr_value(node, "perm")))
        if node.op_type == "DequantizeLinear":
            axis, block = _attribute(node, "axis", 1), _attribute(node, "block_size", 0)
            spread: list[NDArray[Any]] = [_along(each.values, axis, block, first.values.shape) for each in operands[1:]]
            return Stored(values=first.values, scale=spread[0], zero_point=spread[1] if len(spread) > 1 else None)
        raise VerificationError(f"{node.op_type} {node.name!r} computes a constant in a way that edgepose doesn't write")

    def _product(self, node: NodeProto) -> None:
        """Keep a product of integers: its operands are those of x and the weight, then the zero points of both."""
        source = self.dynamic.get(node.input[0])
        if source is None or [node.input[0], node.input[2]] != [source.output[0], source.output[2]]:
            raise VerificationError(f"MatMulInteger {node.name!r} doesn't take what one DynamicQuantizeLinear gives")
        weight, zero = self.constants[node.input[1]], self.constants[node.input[3]]
        zero_point = zero.values.reshape((1,) * (weight.values.ndim - zero.values.ndim) + zero.values.shape)
        self.products[node.output[0]] = source, Stored(values=weight.values, zero_point=zero_point)

    def _scaling(self, node: NodeProto) -> tuple[str, Stored] | None:
        """Recognise the scale of a product: that of the input, times the weight's."""
        first, second = node.input
        if first not in self.dynamic or second not in self.constants:
            return None
        if self.dynamic[first].output[1] != first:
            raise VerificationError(f"Mul {node.name!r} takes another result than the scale of a DynamicQuantizeLinear")
        return first, self.constants[second]

    def _scaled_product(self, node: NodeProto) -> None:
        source, levels = self.products[node.input[0]]
        scale_of, scale = self.scales.get(node.input[1], ("", None))
        if scale is None or scale_of != source.output[1]:
            raise VerificationError(f"Mul {node.name!r} scales a product by something else than the scales of its operands")
        along: NDArray[Any] = _along(scale.values, 1, 0, levels.values.shape)
        weight = Stored(values=levels.values, scale=along, zero_point=levels.zero_point).transposed((1, 0))
        inputs, outputs = (source.input[0],), (node.output[0],)
        self.operators.append(Operator(kind="linear", name=node.name, inputs=inputs, outputs=outputs, weight=weight))

    def _operator(self, node: NodeProto) -> Operator:
        kind, outputs = node.op_type, tuple(node.output)
        computed = tuple(name for name in node.input if name and name not in self.constants)
        if kind in _LAYERS and node.input[1] in self.constants:
            weight = self.constants[node.input[1]]
            weight = weight.transposed((1, 0)) if kind == "MatMul" else weight
            bias = self.constants[node.input[2]] if len(node.input) > 2 else None
            return Operator(kind=_LAYERS[kind], name=node.name, inputs=computed, outputs=outputs, weight=weight, bias=bias)
        if kind in _WITH_CONSTANT and len(computed) == 1:
            (constant,) = (self.constants[name] for name in node.input if name in self.constants)
            return Operator(kind=_WITH_CONSTANT[kind], name=node.name, inputs=computed, outputs=outputs, constant=constant)
        if kind == "LayerNormalization":
            weight, bias = (self.constants[name] for name in node.input[1:3])
            epsilon = float(_attribute(node, "epsilon", 1e-5))
            return Operator(kind="norm", name=node.name, inputs=computed, outputs=outputs, weight=weight, bias=bias, epsilon=epsilon)
        if kind in ("QuantizeLinear", "DequantizeLinear"):
            levels = (self._levels(node),)
            return Operator(kind="quantize", name=node.name, inputs=computed, outputs=outputs, levels=levels)
        function = "" if kind in _PLAIN else kind.lower()
        return Operator(kind=_KINDS.get(kind, "other"), name=node.name, inputs=computed, outputs=outputs, function=function)

    def _levels(self, node: NodeProto) -> Levels:
        scale, zero = (self.constants[name].values for name in node.input[1:3])
        if scale.size != 1 or zero.size != 1:
            raise VerificationError(f"{node.op_type} {node.name!r} has scales per channel, which edgepose doesn't write")
        limits = np.iinfo(zero.dtype)
        count = int(limits.max) - int(limits.min) + 1
        return Levels(scale=float(scale.item()), zero_point=int(zero.item()) - int(limits.min), count=count, half=scale.dtype == np.float16)


def _values(tensor: onnx.TensorProto) -> NDArray[np.generic]:
    values: NDArray[np.generic] = numpy_helper.to_array(tensor)
    # 4-bit integers come in a type of their own.
    return values if values.dtype.kind in "biufU" else values.astype(np.int8)


def _attribute(node: NodeProto, name: str, default: float) -> float | int:
    found: float | int = next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)
    return found


def _along(values: NDArray[Any], axis: float, block: float, shape: tuple[int, ...]) -> NDArray[Any]:
    """Spread scales or zero points over a tensor of ``shape``: one for all, one per slice along ``axis``, or one per block."""
    if values.ndim == len(shape) and block:
        return np.repeat(values, int(block), axis=int(axis))
    return values.reshape([-1 if index == axis % len(shape) else 1 for index in range(len(shape))] if values.ndim else (1,) * len(shape))
