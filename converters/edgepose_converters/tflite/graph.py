"""A small graph of TFLite operators, and its serialization.

The operators, their options and their versions are those of TFLite's schema (``schema_py_generated`` in ai-edge-litert, Apache-2.0).
"""

from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgepose_converters.nibbles import pack_nibbles

__all__ = ["Graph", "Operation", "Quantized", "Tensor"]

_ALIGNMENT = 16

# Operator → builtin code, options and version: the oldest that has what is used here, so that older runtimes take the file. Where the
# operands decide it, see ``_version``.
_OPERATORS: dict[str, tuple[str, str, int]] = {
    "ADD": ("ADD", "AddOptions", 2),
    "BATCH_MATMUL": ("BATCH_MATMUL", "BatchMatMulOptions", 2),
    "CONV_2D": ("CONV_2D", "Conv2DOptions", 3),
    "DEQUANTIZE": ("DEQUANTIZE", "DequantizeOptions", 3),
    "FULLY_CONNECTED": ("FULLY_CONNECTED", "FullyConnectedOptions", 5),
    "GELU": ("GELU", "GeluOptions", 1),
    "MEAN": ("MEAN", "ReducerOptions", 2),
    "MUL": ("MUL", "MulOptions", 2),
    "PAD": ("PAD", "PadOptions", 2),
    "QUANTIZE": ("QUANTIZE", "QuantizeOptions", 2),
    "RELU": ("RELU", "", 2),
    "RESHAPE": ("RESHAPE", "ReshapeOptions", 1),
    "RESIZE_BILINEAR": ("RESIZE_BILINEAR", "ResizeBilinearOptions", 3),
    "RSQRT": ("RSQRT", "", 2),
    "SOFTMAX": ("SOFTMAX", "SoftmaxOptions", 2),
    "TRANSPOSE": ("TRANSPOSE", "TransposeOptions", 2),
    "TRANSPOSE_CONV": ("TRANSPOSE_CONV", "TransposeConvOptions", 3),
}

# With a scale for each channel of the weights, and for FULLY_CONNECTED, with scales of blocks: LiteRT 2.1, the first that reads them.
_HYBRID_VERSIONS = {"CONV_2D": 5, "FULLY_CONNECTED": 12}
_BLOCKS_VERSION = 14

_TYPES = {
    "float16": schema.TensorType.FLOAT16,
    "float32": schema.TensorType.FLOAT32,
    "int4": schema.TensorType.INT4,
    "int8": schema.TensorType.INT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantized:
    """What the integers of a tensor stand for: ``scale * (value - zero_point)``.

    Attributes:
        scale: (1,) float32, or one per slice along ``axis``.
        zero_point: one integer for all.
        axis: of the slices.
        block: number of values along the last axis that share a scale (``scale`` is then (slices, blocks)), or 0.
    """

    scale: NDArray[np.float32]
    zero_point: int = 0
    axis: int = 0
    block: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class Tensor:
    """A tensor of the graph.

    Attributes:
        name: unique in the graph.
        shape: static.
        kind: element type, as numpy names it, or ``int4``.
        data: the values of a constant, in an array of the element type (int8 for ``int4``); ``None`` for what is computed.
        quantized: for integers that stand for real numbers.
    """

    name: str
    shape: tuple[int, ...]
    kind: str = "float32"
    data: NDArray[np.generic] | None = None
    quantized: Quantized | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Operation:
    """An operator.

    Attributes:
        kind: as in TFLite's schema.
        inputs: the operands, in order.
        output: each operator used here has one.
        options: the fields of its options that differ from zero.
        layer: the model's layer that it is, or empty.
        factor: what the layer's weights and bias were multiplied by.
    """

    kind: str
    inputs: list[Tensor]
    output: Tensor
    options: dict[str, Any] = field(default_factory=dict)
    layer: str = ""
    factor: float = 1.0


@dataclass(slots=True, kw_only=True, eq=False)
class Graph:
    """Operators in the order in which they run.

    Attributes:
        operations: each one's inputs are constants, the graph's input, or outputs of earlier ones.
        input: the graph's one input.
        output: its one output.
    """

    operations: list[Operation]
    input: Tensor
    output: Tensor

    def serialize(self, description: str) -> bytes:
        """Return the ``.tflite`` file."""
        tensors: dict[int, tuple[int, Tensor]] = {}
        for tensor in [self.input, *(t for op in self.operations for t in (*op.inputs, op.output))]:
            tensors.setdefault(id(tensor), (len(tensors), tensor))
        buffers = [schema.BufferT()]
        subgraph = schema.SubGraphT()
        subgraph.name = "main"
        subgraph.tensors = [_tensor(tensor, buffers) for _, tensor in tensors.values()]
        blocks = [(number, tensor) for number, tensor in tensors.values() if tensor.quantized is not None and tensor.quantized.block]
        for number, tensor in blocks:
            _attach_blocks(subgraph.tensors, number, tensor, buffers)
        codes = sorted({(op.kind, _version(op)) for op in self.operations})
        subgraph.operators = [_operator(op, codes, tensors) for op in self.operations]
        subgraph.inputs = [tensors[id(self.input)][0]]
        subgraph.outputs = [tensors[id(self.output)][0]]
        model = schema.ModelT()
        model.version = 3
        model.description = description
        model.operatorCodes = [_code(kind, version) for kind, version in codes]
        model.subgraphs = [subgraph]
        model.buffers = buffers
        model.signatureDefs = [_signature(subgraph.inputs[0], subgraph.outputs[0], self.input.name, self.output.name)]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]  # untyped
    """A buffer that starts at a multiple of 16 bytes, as the schema asks and the generated code forgets."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._content = content

    def Pack(self, builder: Any) -> Any:  # noqa: N802  # the generated code's name
        """See the generated class."""
        builder.StartVector(1, len(self._content), _ALIGNMENT)
        builder.head -= len(self._content)
        builder.Bytes[builder.Head() : builder.Head() + len(self._content)] = self._content
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


def _tensor(tensor: Tensor, buffers: list[Any]) -> Any:
    written = schema.TensorT()
    written.name = tensor.name
    written.shape = list(tensor.shape)
    written.type = _TYPES[tensor.kind]
    written.buffer = 0
    if tensor.data is not None:
        written.buffer = len(buffers)
        buffers.append(_AlignedBuffer(_content(tensor)))
    if tensor.quantized is not None:
        parameters = schema.QuantizationParametersT()
        if not tensor.quantized.block:
            parameters.scale = tensor.quantized.scale.ravel().astype(np.float32)
            parameters.zeroPoint = np.full(tensor.quantized.scale.size, tensor.quantized.zero_point, np.int64)
            parameters.quantizedDimension = tensor.quantized.axis
        written.quantization = parameters
    return written


def _content(tensor: Tensor) -> bytes:
    data = pack_nibbles(np.asarray(tensor.data, np.int8)) if tensor.kind == "int4" else np.ascontiguousarray(tensor.data)
    return data.tobytes()


def _attach_blocks(written: list[Any], number: int, tensor: Tensor, buffers: list[Any]) -> None:
    """Scales of blocks are a tensor of their own, half precision."""
    assert tensor.quantized is not None  # noqa: S101  # the caller chose it
    scales = Tensor(
        name=f"{tensor.name}.scale", shape=tensor.quantized.scale.shape, kind="float16", data=tensor.quantized.scale.astype(np.float16)
    )
    details = schema.BlockwiseQuantizationT()
    details.scales = len(written)
    details.zeroPoints = -1
    details.blockSize = tensor.quantized.block
    written.append(_tensor(scales, buffers))
    written[number].quantization.details = details
    written[number].quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization


def _version(op: Operation) -> int:
    """Return the version of an operator, which for float inputs depends on how the weights are quantized.

    It is what keeps a runtime that came before a form of weights from running it: told an older version, tflite-runtime 2.14 crashes or
    takes one scale for all channels, and LiteRT before 2.1 reads scales of blocks out of memory that holds none.
    """
    weight = op.inputs[1] if len(op.inputs) > 1 else op.inputs[0]
    if op.kind in _HYBRID_VERSIONS and op.inputs[0].kind == "float32" and weight.quantized is not None:
        return _BLOCKS_VERSION if weight.quantized.block else _HYBRID_VERSIONS[op.kind]
    return _OPERATORS[op.kind][2]


def _code(kind: str, version: int) -> Any:
    name, _, _ = _OPERATORS[kind]
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    # Readers before the schema had more than 127 operators look here; newer ones take the larger of the two.
    code.deprecatedBuiltinCode = min(code.builtinCode, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    code.version = version
    return code


def _operator(op: Operation, codes: list[tuple[str, int]], tensors: dict[int, tuple[int, Tensor]]) -> Any:
    written = schema.OperatorT()
    written.opcodeIndex = codes.index((op.kind, _version(op)))
    written.inputs = [tensors[id(tensor)][0] for tensor in op.inputs]
    written.outputs = [tensors[id(op.output)][0]]
    _, options, _ = _OPERATORS[op.kind]
    if options:
        written.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        written.builtinOptions = getattr(schema, f"{options}T")()
        for name, value in op.options.items():
            setattr(written.builtinOptions, name, value)
    return written


def _signature(input_index: int, output_index: int, input_name: str, output_name: str) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey = "serving_default"
    signature.subgraphIndex = 0
    ports = []
    for index, name in ((input_index, input_name), (output_index, output_name)):
        port = schema.TensorMapT()
        port.name, port.tensorIndex = name, index
        ports.append(port)
    signature.inputs, signature.outputs = [ports[0]], [ports[1]]
    return signature
