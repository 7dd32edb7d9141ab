"""TFLite, through the classes generated from TFLite's schema."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgepose.errors import VerificationError
from edgepose_converters.readback.graph import Kind, Levels, Operator, Stored, StoredGraph

__all__ = ["read"]

# Where a layer takes its input, weight and bias, and the order of torch's axes in its weight.
_LAYERS: dict[str, tuple[Kind, tuple[int, int, int], tuple[int, ...]]] = {
    "FULLY_CONNECTED": ("linear", (0, 1, 2), (0, 1)),
    "CONV_2D": ("conv", (0, 1, 2), (0, 3, 1, 2)),
    "TRANSPOSE_CONV": ("deconv", (2, 1, 3), (3, 0, 1, 2)),
}
_WITH_CONSTANT: dict[str, Kind] = {"ADD": "add", "MUL": "multiply"}
_KINDS: dict[str, Kind] = {"SOFTMAX": "softmax", "GELU": "activation", "RELU": "activation", "RESIZE_BILINEAR": "activation"}
_FUNCTIONS = {"SOFTMAX": "softmax", "GELU": "gelu", "RELU": "relu", "RESIZE_BILINEAR": "resize"}
_PLAIN = frozenset({"ADD", "MUL", "BATCH_MATMUL", "RESHAPE", "TRANSPOSE", "PAD", "MEAN"})
_FUSED = {0: "", 1: "relu"}
_TYPES: dict[int, Any] = {
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
}
_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


def read(path: Path) -> StoredGraph:
    """Read a file.

    Raises:
        VerificationError: it isn't made as edgepose makes files.
    """
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    subgraph = model.subgraphs[0]
    reader = _Reader(model=model, tensors=subgraph.tensors)
    for number, tensor in enumerate(subgraph.tensors):
        reader.read_tensor(number, tensor)
    for operator in subgraph.operators:
        reader.take(operator)
    return StoredGraph(
        operators=tuple(reader.operators), input=str(subgraph.inputs[0]), output=str(subgraph.outputs[0]), levels=reader.levels
    )


@dataclass(slots=True, kw_only=True, eq=False)
class _Reader:
    """Tensors go by their number in the file, which is unique."""

    model: Any
    tensors: list[Any]
    constants: dict[str, Stored] = field(default_factory=dict)
    levels: dict[str, Levels] = field(default_factory=dict)
    operators: list[Operator] = field(default_factory=list)
    inverses: dict[str, float | None] = field(default_factory=dict)
    shifted: dict[str, float] = field(default_factory=dict)

    def read_tensor(self, number: int, tensor: Any) -> None:
        """Read a constant, or what the integers of a computed tensor stand for."""
        content = self.model.buffers[tensor.buffer].data
        if content is not None and len(content):
            self.constants[str(number)] = self._constant(tensor, np.asarray(content, np.uint8))
            return
        parameters = tensor.quantization
        if parameters is not None and parameters.scale is not None and len(parameters.scale):
            if len(parameters.scale) != 1:
                raise VerificationError(f"tensor {tensor.name.decode()!r} has scales per channel, which edgepose doesn't write")
            limits = np.iinfo(_TYPES[tensor.type])
            count = int(limits.max) - int(limits.min) + 1
            zero_point = int(parameters.zeroPoint[0]) - int(limits.min)
            self.levels[str(number)] = Levels(scale=float(parameters.scale[0]), zero_point=zero_point, count=count)

    def _constant(self, tensor: Any, content: NDArray[np.uint8]) -> Stored:
        shape = tuple(int(size) for size in tensor.shape) if tensor.shape is not None else ()
        if tensor.type == schema.TensorType.INT4:
            values = _spread(content).reshape(shape)
        else:
            values = content.view(_TYPES[tensor.type]).reshape(shape)
        parameters = tensor.quantization
        if parameters is None:
            return Stored(values=values)
        if parameters.detailsType == schema.QuantizationDetails.BlockwiseQuantization:
            scales = self.tensors[parameters.details.scales]
            stored = self._constant(scales, np.asarray(self.model.buffers[scales.buffer].data, np.uint8)).values
            return Stored(values=values, scale=np.repeat(stored, parameters.details.blockSize, axis=-1))
        if parameters.scale is None or not len(parameters.scale):
            return Stored(values=values)
        along = [1] * values.ndim
        along[parameters.quantizedDimension] = len(parameters.scale)
        scale, zero = (np.asarray(each).reshape(along) for each in (parameters.scale, parameters.zeroPoint))
        return Stored(values=values, scale=scale.astype(np.float32), zero_point=zero.astype(np.int64))

    def take(self, operator: Any) -> None:
        """Read one operator; the parts of a normalization become one."""
        kind = _NAMES[self.model.operatorCodes[operator.opcodeIndex].builtinCode]
        inputs = [str(number) for number in operator.inputs if number >= 0]
        outputs = tuple(str(number) for number in operator.outputs)
        if kind == "DEQUANTIZE" and inputs[0] in self.constants:
            self.constants[outputs[0]] = self.constants[inputs[0]]
        else:
            fused = getattr(operator.builtinOptions, "fusedActivationFunction", 0)
            self.operators.append(self._operator(kind, inputs, outputs, _FUSED.get(fused, f"activation {fused}")))

    def _operator(self, kind: str, inputs: list[str], outputs: tuple[str, ...], fused: str) -> Operator:
        name = self.tensors[int(outputs[0])].name.decode()
        computed = tuple(each for each in inputs if each not in self.constants)
        if kind in _LAYERS and inputs[_LAYERS[kind][1][1]] in self.constants:
            meaning, (source, weight, bias), order = _LAYERS[kind]
            return Operator(
                kind=meaning,
                name=name,
                inputs=(inputs[source],),
                outputs=outputs,
                function=fused,
                weight=self.constants[inputs[weight]].transposed(order),
                bias=self.constants[inputs[bias]] if len(inputs) > bias else None,
            )
        if kind in _WITH_CONSTANT and len(computed) == 1:
            (constant,) = (self.constants[each] for each in inputs if each in self.constants)
            if kind == "ADD" and constant.values.size == 1:
                self.shifted[outputs[0]] = float(constant.real().item())
            return Operator(kind=_WITH_CONSTANT[kind], name=name, inputs=computed, outputs=outputs, function=fused, constant=constant)
        if kind == "RSQRT":
            self.inverses[outputs[0]] = self.shifted.get(computed[0])
        if kind == "MUL" and len(computed) == 2 and computed[1] in self.inverses:
            # The division by the root mean square: what is divided is what counts.
            return Operator(kind="norm", name=name, inputs=computed[:1], outputs=outputs, epsilon=self.inverses[computed[1]])
        if kind in ("QUANTIZE", "DEQUANTIZE"):
            return Operator(kind="quantize", name=name, inputs=computed, outputs=outputs)
        function = fused if kind in _PLAIN else _FUNCTIONS.get(kind, kind.lower())
        return Operator(kind=_KINDS.get(kind, "other"), name=name, inputs=computed, outputs=outputs, function=function)


def _spread(content: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Two's complement in four bits, the first value in the low half of each byte."""
    values = np.empty((content.size, 2), np.int8)
    signed = content.view(np.int8)
    values[:, 0] = np.right_shift(np.left_shift(signed, 4), 4)
    values[:, 1] = np.right_shift(signed, 4)
    return values.reshape(-1)
