"""Faults planted into saved files, byte by byte: what a wrong lowering, or someone with an editor, would leave behind."""

from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

from edgepose.quantization.lowering import QuantizedLayer

PROJ = "backbone.blocks.0.attn.proj"
"""A square layer."""


class Stored:
    """How a format and precision store a layer, worked out here once more.

    Args:
        target: ``openvino``, ``onnx``, ``litert`` or ``coreml``.
        precision: of the file.
        layer: the layer.
    """

    def __init__(self, target: str, precision: str, layer: QuantizedLayer) -> None:
        self.format = target
        self.precision = precision
        self.layer = layer
        self.nibbles = layer.scale.ndim == 2

    def levels(self, levels: np.ndarray) -> bytes:
        if self.format == "onnx":
            levels = levels.T
            if self.precision == "int8-dynamic":
                return (levels.astype(np.int16) + 128).astype(np.uint8).tobytes()
        if self.nibbles:
            pairs = (levels.reshape(-1, 2).astype(np.int16)) & 0xF
            return (pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8).tobytes()
        return levels.tobytes()

    def scale(self, scale: np.ndarray) -> bytes:
        half = self.format == "coreml" or (self.format == "litert" and self.nibbles)
        scale = scale.T if self.format == "onnx" and self.nibbles else scale
        return scale.astype(np.float16 if half else np.float32).tobytes()

    def bias(self, bias: np.ndarray) -> bytes:
        if self.format == "coreml":
            return bias.astype(np.float16).tobytes()
        if self.layer.input is not None and self.format in ("onnx", "litert"):
            return np.rint(bias / (np.float32(self.layer.input.scale) * self.layer.scale)).astype(np.int32).tobytes()
        return bias.astype(np.float32).tobytes()


def replace_bytes(path: Path, old: bytes, new: bytes) -> None:
    """Replace what stands once in all files of an artifact."""
    assert len(old) == len(new)
    assert old != new
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path.with_suffix(".bin"), path]
    found = [each for each in files if each.exists() and old in each.read_bytes()]
    assert len(found) == 1, found
    content = found[0].read_bytes()
    assert content.count(old) == 1
    found[0].write_bytes(content.replace(old, new))


def scale_up(path: Path, stored: Stored) -> None:
    """Multiply the scale of channel 5 by 1.5."""
    scale = stored.layer.scale.copy()
    scale[5] *= 1.5
    replace_bytes(path, stored.scale(stored.layer.scale), stored.scale(scale))


def swap_channels(path: Path, stored: Stored) -> None:
    """Swap the integers of channels 5 and 6."""
    levels = stored.layer.weight.copy()
    levels[[5, 6]] = levels[[6, 5]]
    replace_bytes(path, stored.levels(stored.layer.weight), stored.levels(levels))


def transpose(path: Path, stored: Stored) -> None:
    """Transpose the integers."""
    replace_bytes(path, stored.levels(stored.layer.weight), stored.levels(np.ascontiguousarray(stored.layer.weight.T)))


def drop_bias(path: Path, stored: Stored) -> None:
    """Make the bias zero."""
    replace_bytes(path, stored.bias(stored.layer.bias), stored.bias(np.zeros_like(stored.layer.bias)))


def swap_nibbles(path: Path, stored: Stored) -> None:
    """Put the first of two values into the other half of a byte."""
    content = np.frombuffer(stored.levels(stored.layer.weight), np.uint8)
    replace_bytes(path, content.tobytes(), (content << 4 | content >> 4).tobytes())


def move_zero_point(path: Path, stored: Stored) -> None:
    """Move a zero point by 3: that of the input where it is rounded, else that of the weights."""
    _ZERO_POINTS[stored.format](path, stored)


def _move_openvino(path: Path, stored: Stored) -> None:
    levels = stored.layer.input
    assert levels is not None
    content = path.with_suffix(".bin").read_bytes()
    for end in (levels.low, levels.high):
        old = np.float32(end).tobytes()
        assert old in content
        content = content.replace(old, np.float32(end + 3 * levels.scale).tobytes())
    path.with_suffix(".bin").write_bytes(content)


def _move_onnx(path: Path, stored: Stored) -> None:
    model = onnx.load(path)
    part = "input" if stored.layer.input is not None else "weight"
    (tensor,) = (each for each in model.graph.initializer if each.name == f"{PROJ}.{part}_zero_point")
    values = numpy_helper.to_array(tensor) + 3
    tensor.CopyFrom(numpy_helper.from_array(values.astype(numpy_helper.to_array(tensor).dtype), tensor.name))
    onnx.save(model, path)


def _move_litert(path: Path, stored: Stored) -> None:
    def change(graph: schema.SubGraphT) -> None:
        (weight,) = (number for number, tensor in enumerate(graph.tensors) if tensor.name.decode() == f"{PROJ}.weight")
        (operator,) = (each for each in graph.operators if weight in each.inputs)
        tensor = graph.tensors[operator.inputs[0] if stored.layer.input is not None else weight]
        tensor.quantization.zeroPoint = np.asarray(tensor.quantization.zeroPoint) + 3

    edit_tflite(path, change)


def _move_coreml(path: Path, stored: Stored) -> None:
    def change(operations: list[object]) -> None:
        by_output = {output.name: operation for operation in operations for output in operation.outputs}
        name = next(name for name in by_output if name.endswith(f"{PROJ.replace('.', '_')}_levels"))
        layer = next(each for each in operations if name in [argument.name for argument in each.inputs["weight"].arguments])
        if stored.layer.input is None:
            weight = by_output[name]
            holder = weight.attributes if "zero_point" in weight.attributes else weight.inputs
            value = holder["zero_point"] if holder is weight.attributes else holder["zero_point"].arguments[0].value
        else:
            dequantize = by_output[layer.inputs["x"].arguments[0].name]
            argument = dequantize.inputs["zero_point"].arguments[0]
            value = by_output[argument.name].attributes["val"] if argument.name else argument.value
        content = np.frombuffer(value.immediateValue.tensor.bytes.values, np.int8)
        value.immediateValue.tensor.bytes.values = (content + 3).astype(np.int8).tobytes()

    edit_coreml(path, change)


_ZERO_POINTS = {"openvino": _move_openvino, "onnx": _move_onnx, "litert": _move_litert, "coreml": _move_coreml}


def edit_tflite(path: Path, change: Callable[[schema.SubGraphT], None]) -> None:
    """Change a TFLite file's graph; what stands behind the flatbuffer is lost."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    change(model.subgraphs[0])
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def edit_coreml(path: Path, change: Callable[[list[object]], None]) -> None:
    """Change the operations of a package's program."""
    from coremltools.proto import Model_pb2

    (file,) = path.rglob("*.mlmodel")
    spec = Model_pb2.Model()
    spec.ParseFromString(file.read_bytes())
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    change(block.operations)
    file.write_bytes(spec.SerializeToString())
