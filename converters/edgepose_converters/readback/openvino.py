"""OpenVINO IR, through OpenVINO's own reader."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import VerificationError
from edgepose.runtime.openvino import import_openvino
from edgepose_converters.readback.graph import Kind, Levels, Operator, Stored, StoredGraph

__all__ = ["read"]

_LAYERS: dict[str, Kind] = {"MatMul": "linear", "Convolution": "conv", "ConvolutionBackpropData": "deconv"}
_WITH_CONSTANT: dict[str, Kind] = {"Add": "add", "Multiply": "multiply"}
_KINDS: dict[str, Kind] = {
    "Softmax": "softmax",
    "Gelu": "activation",
    "Relu": "activation",
    "Interpolate": "activation",
}
_PLAIN = frozenset({"Add", "Multiply", "MatMul", "Convert", "Reshape", "Transpose", "VariadicSplit", "Concat"})
_FUNCTIONS = {"Interpolate": "resize"}
_MIN_BITS = 8


def read(path: Path) -> StoredGraph:
    """Read a file.

    Raises:
        VerificationError: it isn't made as edgepose makes files.
    """
    model = import_openvino().Core().read_model(path)
    constants: dict[str, Stored] = {}
    operators: list[Operator] = []
    source = output = ""
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        inputs = [f"{port.get_node().get_friendly_name()}:{port.get_index()}" for port in node.input_values()]
        outputs = tuple(f"{node.get_friendly_name()}:{number}" for number in range(node.get_output_size()))
        if kind == "Parameter":
            source = outputs[0]
        elif kind == "Result":
            output = inputs[0]
        elif kind == "Constant":
            constants[outputs[0]] = _constant(node)
        elif inputs and all(name in constants for name in inputs):
            folded = _fold(node, kind, [constants[name] for name in inputs])
            if folded is None:
                raise VerificationError(f"{kind} {node.get_friendly_name()!r} computes a constant in a way that edgepose doesn't write")
            constants[outputs[0]] = folded
        else:
            operators.append(_operator(node, kind, inputs, outputs, constants))
    return StoredGraph(operators=tuple(operators), input=source, output=output)


def _constant(node: Any) -> Stored:
    kind = node.get_element_type()
    return Stored(values=_widen(node) if kind.bitwidth < _MIN_BITS else np.array(node.data))


def _widen(node: Any) -> NDArray[np.generic]:
    """Let OpenVINO itself say what integers of four bits are: its Python helpers take the other half of each byte for the first."""
    from openvino import Model, Type, opset15
    from openvino.passes import ConstantFolding, Manager

    model = Model([opset15.result(opset15.convert(node, Type.i8))], [], "widen")
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)
    return np.array(model.get_results()[0].input_value(0).get_node().data)


def _fold(node: Any, kind: str, operands: list[Stored]) -> Stored | None:
    """Return what an operator on constants stands for."""
    first = operands[0]
    if kind == "Convert":
        return first
    if kind == "Multiply" and first.scale is None and first.values.dtype.kind == "i":
        scale = operands[1].values
        return Stored(values=first.values, scale=scale.reshape((1,) * (first.values.ndim - scale.ndim) + scale.shape))
    if kind in ("Reshape", "Unsqueeze"):
        return first.reshaped(tuple(node.get_output_shape(0)))
    return None


def _operator(node: Any, kind: str, inputs: list[str], outputs: tuple[str, ...], constants: dict[str, Stored]) -> Operator:
    name = node.get_friendly_name()
    computed = tuple(each for each in inputs if each not in constants)
    if kind in _LAYERS and inputs[1] in constants:
        weight = constants[inputs[1]]
        if kind == "MatMul" and not node.get_attributes()["transpose_b"]:
            weight = weight.transposed((1, 0))
        return Operator(kind=_LAYERS[kind], name=name, inputs=computed, outputs=outputs, weight=weight)
    if kind in _WITH_CONSTANT and len(computed) == 1:
        (constant,) = (constants[each] for each in inputs if each in constants)
        return Operator(kind=_WITH_CONSTANT[kind], name=name, inputs=computed, outputs=outputs, constant=constant)
    if kind == "MVN":
        epsilon = float(node.get_attributes()["eps"])
        return Operator(kind="norm", name=name, inputs=computed, outputs=outputs, epsilon=epsilon)
    if kind == "FakeQuantize":
        count = int(node.get_attributes()["levels"])
        ends = [constants[each].real() for each in inputs[1:]]
        if any(end.size != 1 for end in ends):
            raise VerificationError(f"FakeQuantize {name!r} has a range per channel, which edgepose doesn't write")
        low, high, low_out, high_out = (float(end.item()) for end in ends)
        halves = tuple(_levels(*each, count) for each in ((low, high), (low_out, high_out)))
        return Operator(kind="quantize", name=name, inputs=computed, outputs=outputs, levels=halves)
    if kind == "ScaledDotProductAttention":
        return _attention(name, inputs, outputs, constants)
    function = "" if kind in _PLAIN else _FUNCTIONS.get(kind, kind.lower())
    return Operator(kind=_KINDS.get(kind, "other"), name=name, inputs=computed, outputs=outputs, function=function)


def _attention(name: str, inputs: list[str], outputs: tuple[str, ...], constants: dict[str, Stored]) -> Operator:
    """Read attention in one operator: queries, keys and values, then a mask that must do nothing, and the factor of the scores."""
    if len(inputs) != 5 or not {*inputs[3:]} <= {*constants} or constants[inputs[3]].values.any():
        raise VerificationError(f"ScaledDotProductAttention {name!r} has no scale or a mask, which edgepose doesn't write")
    return Operator(kind="other", name=name, inputs=tuple(inputs[:3]), outputs=outputs, function="softmax", constant=constants[inputs[4]])


def _levels(low: float, high: float, count: int) -> Levels:
    scale = (high - low) / (count - 1)
    return Levels(scale=scale, zero_point=-low / scale if scale else 0.0, count=count)
