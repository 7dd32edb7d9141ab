"""What a TFLite file's graph holds, computes and takes, read before an interpreter sees it.

Every table is read with the fields that the writer in ``edgepose_converters.tflite`` uses; one that has another field (a custom operator,
a variable, a buffer outside of the file, sparse or variant tensors) is refused. Field numbers are those of TFLite's schema, Apache-2.0.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepose.artifact import shapes
from edgepose.artifact.flatbuffer import Table, read_root
from edgepose.artifact.shapes import MAX_SMALL_ELEMENTS, Shape, Tally, Value
from edgepose.spec import ModelSpec

__all__ = ["OPERATORS", "check_tflite"]

# The fields of each table that a file may have.
_MODEL, _CODE, _SUBGRAPH = {0, 1, 2, 3, 4, 7}, {0, 2, 3}, {0, 1, 2, 3, 4}
_TENSOR, _QUANTIZATION, _BLOCKS = {0, 1, 2, 3, 4, 7, 8}, {0, 1, 2, 3, 4, 5, 6}, {0, 1, 2}
_OPERATOR, _BUFFER, _SIGNATURE, _SIGNATURE_PORT = {0, 1, 2, 3, 4}, {0}, {0, 1, 2, 4}, {0, 1}
_BLOCKWISE = 2
_SAME, _VALID = 0, 1
_ACTIVATIONS = (0, 1, 2, 3)

# Options that shapes don't show: softmax's factor, GELU's approximation, where the samples of a resize are.
_MODES: dict[str, dict[int, tuple[str, float]]] = {
    "SOFTMAX": {0: ("float", 1.0)},
    "GELU": {0: ("bool", 0)},
    "RESIZE_BILINEAR": {2: ("bool", 0), 3: ("bool", 1)},
}

_FLOAT32, _FLOAT16, _INT32, _INT64, _INT16, _INT8, _INT4 = 0, 1, 2, 4, 7, 9, 17
_BITS = {_FLOAT32: 32, _FLOAT16: 16, _INT32: 32, _INT64: 64, _INT16: 16, _INT8: 8, _INT4: 4}
_SMALL_TYPES = {_INT32: "<i4", _FLOAT32: "<f4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """A tensor as the file declares it."""

    name: str
    shape: Shape
    kind: int
    constant: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operator:
    """An operator: its options, its operands (``None`` for one left out), and what its results are declared as."""

    options: Table | None
    operands: tuple[Value | None, ...]
    declared: tuple[_Tensor, ...]

    def shape(self, index: int) -> Shape:
        """Return the shape of an operand that must be there."""
        operand = self.operands[index] if index < len(self.operands) else None
        if operand is None:
            raise ValueError(f"operand {index} is missing")
        return operand.shape

    def has(self, index: int) -> bool:
        """Say whether an optional operand is there."""
        return index < len(self.operands) and self.operands[index] is not None

    def integers(self, index: int) -> tuple[int, ...]:
        """Return an operand that must be a small constant."""
        self.shape(index)
        operand = self.operands[index]
        return operand.integers() if operand is not None else ()

    def option(self, slot: int, kind: str, default: int = 0) -> int:
        """Return an option."""
        return int(self.options.number(slot, kind, default)) if self.options is not None else default


Found = tuple[Shape, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """What an operator does to shapes, and the options that it has.

    Attributes:
        find: from operands to the result's shape, and multiplications.
        options: number of its options' type, 0 for none.
        slots: fields that they may have.
        activation: field of the activation that is part of the operator, or ``None``.
    """

    find: Callable[[_Operator], Found]
    options: int = 0
    slots: frozenset[int] = frozenset()
    activation: int | None = None


def check_tflite(path: Path, data: memoryview, spec: ModelSpec) -> None:
    """Make sure that a file is the graph of the network that its spec describes.

    Args:
        path: the file.
        data: its flatbuffer, without what is appended.
        spec: what it carries.

    Raises:
        ArtifactError: it isn't.
        SpecError: the spec describes a network that is too large.
    """
    tally = Tally(path, spec)
    most = tally.limits.operators
    model = read_root(data, path)
    _expect(model, _MODEL, tally, "the model")
    codes = [_read_code(code, tally) for code in model.tables(1, most)]
    buffers = model.tables(4, most)
    for buffer in buffers:
        _expect(buffer, _BUFFER, tally, "a buffer")
    graphs = model.tables(2, 2)
    if len(graphs) != 1:
        raise tally.refuse(f"it has {len(graphs)} subgraphs; expected one")
    (graph,) = graphs
    _expect(graph, _SUBGRAPH, tally, "the subgraph")
    tables = graph.tables(0, most)
    tensors = [_read_tensor(table, buffers, index, tally) for index, table in enumerate(tables)]
    for table, tensor in zip(tables, tensors, strict=True):
        _check_quantization(table.table(4), tensor, tensors, tally)
    inputs, outputs = graph.numbers(1, "<i4").tolist(), graph.numbers(2, "<i4").tolist()
    if len(inputs) != 1 or not 0 <= inputs[0] < len(tensors):
        raise tally.refuse(f"its inputs are {inputs[:4]}; expected one")
    tally.add_input(inputs[0], tensors[inputs[0]].shape)
    for operator in graph.tables(3, most):
        _add_operator(operator, codes, tensors, tally)
    _check_signatures(model.tables(7, 2), (inputs, outputs), tally)
    tally.finish(outputs)


def _read_code(code: Table, tally: Tally) -> str:
    _expect(code, _CODE, tally, "an operator code")
    # The older field holds one byte; newer ones have both, and the larger counts.
    number = max(code.number(0, "byte"), code.number(3, "int"))
    if number not in _NAMES:
        known = ", ".join(sorted(_NAMES.values()))
        raise tally.refuse(f"it uses the operator with number {number}; allowed: {known}")
    return _NAMES[number]


def _read_tensor(table: Table, buffers: Sequence[Table], index: int, tally: Tally) -> _Tensor:
    _expect(table, _TENSOR, tally, "a tensor")
    name, kind, shape = table.text(3), table.number(1, "byte"), tuple(table.numbers(0, "<i4").tolist())
    if kind not in _BITS or len(shape) > shapes.MAX_DIMENSIONS or any(size < 1 for size in shape):
        raise tally.refuse(f"tensor {name!r} has element type {kind} and shape {shape[: shapes.MAX_DIMENSIONS]}")
    if 7 in table.slots() and tuple(table.numbers(7, "<i4").tolist()) != shape:
        raise tally.refuse(f"tensor {name!r} has an open shape")
    number = table.number(2, "uint")
    if number >= len(buffers):
        raise tally.refuse(f"tensor {name!r} is in buffer {number} of {len(buffers)}")
    stored = buffers[number].numbers(0, "u1") if number else np.empty(0, np.uint8)
    if not stored.size:
        return _Tensor(name=name, shape=shape, kind=kind, constant=False)
    wanted = -(-math.prod(shape) * _BITS[kind] // 8)
    if stored.size != wanted:
        raise tally.refuse(f"tensor {name!r} of shape {shape} has {stored.size} bytes; expected {wanted}")
    small = kind in _SMALL_TYPES and math.prod(shape) <= MAX_SMALL_ELEMENTS
    tally.add_constant(index, shape, np.frombuffer(stored.tobytes(), _SMALL_TYPES[kind]) if small else None)
    return _Tensor(name=name, shape=shape, kind=kind, constant=True)


def _check_quantization(table: Table | None, tensor: _Tensor, tensors: Sequence[_Tensor], tally: Tally) -> None:
    """One scale, one for each slice along an axis, or one for each block along the last axis."""
    if table is None:
        return
    _expect(table, _QUANTIZATION, tally, "a quantization")
    scale, zero_point, axis = table.numbers(2, "<f4"), table.numbers(3, "<i8"), table.number(6, "int")
    if not np.isfinite(scale).all() or (scale < 0).any() or np.abs(zero_point).max(initial=0) > 1 << 16:
        raise tally.refuse(f"tensor {tensor.name!r} has a scale or a zero point out of range")
    if scale.size > 1 and (not 0 <= axis < len(tensor.shape) or tensor.shape[axis] != scale.size):
        raise tally.refuse(f"tensor {tensor.name!r} of shape {tensor.shape} has {scale.size} scales along axis {axis}")
    if zero_point.size not in (0, scale.size):
        raise tally.refuse(f"tensor {tensor.name!r} has {zero_point.size} zero points for {scale.size} scales")
    kind, details = table.number(4, "ubyte"), table.table(5)
    if kind not in (0, _BLOCKWISE) or (details is None) != (kind == 0):
        raise tally.refuse(f"tensor {tensor.name!r} has quantization details of type {kind}")
    if details is not None:
        _check_blocks(details, tensor, tensors, tally)


def _check_blocks(details: Table, tensor: _Tensor, tensors: Sequence[_Tensor], tally: Tally) -> None:
    _expect(details, _BLOCKS, tally, "blocks of a quantization")
    scales, zeros, size = details.number(0, "int"), details.number(1, "int", 0), details.number(2, "int")
    if not 0 <= scales < len(tensors) or zeros > 0 or size < 1 or len(tensor.shape) != 2 or tensor.shape[-1] % size:
        raise tally.refuse(f"tensor {tensor.name!r} of shape {tensor.shape} has blocks of {size} with scales in tensor {scales}")
    wanted = (tensor.shape[0], tensor.shape[1] // size)
    if tensors[scales].shape != wanted or tensors[scales].kind != _FLOAT16 or not tensors[scales].constant:
        raise tally.refuse(f"tensor {tensor.name!r} has scales of shape {tensors[scales].shape} for its blocks; expected {wanted}")


def _add_operator(table: Table, codes: Sequence[str], tensors: Sequence[_Tensor], tally: Tally) -> None:
    _expect(table, _OPERATOR, tally, "an operator")
    index, given, made = table.number(0, "uint"), table.numbers(1, "<i4").tolist(), table.numbers(2, "<i4").tolist()
    if index >= len(codes) or len(made) != 1 or not all(0 <= number < len(tensors) for number in made):
        raise tally.refuse(f"an operator has the code {index} and results {made[:4]}")
    name = codes[index]
    rule = OPERATORS[name]
    options = table.table(4)
    kind = table.number(3, "ubyte")
    try:
        if kind not in (0, rule.options) or (options is not None and (not kind or not options.slots() <= rule.slots)):
            raise ValueError(f"options of type {kind}")
        operands = tuple(None if number == -1 else tally.get(number) for number in given)
        operator = _Operator(options=options, operands=operands, declared=tuple(tensors[number] for number in made))
        if rule.activation is not None and operator.option(rule.activation, "byte") not in _ACTIVATIONS:
            raise ValueError("an unknown activation")
        shape, multiplications = rule.find(operator)
        if name == "SOFTMAX":
            tally.add_attention(shape)
        for slot, (kind_name, wanted) in _MODES.get(name, {}).items():
            if options is None or options.number(slot, kind_name) != wanted:
                raise ValueError(f"option {slot} isn't {wanted}")
    except (ValueError, OverflowError, IndexError) as error:
        raise tally.refuse(f"operator {name} {tensors[made[0]].name!r}: {error}") from None
    if operator.declared[0].shape != shape:
        raise tally.refuse(f"operator {name} gives {shape}, and {operator.declared[0].name!r} is declared as {operator.declared[0].shape}")
    tally.add_results(name, made, [shape], multiplications=multiplications)


def _check_signatures(signatures: Sequence[Table], ports: tuple[Sequence[int], Sequence[int]], tally: Tally) -> None:
    for signature in signatures:
        _expect(signature, _SIGNATURE, tally, "a signature")
        for slot, numbers in enumerate(ports):
            for port in signature.tables(slot, 2):
                _expect(port, _SIGNATURE_PORT, tally, "a signature's port")
                if port.number(1, "uint") not in numbers:
                    raise tally.refuse(f"its signature names tensor {port.number(1, 'uint')}")
        if signature.number(4, "uint"):
            raise tally.refuse("its signature is of another subgraph")


def _expect(table: Table, slots: set[int], tally: Tally, what: str) -> None:
    unknown = sorted(table.slots() - slots)
    if unknown:
        raise tally.refuse(f"{what} has the field(s) {', '.join(map(str, unknown))}")


def _same(operator: _Operator) -> Found:
    return operator.shape(0), 0


def _elementwise(operator: _Operator) -> Found:
    return shapes.broadcast(operator.shape(0), operator.shape(1)), 0


def _batch_matmul(operator: _Operator) -> Found:
    transposed = bool(operator.option(0, "bool")), bool(operator.option(1, "bool"))
    return shapes.multiply(operator.shape(0), operator.shape(1), transpose_x=transposed[0], transpose_y=transposed[1])


def _fully_connected(operator: _Operator) -> Found:
    x, weight = operator.shape(0), operator.shape(1)
    if len(weight) != 2 or x[-1] != weight[1] or operator.option(1, "byte") or not operator.option(2, "bool"):
        raise ValueError(f"{x} with weights {weight}, or in another layout")
    if operator.has(2) and math.prod(operator.shape(2)) != weight[0]:
        raise ValueError(f"a bias of shape {operator.shape(2)} for {weight[0]} results")
    shape = (*x[:-1], weight[0])
    return shape, math.prod(shape) * weight[1]


def _pad_same(size: int, taps: int, stride: int) -> tuple[int, int]:
    total = max(0, (-(-size // stride) - 1) * stride + taps - size)
    return total // 2, total - total // 2


def _conv(operator: _Operator) -> Found:
    """Channels last; weights are (out, height, width, in)."""
    x, weight = operator.shape(0), operator.shape(1)
    strides, dilations = (
        (operator.option(2, "int"), operator.option(1, "int")),
        (operator.option(5, "int", 1), operator.option(4, "int", 1)),
    )
    if len(x) != 4 or len(weight) != 4 or min(*strides, *dilations) < 1 or operator.option(0, "byte") not in (_SAME, _VALID):
        raise ValueError(f"{x} with weights {weight}, strides {strides}, dilations {dilations}")
    pads = [(0, 0), (0, 0)]
    if operator.option(0, "byte") == _SAME:
        taps = [(size - 1) * dilation + 1 for size, dilation in zip(weight[1:3], dilations, strict=True)]
        pads = [_pad_same(size, extent, stride) for size, extent, stride in zip(x[1:3], taps, strides, strict=True)]
    first = (x[0], x[3], *x[1:3]), (weight[0], weight[3], *weight[1:3])
    shape, multiplications = shapes.convolve(*first, strides=strides, pads=pads, dilations=dilations)
    if operator.has(2) and math.prod(operator.shape(2)) != weight[0]:
        raise ValueError(f"a bias of shape {operator.shape(2)} for {weight[0]} channels")
    return (shape[0], *shape[2:], shape[1]), multiplications


def _transpose_conv(operator: _Operator) -> Found:
    """The first operand is the result's shape; every result pixel there must be one that an input pixel reaches."""
    wanted, weight, x = operator.integers(0), operator.shape(1), operator.shape(2)
    strides = (operator.option(2, "int"), operator.option(1, "int"))
    if len(x) != 4 or len(weight) != 4 or len(wanted) != 4 or min(strides) < 1 or operator.option(0, "byte") not in (_SAME, _VALID):
        raise ValueError(f"{x} with weights {weight}, strides {strides}, for {wanted}")
    same = operator.option(0, "byte") == _SAME
    spatial = [
        size * stride if same else (size - 1) * stride + taps for size, taps, stride in zip(x[1:3], weight[1:3], strides, strict=True)
    ]
    if tuple(wanted) != (x[0], *spatial, weight[0]) or weight[3] != x[3]:
        raise ValueError(f"{x} with weights {weight} and strides {strides} doesn't give {wanted}")
    if operator.has(3) and math.prod(operator.shape(3)) != weight[0]:
        raise ValueError(f"a bias of shape {operator.shape(3)} for {weight[0]} channels")
    return tuple(wanted), math.prod(x) * math.prod(weight[:3])


def _mean(operator: _Operator) -> Found:
    x = operator.shape(0)
    axes = {shapes.round_axis(axis, len(x)) for axis in operator.integers(1)}
    keep = bool(operator.option(0, "bool"))
    return tuple(1 if axis in axes else size for axis, size in enumerate(x) if keep or axis not in axes), math.prod(x)


def _pad(operator: _Operator) -> Found:
    x, sides = operator.shape(0), operator.integers(1)
    if operator.shape(1) != (len(x), 2) or not all(0 <= side <= MAX_SMALL_ELEMENTS for side in sides):
        raise ValueError(f"{x} can't be padded by {sides}")
    return tuple(size + before + after for size, before, after in zip(x, sides[::2], sides[1::2], strict=True)), 0


def _reshape(operator: _Operator) -> Found:
    return shapes.reshape(operator.shape(0), operator.integers(1), zero_keeps=False), 0


def _resize(operator: _Operator) -> Found:
    x, sizes = operator.shape(0), operator.integers(1)
    if len(x) != 4 or len(sizes) != 2:
        raise ValueError(f"{x} can't be resized to {sizes}")
    shape = (x[0], *sizes, x[3])
    return shape, 4 * math.prod(shape)


def _transpose(operator: _Operator) -> Found:
    return shapes.permute(operator.shape(0), operator.integers(1)), 0


_NAMES = {
    0: "ADD",
    3: "CONV_2D",
    6: "DEQUANTIZE",
    9: "FULLY_CONNECTED",
    18: "MUL",
    19: "RELU",
    22: "RESHAPE",
    23: "RESIZE_BILINEAR",
    25: "SOFTMAX",
    34: "PAD",
    39: "TRANSPOSE",
    40: "MEAN",
    41: "SUB",
    67: "TRANSPOSE_CONV",
    76: "RSQRT",
    114: "QUANTIZE",
    126: "BATCH_MATMUL",
    150: "GELU",
}

OPERATORS: Mapping[str, _Rule] = {
    "ADD": _Rule(find=_elementwise, options=11, slots=frozenset({0, 1}), activation=0),
    "BATCH_MATMUL": _Rule(find=_batch_matmul, options=101, slots=frozenset({0, 1, 2})),
    "CONV_2D": _Rule(find=_conv, options=1, slots=frozenset(range(7)), activation=3),
    "DEQUANTIZE": _Rule(find=_same, options=38),
    "FULLY_CONNECTED": _Rule(find=_fully_connected, options=8, slots=frozenset(range(5)), activation=0),
    "GELU": _Rule(find=_same, options=116, slots=frozenset({0})),
    "MEAN": _Rule(find=_mean, options=27, slots=frozenset({0})),
    "MUL": _Rule(find=_elementwise, options=21, slots=frozenset({0}), activation=0),
    "PAD": _Rule(find=_pad, options=22),
    "QUANTIZE": _Rule(find=_same, options=89),
    "RELU": _Rule(find=_same),
    "RESHAPE": _Rule(find=_reshape, options=17, slots=frozenset({0})),
    "RESIZE_BILINEAR": _Rule(find=_resize, options=15, slots=frozenset({2, 3})),
    "RSQRT": _Rule(find=_same),
    "SOFTMAX": _Rule(find=_same, options=9, slots=frozenset({0})),
    "SUB": _Rule(find=_elementwise, options=28, slots=frozenset({0, 1}), activation=0),
    "TRANSPOSE": _Rule(find=_transpose, options=26),
    "TRANSPOSE_CONV": _Rule(find=_transpose_conv, options=49, slots=frozenset(range(5)), activation=3),
}
"""The operators that the converter writes, and how they are named in the schema."""
