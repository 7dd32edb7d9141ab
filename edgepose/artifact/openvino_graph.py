"""What an OpenVINO file's graph reads from its weights, computes and takes, before a runtime sees it.

The ``.xml`` is read as OpenVINO does, from top to bottom, with nothing of XML but elements and attributes: a document type, and with it
every entity, is refused. The operators' semantics are those of OpenVINO's operation sets (docs.openvino.ai).
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np

from edgepose.artifact import shapes
from edgepose.artifact.shapes import MAX_SMALL_ELEMENTS, Shape, Tally, Value
from edgepose.errors import ArtifactError
from edgepose.spec import ModelSpec

__all__ = ["OPERATORS", "check_openvino"]

_ENCODINGS = (None, "UTF-8", "utf-8", "US-ASCII", "us-ascii")
_MAX_DEPTH = 32
_MAX_PORTS = 16
_OPSET = re.compile(r"opset\d{1,2}")
_NUMBER = re.compile(r"\d{1,15}")
_INTEGERS = re.compile(r"\s*(-?\d{1,9}(\s*,\s*-?\d{1,9})*)?\s*")
# Element → what may stand in it. rt_info of the whole model is free text; that of a layer isn't, since OpenVINO acts on some of it.
_ALLOWED = {
    "net": {"layers", "edges", "rt_info"},
    "layers": {"layer"},
    "layer": {"data", "input", "output", "rt_info"},
    "input": {"port"},
    "output": {"port"},
    "port": {"dim", "rt_info"},
    "edges": {"edge"},
}
_LAYER_NOTES = {"DisablePrecisionConversion", "decompression", "fused_names", "keep_const_precision", "precise"}

_BITS = {"f32": 32, "f16": 16, "i64": 64, "i32": 32, "i16": 16, "i8": 8, "u8": 8, "i4": 4, "u4": 4, "boolean": 8}
_SMALL_TYPES = {"f32": "<f4", "f16": "<f2", "i64": "<i8", "i32": "<i4"}


@dataclass(slots=True, kw_only=True)
class _Layer:
    """One operator, as it stands in the file."""

    identity: str
    name: str
    kind: str
    version: str
    attributes: dict[str, str] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    operands: list[Value] = field(default_factory=list)

    def shape(self, index: int) -> Shape:
        """Return the shape of an operand that must be there."""
        if index >= len(self.operands):
            raise ValueError(f"operand {index} is missing")
        return self.operands[index].shape

    def small(self, index: int) -> Value:
        """Return an operand that must be a small constant."""
        self.shape(index)
        if self.operands[index].numbers is None:
            raise ValueError(f"operand {index} isn't a small constant")
        return self.operands[index]

    def integers(self, name: str) -> list[int]:
        """Return an attribute that is a list of whole numbers."""
        text = self.attributes.get(name, "")
        if not _INTEGERS.fullmatch(text):
            raise ValueError(f"{name} is {text!r}; expected whole numbers")
        return [int(number) for number in text.split(",")] if text.strip() else []

    def flag(self, name: str) -> bool:
        """Return an attribute that is a truth value."""
        text = self.attributes.get(name, "false")
        if text not in ("true", "false", "0", "1"):
            raise ValueError(f"{name} is {text!r}; expected true or false")
        return text in ("true", "1")

    def require(self, name: str, *allowed: str) -> None:
        """Make sure that an attribute, if it is there, has one of these values."""
        if self.attributes.get(name, allowed[0]) not in allowed:
            raise ValueError(f"{name} is {self.attributes[name]!r}; allowed: {', '.join(allowed)}")


Found = tuple[Sequence[Shape], int]
Rule = Callable[[_Layer], Found]


def check_openvino(path: Path, content: bytes, weights: Path, spec: ModelSpec) -> None:
    """Make sure that a file is the graph of the network that its spec describes, and reads nothing outside of its weights.

    Args:
        path: the ``.xml``.
        content: its bytes.
        weights: the ``.bin``.
        spec: what the file carries.

    Raises:
        ArtifactError: it isn't.
        SpecError: the spec describes a network that is too large.
    """
    tally = Tally(path, spec)
    reader = _Reader(tally)
    reader.read(content)
    sources = reader.edges
    outputs: list[str | int] = []
    with weights.open("rb") as stream:
        size = weights.stat().st_size
        for layer in reader.layers:
            names = [f"{layer.identity}:{port}" for port in layer.outputs]
            try:
                layer.operands = [
                    tally.get(sources.get(f"{layer.identity}:{port}", f"layer {layer.name}'s input")) for port in layer.inputs
                ]
                if layer.kind == "Const":
                    tally.add_constant(names[0], *_read_constant(layer, stream, size))
                elif layer.kind == "Parameter":
                    tally.add_input(names[0], _read_shape(layer, tally.limits.batch))
                elif layer.kind == "Result":
                    outputs.append(sources[f"{layer.identity}:{layer.inputs[0]}"])
                else:
                    _add(layer, names, tally)
            except (ValueError, OverflowError, LookupError, OSError) as error:
                raise tally.refuse(f"operator {layer.kind} {layer.name!r}: {error}") from None
    tally.finish(outputs)


def _add(layer: _Layer, names: Sequence[str], tally: Tally) -> None:
    if layer.kind not in OPERATORS or not _OPSET.fullmatch(layer.version):
        raise tally.refuse(f"it uses the operator {layer.version}.{layer.kind}; allowed: {', '.join(sorted(OPERATORS))}")
    if layer.kind == "Convert" and layer.operands and layer.operands[0].numbers is not None:
        tally.add_alias(names[0], layer.operands[0])
        return
    found, multiplications = OPERATORS[layer.kind](layer)
    if layer.kind == "Softmax":
        tally.add_attention(found[0], layer.integers("axis")[0] if "axis" in layer.attributes else 1)
    elif layer.kind == "MVN":
        tally.check_normalization(found[0], layer.small(1).integers(), float(layer.attributes.get("eps", "nan")))
    elif layer.kind == "ScaledDotProductAttention":
        tally.add_attention((*layer.shape(0)[:-1], layer.shape(1)[-2]))
    tally.add_results(layer.kind, names, found, multiplications=multiplications)


class _Reader:
    """Takes layers and edges out of the XML, as it goes by."""

    def __init__(self, tally: Tally) -> None:
        self.layers: list[_Layer] = []
        self.edges: dict[str, str] = {}
        self._tally = tally
        self._open: list[str] = []
        self._left = 8 * _MAX_PORTS * tally.limits.operators

    def read(self, content: bytes) -> None:
        """Read the whole file."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.EntityDeclHandler = self._refuse_doctype
        parser.XmlDeclHandler = self._check_encoding
        try:
            parser.Parse(content, True)  # it takes no keyword
        except expat.ExpatError as error:
            raise ArtifactError(f"{self._tally.path}: damaged: not XML: {error}") from None

    def _refuse_doctype(self, *_: object) -> None:
        raise self._tally.refuse("it declares a document type; entities aren't allowed")

    def _check_encoding(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding not in _ENCODINGS:
            raise self._tally.refuse(f"its encoding is {encoding!r}; allowed: UTF-8")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._left -= 1
        if self._left < 0 or len(self._open) > _MAX_DEPTH:
            raise self._tally.refuse("its XML has more elements, or deeper ones, than the largest ViTPose")
        above = self._open[-1] if self._open else ""
        self._open.append(tag)
        if "rt_info" in self._open:
            self._check_note(tag, attributes)
            return
        if tag not in (_ALLOWED.get(above, set()) if above else {"net"}):
            raise self._tally.refuse(f"its XML has {tag!r} in {above!r}")
        if tag == "layer":
            identity, name, kind, version = (attributes.get(key, "") for key in ("id", "name", "type", "version"))
            self.layers.append(_Layer(identity=identity, name=name, kind=kind, version=version))
        elif tag == "data":
            self.layers[-1].attributes |= attributes
        elif tag == "port":
            ports = self.layers[-1].inputs if above == "input" else self.layers[-1].outputs
            ports.append(attributes.get("id", ""))
            if len(ports) > _MAX_PORTS:
                raise self._tally.refuse(f"layer {self.layers[-1].name!r} has more than {_MAX_PORTS} ports")
        elif tag == "edge":
            self._connect(*(attributes.get(key, "") for key in ("from-layer", "from-port", "to-layer", "to-port")))

    def _check_note(self, tag: str, attributes: dict[str, str]) -> None:
        if "layer" in self._open and tag not in ("rt_info", "attribute"):
            raise self._tally.refuse(f"a layer's notes hold {tag!r}")
        if "layer" in self._open and tag == "attribute" and attributes.get("name") not in _LAYER_NOTES:
            raise self._tally.refuse(f"a layer has the note {attributes.get('name')!r}")

    def _connect(self, source: str, source_port: str, target: str, target_port: str) -> None:
        if f"{target}:{target_port}" in self.edges:
            raise self._tally.refuse(f"two edges lead to port {target_port!r} of layer {target!r}")
        self.edges[f"{target}:{target_port}"] = f"{source}:{source_port}"

    def _end(self, _tag: str) -> None:
        self._open.pop()


def _read_constant(layer: _Layer, stream: Any, size: int) -> tuple[Shape, Any]:
    kind, shape = layer.attributes.get("element_type", ""), tuple(layer.integers("shape"))
    if kind not in _BITS or any(side < 0 for side in shape):
        raise ValueError(f"a constant of {kind!r} and shape {shape}")
    places = [layer.attributes.get(name, "") for name in ("offset", "size")]
    if not all(_NUMBER.fullmatch(place) for place in places):
        raise ValueError(f"offset {places[0]!r} and size {places[1]!r} in the weights")
    offset, stored = map(int, places)
    elements = math.prod(shape)
    if stored != -(-elements * _BITS[kind] // 8):
        raise ValueError(f"{elements} elements of {kind} are said to take {stored} bytes")
    if offset + stored > size:
        raise ValueError(f"its values end at byte {offset + stored}, and the weights have {size}: they are cut short, or of another model")
    if kind not in _SMALL_TYPES or elements > MAX_SMALL_ELEMENTS:
        return shape, None
    stream.seek(offset)
    return shape, np.frombuffer(stream.read(stored), _SMALL_TYPES[kind])


def _read_shape(layer: _Layer, batch: int) -> Shape:
    """Return the shape of the input, with ``batch`` in the place of an open first size."""
    if layer.attributes.get("element_type") != "f32":
        raise ValueError(f"the input is {layer.attributes.get('element_type')!r}; expected 'f32'")
    first, _, rest = layer.attributes.get("shape", "").partition(",")
    if first.strip() not in ("?", "-1") and not _NUMBER.fullmatch(first.strip()):
        raise ValueError(f"the input's batch size is {first!r}")
    sizes = _Layer(identity="", name="", kind="", version="", attributes={"shape": rest}).integers("shape")
    return (int(first) if first.strip().isdecimal() else batch, *sizes)


def _same(layer: _Layer) -> Found:
    return [layer.shape(0)], 0


def _gelu(layer: _Layer) -> Found:
    layer.require("approximation_mode", "ERF", "erf")
    return [layer.shape(0)], 0


def _elementwise(layer: _Layer) -> Found:
    layer.require("auto_broadcast", "numpy")
    return [shapes.broadcast(layer.shape(0), layer.shape(1))], 0


def _normalize(layer: _Layer) -> Found:
    """The second operand names axes."""
    layer.require("normalize_variance", "true")
    layer.require("eps_mode", "INSIDE_SQRT", "inside_sqrt")
    x = layer.shape(0)
    for axis in layer.small(1).integers():
        shapes.round_axis(axis, len(x))
    return [x], 4 * math.prod(x)


def _reduce(layer: _Layer) -> Found:
    x = layer.shape(0)
    axes = {shapes.round_axis(axis, len(x)) for axis in layer.small(1).integers()}
    keep = layer.flag("keep_dims")
    return [tuple(1 if axis in axes else size for axis, size in enumerate(x) if keep or axis not in axes)], math.prod(x)


def _fake_quantize(layer: _Layer) -> Found:
    x = layer.shape(0)
    (levels,) = layer.integers("levels")
    if shapes.broadcast(*(layer.shape(index) for index in range(5))) != x or not 2 <= levels <= 1 << 16:
        raise ValueError(f"{x} with ranges of shape {layer.shape(1)} and {levels} levels")
    return [x], 2 * math.prod(x)


def _matmul(layer: _Layer) -> Found:
    shape, multiplications = shapes.multiply(
        layer.shape(0), layer.shape(1), transpose_x=layer.flag("transpose_a"), transpose_y=layer.flag("transpose_b")
    )
    return [shape], multiplications


def _attention(layer: _Layer) -> Found:
    query, key, value = (layer.shape(index) for index in range(3))
    scores, first = shapes.multiply(query, key, transpose_y=True)
    shape, second = shapes.multiply(scores, value)
    for index in range(3, len(layer.operands)):
        if shapes.broadcast(scores, layer.shape(index)) != scores:
            raise ValueError(f"a mask of shape {layer.shape(index)} for scores {scores}")
    return [shape], first + second


def _windows(layer: _Layer) -> tuple[list[int], list[tuple[int, int]], list[int]]:
    layer.require("auto_pad", "explicit", "notset")
    begin, end = layer.integers("pads_begin"), layer.integers("pads_end")
    return layer.integers("strides"), list(zip(begin, end, strict=True)), layer.integers("dilations")


def _convolution(layer: _Layer) -> Found:
    strides, pads, dilations = _windows(layer)
    shape, multiplications = shapes.convolve(layer.shape(0), layer.shape(1), strides=strides, pads=pads, dilations=dilations)
    return [shape], multiplications


def _convolution_back(layer: _Layer) -> Found:
    if len(layer.operands) != 2:
        raise ValueError("an output shape isn't allowed")
    strides, pads, dilations = _windows(layer)
    extra = layer.integers("output_padding") or [0] * len(strides)
    if any(not 0 <= more < max(stride, 1) for more, stride in zip(extra, strides, strict=True)):
        raise ValueError(f"output_padding is {extra}")
    shape, multiplications = shapes.convolve_transposed(
        layer.shape(0), layer.shape(1), strides=strides, pads=pads, dilations=dilations, extra=extra
    )
    return [shape], multiplications


def _reshape(layer: _Layer) -> Found:
    return [shapes.reshape(layer.shape(0), layer.small(1).integers(), zero_keeps=layer.flag("special_zero"))], 0


def _transpose(layer: _Layer) -> Found:
    return [shapes.permute(layer.shape(0), layer.small(1).integers())], 0


def _variadic_split(layer: _Layer) -> Found:
    (axis,), sizes = layer.small(1).integers(), layer.small(2).integers()
    return shapes.split(layer.shape(0), axis, sizes, len(layer.outputs)), 0


def _concat(layer: _Layer) -> Found:
    (axis,) = layer.integers("axis")
    return [shapes.concatenate([layer.shape(index) for index in range(len(layer.operands))], axis)], 0


def _interpolate(layer: _Layer) -> Found:
    """Factors or sizes for the axes that the third operand names; padding isn't allowed."""
    if any(layer.integers("pads_begin") + layer.integers("pads_end")):
        raise ValueError("padding isn't allowed")
    layer.require("mode", "linear_onnx", "linear")
    layer.require("coordinate_transformation_mode", "pytorch_half_pixel", "half_pixel")
    x = list(layer.shape(0))
    wanted = layer.small(1).numbers
    axes = [shapes.round_axis(axis, len(x)) for axis in layer.small(2).integers()] if len(layer.operands) > 2 else list(range(len(x)))
    if wanted is None or wanted.size != len(axes) or len(set(axes)) != len(axes) or not set(axes) <= {2, 3}:
        raise ValueError(f"{x} can't be resized along axes {axes}")
    scales = layer.attributes.get("shape_calculation_mode") == "scales"
    for axis, number in zip(axes, wanted.astype(np.float64).tolist(), strict=True):
        size = x[axis] * number if scales else number
        if not 1 <= size <= 1 << 24:
            raise ValueError(f"{x} can't be resized by {wanted.tolist()}")
        x[axis] = math.floor(size + 1e-5)
    return [tuple(x)], 4 * math.prod(x)


def _rules(rule: Rule, *names: str) -> dict[str, Rule]:
    return dict.fromkeys(names, rule)


OPERATORS: Mapping[str, Rule] = {
    **_rules(_same, "Convert", "Erf", "ReLU", "Sigmoid", "Softmax", "Sqrt", "Tanh", "Clamp"),
    **_rules(_elementwise, "Add", "Divide", "Multiply", "Power", "Subtract"),
    "Concat": _concat,
    "Convolution": _convolution,
    "ConvolutionBackpropData": _convolution_back,
    "Gelu": _gelu,
    "FakeQuantize": _fake_quantize,
    "Interpolate": _interpolate,
    "MVN": _normalize,
    "MatMul": _matmul,
    "ReduceMean": _reduce,
    "Reshape": _reshape,
    "ScaledDotProductAttention": _attention,
    "Transpose": _transpose,
    "VariadicSplit": _variadic_split,
}
"""The operators that the converter writes, and a few that it may come to write."""
