"""What an ONNX file's graph names, computes and takes, read before a runtime sees it.

Everything that could lead elsewhere or hide work is refused wherever it stands: subgraphs, functions, training graphs, sparse tensors, and
tensors in any file but the one that is hashed. Messages and field numbers are those of ``onnx.proto`` in onnx/onnx, Apache-2.0.
"""

import math
import mmap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import shapes
from edgepose.artifact.format import SEAL_KEY, SPEC_KEY
from edgepose.artifact.message import Message
from edgepose.artifact.shapes import MAX_SMALL_ELEMENTS, Shape, Tally
from edgepose.errors import ArtifactError
from edgepose.spec import ModelSpec

__all__ = ["OPERATORS", "check_onnx"]

_GRAPH, _METADATA = 7, 14
# Fields by message: what onnx.proto has and isn't here is refused.
_MODEL_FIELDS = {1, 2, 3, 4, 5, 6, _GRAPH, 8, _METADATA}
_GRAPH_FIELDS = {1, 2, 5, 10, 11, 12, 13, 14, 16}
_NODE_FIELDS = {1, 2, 3, 4, 5, 6, 7, 9}
_TENSOR_FIELDS = {1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 16}
# Attributes are numbers, texts, or lists of them: no tensor, graph or sparse tensor.
_ATTRIBUTE_FIELDS = {1, 2, 3, 4, 7, 8, 13, 20}
_EXTERNAL_DATA, _DATA_LOCATION, _RAW_DATA = 13, 14, 9
_EXTERNAL = 1
_MAX_ATTRIBUTE = 1 << 31
_MAX_LIST = 64

_MODES = {"Gelu": {"approximate": "none"}, "Resize": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}}
_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16, 21: 4, 22: 4}
_SMALL_TYPES = {1: "<f4", 6: "<i4", 7: "<i8", 11: "<f8"}
_LISTS = {1: 4, 6: 5, 7: 7, 11: 10}


class _Node:
    """One operator: the shapes of its operands, and its attributes."""

    def __init__(self, message: Message, tally: Tally) -> None:
        self.kind = message.text(4)
        self.outputs = [name for name in message.texts(2) if name]
        self.operands = [tally.get(name) if name else None for name in message.texts(1)]
        self._attributes = {attribute.text(1): attribute for attribute in message.messages(5)}
        for attribute in self._attributes.values():
            _expect(attribute, _ATTRIBUTE_FIELDS, "an attribute")
            numbers = attribute.integers(8) + attribute.integers(3)
            if len(numbers) > _MAX_LIST or any(abs(number) > _MAX_ATTRIBUTE for number in numbers):
                raise ValueError(f"an attribute has {len(numbers)} values or one beyond {_MAX_ATTRIBUTE}")

    def shape(self, index: int) -> Shape:
        """Return the shape of an operand that must be there."""
        operand = self.operands[index] if index < len(self.operands) else None
        if operand is None:
            raise ValueError(f"operand {index} is missing")
        return operand.shape

    def has(self, index: int) -> bool:
        """Say whether an optional operand is there."""
        return index < len(self.operands) and self.operands[index] is not None

    def small(self, index: int) -> NDArray[np.generic]:
        """Return the values of an operand that must be a small constant."""
        operand = self.operands[index] if index < len(self.operands) else None
        if operand is None or operand.numbers is None:
            raise ValueError(f"operand {index} isn't a small constant")
        return operand.numbers

    def integer(self, name: str, default: int) -> int:
        """Return an attribute."""
        return self._attributes[name].integer(3) if name in self._attributes else default

    def integers(self, name: str, default: Sequence[int]) -> list[int]:
        """Return an attribute that is a list."""
        return self._attributes[name].integers(8) if name in self._attributes else list(default)

    def real(self, name: str, default: float) -> float:
        """Return an attribute that is a real number."""
        found = self._attributes[name].reals(2, "<f4") if name in self._attributes else np.empty(0)
        return float(found[-1]) if found.size else default

    def text(self, name: str, default: str) -> str:
        """Return an attribute that is text."""
        return self._attributes[name].text(4) if name in self._attributes else default


Found = tuple[Sequence[Shape], int]
Rule = Callable[[_Node], Found]


def check_onnx(path: Path, files: Sequence[Path], spec: ModelSpec) -> None:
    """Make sure that a file is the graph of the network that its spec describes, and names nothing else.

    Args:
        path: the file.
        files: what is hashed: ``path``, and its external data where there is some.
        spec: what it carries.

    Raises:
        ArtifactError: it isn't, or names another file.
        SpecError: the spec describes a network that is too large.
    """
    tally = Tally(path, spec)
    with path.open("rb") as stream:
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    model = Message(memoryview(content), path)
    _expect(model, _MODEL_FIELDS, "a model")
    keys = [entry.text(1) for entry in model.messages(_METADATA)]
    if keys.count(SPEC_KEY) != 1 or keys.count(SEAL_KEY) != 1:
        raise ArtifactError(f"{path}: holds {keys.count(SPEC_KEY)} entries {SPEC_KEY!r}; expected one")
    graphs = list(model.messages(_GRAPH))
    if len(graphs) != 1:
        raise tally.refuse(f"it has {len(graphs)} graphs")
    _check_graph(graphs[0], tally, _External(path, files))


def _check_graph(graph: Message, tally: Tally, external: "_External") -> None:
    _expect(graph, _GRAPH_FIELDS, "a graph")
    for tensor in graph.messages(5):
        _add_constant(tensor, tally, external)
    inputs = list(graph.messages(11))
    if len(inputs) != 1:
        raise tally.refuse(f"it has {len(inputs)} inputs; expected one")
    tally.add_input(inputs[0].text(1), _read_shape(inputs[0], tally))
    for message in graph.messages(1):
        _expect(message, _NODE_FIELDS, "an operator")
        kind, name = message.text(4), ", ".join(message.texts(2)[:1])
        if kind not in OPERATORS or message.text(7) not in ("", "ai.onnx"):
            known = ", ".join(sorted(OPERATORS))
            raise tally.refuse(f"it uses the operator {message.text(7)}{'.' if message.text(7) else ''}{kind}; allowed: {known}")
        try:
            node = _Node(message, tally)
            found, multiplications = OPERATORS[kind](node)
            _check_meaning(node, found[0], tally)
        except (ValueError, OverflowError, IndexError) as error:
            raise tally.refuse(f"operator {kind} {name!r}: {error}") from None
        tally.add_results(kind, node.outputs, found, multiplications=multiplications)
    tally.finish([output.text(1) for output in graph.messages(12)])


def _check_meaning(node: _Node, shape: Shape, tally: Tally) -> None:
    """What shapes don't show: along which axes, and in which of its modes, an operator works in a ViTPose."""
    if node.kind == "Softmax":
        tally.add_attention(shape, node.integer("axis", -1))
    elif node.kind == "LayerNormalization":
        tally.check_normalization(shape, [node.integer("axis", -1)], node.real("epsilon", 1e-5))
    modes = {name: node.text(name, default) for name, default in _MODES.get(node.kind, {}).items()}
    if modes != _MODES.get(node.kind, {}):
        raise ValueError(f"its mode is {modes}; allowed: {_MODES[node.kind]}")


class _External:
    """The one other file that a tensor may stand in: ``NAME.onnx.data``, which is hashed with ``NAME.onnx``."""

    def __init__(self, path: Path, files: Sequence[Path]) -> None:
        self._path = path
        self._file = next((file for file in files if file != path), None)
        self._size = self._file.stat().st_size if self._file else 0

    def check(self, tensor: Message, stored_bytes: int) -> None:
        """Look where a tensor's values stand."""
        entries = {entry.text(1): entry.text(2) for entry in tensor.messages(_EXTERNAL_DATA)}
        shown = tensor.text(8)[:100]
        name, allowed = entries.get("location", ""), self._path.name + ".data"
        if name != allowed or self._file is None:
            raise ArtifactError(
                f"{self._path}: its tensor {shown!r} stands in the file {name[:200]!r}; the only one that belongs to it is {allowed!r}, "
                f"{'which isn’t there' if self._file is None else 'whose bytes are hashed with it'}"
            )
        offset, length = (entries.get(key, default) for key, default in (("offset", "0"), ("length", str(stored_bytes))))
        if not (offset.isascii() and offset.isdecimal() and length.isascii() and length.isdecimal()):
            raise ArtifactError(f"{self._path}: damaged: tensor {shown!r} is at {offset[:50]!r}, of {length[:50]!r} bytes")
        if len(offset) > _MAX_LIST or int(length[:_MAX_LIST]) != stored_bytes or int(offset) + stored_bytes > self._size:
            raise ArtifactError(f"{self._path}: damaged: tensor {shown!r} doesn't fit in {name}, which has {self._size} bytes")


def _add_constant(tensor: Message, tally: Tally, external: _External) -> None:
    _expect(tensor, _TENSOR_FIELDS, "a tensor")
    name, kind, shape = tensor.text(8), tensor.integer(2), tuple(tensor.integers(1))
    if kind not in _BITS:
        raise tally.refuse(f"the tensor {name!r} has element type {kind}")
    numbers = None
    if len(shape) > shapes.MAX_DIMENSIONS or any(size < 0 for size in shape):
        raise tally.refuse(f"the tensor {name!r} has shape {shape}")
    elements = math.prod(shape)
    stored_bytes = -(-elements * _BITS[kind] // 8)
    if tensor.integer(_DATA_LOCATION) == _EXTERNAL or _EXTERNAL_DATA in tensor:
        external.check(tensor, stored_bytes)
        if any(field in tensor for field in (_RAW_DATA, *_LISTS.values(), 11)):
            raise tally.refuse(f"the tensor {name!r} stands in the file and beside it")
    elif _RAW_DATA in tensor:
        if len(tensor.raw(_RAW_DATA)) != stored_bytes:
            raise tally.refuse(f"the tensor {name!r} of shape {shape} has {len(tensor.raw(_RAW_DATA))} bytes; expected {stored_bytes}")
        if kind in _SMALL_TYPES and elements <= MAX_SMALL_ELEMENTS:
            numbers = np.frombuffer(bytes(tensor.raw(_RAW_DATA)), _SMALL_TYPES[kind])
    else:
        numbers = _read_list(tensor, kind, elements, tally)
    tally.add_constant(name, shape, numbers)


def _read_list(tensor: Message, kind: int, elements: int, tally: Tally) -> NDArray[np.generic] | None:
    """Values in the lists of the message: of few elements alone, larger ones are stored raw."""
    if elements > _MAX_LIST * _MAX_LIST:
        raise tally.refuse(f"the tensor {tensor.text(8)!r} of {elements} elements has no raw data")
    if kind in (1, 11):
        numbers = tensor.reals(_LISTS[kind], _SMALL_TYPES[kind])
    else:
        numbers = np.array(tensor.integers(7 if kind == 7 else 11 if kind in (12, 13) else 5), np.int64)
    packed = elements if _BITS[kind] >= 8 else -(-elements // 2)
    if numbers.size != packed:
        raise tally.refuse(f"the tensor {tensor.text(8)!r} has {numbers.size} values; expected {packed}")
    return numbers if elements <= MAX_SMALL_ELEMENTS else None


def _read_shape(value: Message, tally: Tally) -> Shape:
    """Return the shape of an input, with the limits' batch in the place of an open first size."""
    dimensions = list(value.message(2).message(1).message(2).messages(1))
    sizes = [dimension.integer(1) if 1 in dimension else None for dimension in dimensions]
    if sizes and sizes[0] is None:
        sizes[0] = tally.limits.batch
    return tuple(-1 if size is None else size for size in sizes)


def _expect(message: Message, fields: set[int], what: str) -> None:
    unknown = sorted(set(message.field_numbers()) - fields)
    if unknown:
        raise ArtifactError(f"{message.path}: not a graph that edgepose wrote: {what} has the field(s) {', '.join(map(str, unknown))}")


def _same(node: _Node) -> Found:
    return [node.shape(0)], 0


def _elementwise(node: _Node) -> Found:
    return [shapes.broadcast(node.shape(0), node.shape(1))], 0


def _normalize(node: _Node) -> Found:
    x = node.shape(0)
    for index in range(1, len(node.operands)):
        if shapes.broadcast(x, node.shape(index)) != x:
            raise ValueError(f"operand {index} of shape {node.shape(index)} doesn't fit {x}")
    return [x], 4 * math.prod(x)


def _matmul(node: _Node) -> Found:
    shape, multiplications = shapes.multiply(node.shape(0), node.shape(1))
    return [shape], multiplications


def _gemm(node: _Node) -> Found:
    x, y = node.shape(0), node.shape(1)
    if len(x) != 2 or len(y) != 2:
        raise ValueError(f"a product of {x} and {y}")
    transposed = bool(node.integer("transA", 0)), bool(node.integer("transB", 0))
    shape, multiplications = shapes.multiply(x, y, transpose_x=transposed[0], transpose_y=transposed[1])
    if node.has(2) and shapes.broadcast(shape, node.shape(2)) != shape:
        raise ValueError(f"{node.shape(2)} doesn't fit {shape}")
    return [shape], multiplications


def _quantize(node: _Node) -> Found:
    """Scales and zero points: one, one for each slice along an axis, or one for each block along it."""
    x, block = node.shape(0), node.integer("block_size", 0)
    for index in range(1, len(node.operands)):
        scale = node.shape(index)
        if math.prod(scale) == 1:
            continue
        axis = shapes.round_axis(node.integer("axis", 1), len(x))
        blocks = (*x[:axis], -(-x[axis] // block), *x[axis + 1 :]) if block > 0 else (x[axis],)
        if scale != blocks or block < 0:
            raise ValueError(f"scales of shape {scale} for {x} along axis {axis} in blocks of {block}")
    return [x], 0


def _quantize_dynamically(node: _Node) -> Found:
    return [node.shape(0), (), ()], 0


def _windows(node: _Node) -> tuple[list[int], list[tuple[int, int]], list[int]]:
    if node.text("auto_pad", "NOTSET") != "NOTSET":
        raise ValueError(f"auto_pad is {node.text('auto_pad', '')!r}; allowed: 'NOTSET'")
    kernel = list(node.shape(1)[2:])
    if node.integers("kernel_shape", kernel) != kernel:
        raise ValueError(f"kernel_shape is {node.integers('kernel_shape', kernel)}, and the weights have {kernel}")
    pads = node.integers("pads", [0] * 2 * len(kernel))
    if len(pads) != 2 * len(kernel):
        raise ValueError(f"pads are {pads}")
    ones = [1] * len(kernel)
    pairs = list(zip(pads[: len(kernel)], pads[len(kernel) :], strict=True))
    return node.integers("strides", ones), pairs, node.integers("dilations", ones)


def _conv(node: _Node) -> Found:
    strides, pads, dilations = _windows(node)
    shape, multiplications = shapes.convolve(
        node.shape(0), node.shape(1), strides=strides, pads=pads, dilations=dilations, groups=node.integer("group", 1)
    )
    return [_with_bias(node, shape)], multiplications


def _conv_transpose(node: _Node) -> Found:
    if node.integers("output_shape", []):
        raise ValueError("output_shape isn't allowed")
    strides, pads, dilations = _windows(node)
    extra = node.integers("output_padding", [0] * len(strides))
    if any(not 0 <= more < max(stride, 1) for more, stride in zip(extra, strides, strict=True)):
        raise ValueError(f"output_padding is {extra}")
    shape, multiplications = shapes.convolve_transposed(
        node.shape(0), node.shape(1), strides=strides, pads=pads, dilations=dilations, extra=extra, groups=node.integer("group", 1)
    )
    return [_with_bias(node, shape)], multiplications


def _with_bias(node: _Node, shape: Shape) -> Shape:
    if node.has(2) and node.shape(2) != (shape[1],):
        raise ValueError(f"a bias of shape {node.shape(2)} for {shape[1]} channels")
    return shape


def _reshape(node: _Node) -> Found:
    target = [int(size) for size in node.small(1)]
    return [shapes.reshape(node.shape(0), target, zero_keeps=not node.integer("allowzero", 0))], 0


def _transpose(node: _Node) -> Found:
    x = node.shape(0)
    return [shapes.permute(x, node.integers("perm", range(len(x) - 1, -1, -1)))], 0


def _split(node: _Node) -> Found:
    x, axis = node.shape(0), node.integer("axis", 0)
    if not node.has(1):
        return shapes.spread_evenly(x, axis, node.integer("num_outputs", len(node.outputs))), 0
    return shapes.split(x, axis, [int(size) for size in node.small(1)], len(node.outputs)), 0


def _concat(node: _Node) -> Found:
    return [shapes.concatenate([node.shape(index) for index in range(len(node.operands))], node.integer("axis", 0))], 0


def _resize(node: _Node) -> Found:
    x = node.shape(0)
    if node.has(1) and 0 not in node.shape(1):
        raise ValueError("a region of interest isn't allowed")
    if node.integers("axes", []) or node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise ValueError("axes and an aspect ratio aren't allowed")
    if node.has(3):
        sizes = [int(size) for size in node.small(3)]
    else:
        factors = [float(factor) for factor in np.asarray(node.small(2), np.float64)]
        if not all(0 < factor <= _MAX_LIST for factor in factors):
            raise ValueError(f"factors are {factors}; allowed: up to {_MAX_LIST}")
        sizes = [math.floor(size * factor) for size, factor in zip(x, factors, strict=True)]
    if len(sizes) != len(x) or tuple(sizes[:2]) != x[:2]:
        raise ValueError(f"{x} can't be resized to {sizes}")
    return [tuple(sizes)], 4 * math.prod(sizes)


def _rules(rule: Rule, *names: str) -> dict[str, Rule]:
    return dict.fromkeys(names, rule)


OPERATORS: Mapping[str, Rule] = {
    **_rules(_same, "Cast", "Erf", "Gelu", "Identity", "Relu", "Sigmoid", "Softmax", "Sqrt", "Tanh"),
    **_rules(_elementwise, "Add", "Div", "Mul", "Pow", "Sub"),
    **_rules(_normalize, "Clip", "LayerNormalization"),
    **_rules(_quantize, "DequantizeLinear", "QuantizeLinear"),
    **_rules(_matmul, "MatMul", "MatMulInteger"),
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DynamicQuantizeLinear": _quantize_dynamically,
    "Gemm": _gemm,
    "Reshape": _reshape,
    "Resize": _resize,
    "Split": _split,
    "Transpose": _transpose,
}
"""The operators that the converters write, and a few that they may come to write."""
