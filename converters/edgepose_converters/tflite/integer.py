"""A ViTPose as a graph of integer operators alone, for NPUs.

Matrix products run on int8, exactly as the decision says. What NNCF leaves in float is rounded to 16 bits here: the residual stream, the
norms, attention, and the layers that stay in float (int16 times int8). In 8 bits none of these would keep enough of a transformer, whose
residual stream has a few channels far larger than the rest. A sum of squares is a product of a row with itself, which adds up in a wide
register; squares rounded one by one would lose all small channels.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InputError
from edgepose.models.fold import FoldedClassicHead
from edgepose.models.vitpose import PATCH_PADDING, Block, SimpleHead
from edgepose.quantization.lowering import QuantizedLayer, QuantizedModel
from edgepose.quantization.recipe import ActivationRange
from edgepose_converters.lowering.litert import find_part, integer_bias, integer_weight, output_levels, ports, signed_levels
from edgepose_converters.target import INPUT_NAME, OUTPUT_NAME
from edgepose_converters.tflite.graph import Graph, Quantized, Tensor
from edgepose_converters.tflite.network import QKV_PARTS, Emitter

__all__ = ["emit_integers"]

_LARGEST_INT16 = 32767
_MARGIN = 1.25
"""Room in 16-bit ranges for what calibration hasn't seen."""

_WIDENING = 128
"""int8 steps become this many int16 steps: exact, and 256 levels still fit."""


def emit_integers(quantized: QuantizedModel, batch: int) -> Graph:
    """Return the integer graph of a quantized model.

    Raises:
        InputError: the decision has no ranges of norms and attention.
    """
    statistics = quantized.quantization.statistics
    if not statistics.norms or not statistics.scores:
        raise InputError("the recipe has no ranges of norms and attention scores, which int8-full needs; calibrate again")
    return _IntegerEmitter(quantized, batch).integer_network()


class _IntegerEmitter(Emitter):
    def __init__(self, quantized: QuantizedModel, batch: int) -> None:
        super().__init__(batch, frozenset(quantized.every_layer))
        self._quantized = quantized
        self._statistics = quantized.quantization.statistics

    def integer_network(self) -> Graph:
        model = self._quantized.module
        backbone, config = model.backbone, model.config
        rows, columns = config.grid
        shape = (self._batch, rows * columns, config.dim)
        levels = signed_levels(self._input_range("backbone.patch_embed"))
        source = Tensor(name=INPUT_NAME, shape=(self._batch, 3, config.height, config.width), kind="int8", quantized=levels)
        x = self._pad(self._transpose(source, (0, 2, 3, 1)), PATCH_PADDING)
        x = self._weighted(self._convolve(self._widen(x), backbone.patch_embed, "backbone.patch_embed", padding=1))
        positions = backbone.pos_embed.detach().numpy()
        x = self._int16(
            "ADD", [self._reshape(x, shape), self._int16_constant("positions", positions)], shape, self._stream("blocks.0.norm1")
        )
        for index, block in enumerate(backbone.blocks):
            assert isinstance(block, Block)  # noqa: S101
            following = f"blocks.{index + 1}.norm1" if index + 1 < len(backbone.blocks) else "norm"
            x = self._integer_block(x, block, f"backbone.blocks.{index}", following)
        weight, bias = (parameter.detach().numpy() for parameter in (backbone.norm.weight, backbone.norm.bias))
        largest = self._statistics.norms["backbone.norm"].largest_output * float(np.abs(weight).max()) + float(np.abs(bias).max())
        x = self._scaled(x, weight, "backbone.norm", largest)
        simple = isinstance(model.head, SimpleHead)
        x = self._int16("ADD", [x, self._int16_constant("bias", bias)], shape, largest, fusedActivationFunction=int(simple))
        x = self._reshape(x, (self._batch, rows, columns, config.dim))
        x = self._simple_integer_head(x, model.head) if isinstance(model.head, SimpleHead) else self._classic_integer_head(x, model.head)
        x = self._narrow(self._transpose(x, (0, 3, 1, 2)), _widened(self._output_range("head.final")))
        x.name = OUTPUT_NAME
        return Graph(operations=self._operations, input=source, output=x)

    def _integer_block(self, x: Tensor, block: Block, name: str, following: str) -> Tensor:
        y = self._integer_attention(x, block, f"{name}.attn")
        self._scope = f"{name}.attn"
        x = self._int16("ADD", [x, y], x.shape, self._stream(f"{name.removeprefix('backbone.')}.norm2"))
        self._scope = f"{name}.mlp"
        weight = block.norm2.weight.detach().numpy()
        y = self._scaled(x, weight, f"{name}.norm2", self._reach(f"{name}.mlp.fc1"))
        y = self._dense(y, block.mlp.fc1.weight.detach().numpy(), block.mlp.fc1.bias.detach().numpy(), f"{name}.mlp.fc1")
        if y.kind == "int16":
            y = self._narrow(y, self._output_range(f"{name}.mlp.fc1"))
        y = self._add("GELU", [y], y.shape)
        y.kind, y.quantized = "int8", signed_levels(self._input_range(f"{name}.mlp.fc2"))
        y = self._dense(y, block.mlp.fc2.weight.detach().numpy(), block.mlp.fc2.bias.detach().numpy(), f"{name}.mlp.fc2")
        return self._int16("ADD", [x, self._widen(y)], x.shape, self._stream(following))

    def _integer_attention(self, x: Tensor, block: Block, name: str) -> Tensor:
        attention = block.attn
        batch, tokens, dim = x.shape
        self._scope = name
        weight, bias = attention.qkv.weight.detach().numpy(), attention.qkv.bias.detach().numpy()
        y = self._scaled(x, block.norm1.weight.detach().numpy(), name.replace(".attn", ".norm1"), self._reach(f"{name}.qkv"))
        y = self._prepare_input(y, f"{name}.qkv")
        parts = []
        for number, part in enumerate(QKV_PARTS):
            rows = slice(number * dim, (number + 1) * dim)
            z = self._dense(y, weight[rows], bias[rows], f"{name}.qkv.{part}", factor=attention.scale if part == "q" else 1.0)
            z = self._transpose(self._reshape(z, (batch, tokens, attention.heads, attention.head_dim)), (0, 2, 1, 3))
            parts.append(self._widen(z))
        q, k, v = parts
        scores = (batch, attention.heads, tokens, tokens)
        z = self._int16("BATCH_MATMUL", [q, k], scores, _MARGIN * self._statistics.scores[name], adjY=True)
        z = self._int16("SOFTMAX", [z], scores, _LARGEST_INT16 / (_LARGEST_INT16 + 1), beta=1.0)
        z = self._int16("BATCH_MATMUL", [z, v], v.shape, _reach(self._input_range(f"{name}.proj")))
        z = self._reshape(self._transpose(z, (0, 2, 1, 3)), (batch, tokens, dim))
        return self._widen(self._dense(z, attention.proj.weight.detach().numpy(), attention.proj.bias.detach().numpy(), f"{name}.proj"))

    def _scaled(self, x: Tensor, weight: NDArray[np.float32], name: str, largest: float) -> Tensor:
        """Divide each token by its root mean square and multiply its channels by ``weight``."""
        self._scope = name
        norm = self._statistics.norms[name]
        batch, tokens, dim = x.shape
        rows = self._reshape(x, (batch * tokens, 1, dim))
        sums = self._int16("BATCH_MATMUL", [rows, rows], (batch * tokens, 1, 1), _MARGIN * norm.largest_sum, adjY=True)
        inverse = self._int16("RSQRT", [self._reshape(sums, (batch, tokens, 1))], (batch, tokens, 1), (_MARGIN / norm.least_sum) ** 0.5)
        y = self._int16("MUL", [x, inverse], x.shape, _MARGIN * norm.largest_output / dim**0.5)
        # The sum became a mean: its square root of the number of channels goes into the weight.
        factor = self._int16_constant("weight", (weight * np.float32(dim**0.5)).astype(np.float32))
        return self._int16("MUL", [y, factor], x.shape, largest)

    def _simple_integer_head(self, x: Tensor, head: SimpleHead) -> Tensor:
        self._scope = "head"
        size = (4 * x.shape[1], 4 * x.shape[2])
        resized = self._add(
            "RESIZE_BILINEAR",
            [x, self._constant("size", np.array(size, np.int32))],
            (self._batch, *size, x.shape[3]),
            halfPixelCenters=True,
        )
        resized.kind, resized.quantized = x.kind, x.quantized
        resized = self._prepare_input(resized, "head.final")
        return self._weighted(self._convolve(resized, head.final, "head.final", padding=0))

    def _classic_integer_head(self, x: Tensor, head: object) -> Tensor:
        assert isinstance(head, FoldedClassicHead)  # noqa: S101
        for name, layer, following in (("head.deconv1", head.deconv1, "head.deconv2"), ("head.deconv2", head.deconv2, "head.final")):
            x = self._weighted(self._deconvolve(self._prepare_input(x, name), layer, name))
            # The levels of what follows start at zero, so rounding to them is the ReLU.
            x = self._narrow(x, replace(self._input_range(following), low=0.0))
        return self._weighted(self._convolve(self._prepare_input(x, "head.final"), head.final, "head.final", padding=0))

    def _dense(self, x: Tensor, weight: NDArray[np.float32], bias: NDArray[np.float32], name: str, *, factor: float = 1.0) -> Tensor:
        return self._weighted(self._linear(self._prepare_input(x, name), weight, bias, name, factor=factor))

    def _prepare_input(self, x: Tensor, name: str) -> Tensor:
        """Round the input of a layer to the levels that were decided; layers that stay in float take 16 bits."""
        whole = name.rpartition(".")[0] if name.endswith(tuple(f".qkv.{part}" for part in QKV_PARTS)) else name
        if whole not in self._quantized.layers:
            return self._widen(x)
        levels = signed_levels(self._input_range(whole))
        same = x.kind == "int8" and x.quantized is not None and x.quantized.zero_point == levels.zero_point
        if same and x.quantized is not None and np.allclose(x.quantized.scale, levels.scale, rtol=1e-6, atol=0):
            return x
        return self._narrow(x, self._input_range(whole))

    def _weighted(self, float_output: Tensor) -> Tensor:
        """Give the operator that was just emitted its integers."""
        operation = self._operations[-1]
        assert operation.output is float_output  # noqa: S101
        part = find_part(operation.layer, self._quantized.every_layer)
        assert part is not None  # noqa: S101  # every layer has statistics
        source, weight, bias = ports(operation)
        x = operation.inputs[source]
        assert x.quantized is not None  # noqa: S101
        levels, units = output_levels(operation, part)
        wide = x.kind == "int16"
        if wide:
            levels, units = output_levels(operation, replace(part, layer=replace(part.layer, name="")))
        integer = integer_weight(operation, part, units)
        assert integer.quantized is not None  # noqa: S101
        operation.inputs[bias] = integer_bias(
            operation, part, x.quantized.scale * integer.quantized.scale, "int64" if wide else "int32", units=units
        )
        operation.inputs[weight] = integer
        float_output.kind = x.kind
        float_output.quantized = _int16_levels(_MARGIN * _reach(levels)) if wide else signed_levels(levels)
        if units is None:
            return float_output
        largest = float((max(-levels.low, levels.high) * units).max())
        return self._int16("MUL", [self._widen(float_output), self._int16_constant("units", units)], float_output.shape, largest)

    def _widen(self, x: Tensor) -> Tensor:
        """Turn int8 into int16, exactly."""
        if x.kind == "int16":
            return x
        assert x.quantized is not None  # noqa: S101
        return self._requantize(x, "int16", Quantized(scale=x.quantized.scale / np.float32(_WIDENING)))

    def _narrow(self, x: Tensor, levels: ActivationRange) -> Tensor:
        """Round to the 256 levels of a range."""
        return self._requantize(x, "int8", signed_levels(levels))

    def _requantize(self, x: Tensor, kind: str, quantized: Quantized) -> Tensor:
        output = self._add("QUANTIZE", [x], x.shape)
        output.kind, output.quantized = kind, quantized
        return output

    def _int16(self, kind: str, inputs: list[Tensor], shape: tuple[int, ...], largest: float, **options: Any) -> Tensor:
        """Add an operator whose output is int16 and reaches up to ``largest``."""
        output = self._add(kind, inputs, shape, **options)
        output.kind, output.quantized = "int16", _int16_levels(largest)
        return output

    def _int16_constant(self, name: str, value: NDArray[np.float32]) -> Tensor:
        quantized = _int16_levels(max(float(np.abs(value).max()), 1e-9))
        levels = np.rint(value / quantized.scale).astype(np.int16)
        return Tensor(
            name=f"{self._scope}.{name}.{len(self._operations)}", shape=value.shape, kind="int16", data=levels, quantized=quantized
        )

    def _layer(self, name: str) -> QuantizedLayer:
        return self._quantized.every_layer[name]

    def _input_range(self, name: str) -> ActivationRange:
        levels = self._layer(name).input
        if levels is None:
            raise InputError(f"the recipe has no input range for {name}, which int8-full needs; calibrate again")
        return levels

    def _output_range(self, name: str) -> ActivationRange:
        ranges = self._layer(name).output
        if ranges is None:
            raise InputError(f"the recipe has no output range for {name}, which int8-full needs; calibrate again")
        return ActivationRange(low=min(ranges.low), high=max(ranges.high))

    def _reach(self, name: str) -> float:
        """Largest absolute value of a layer's input; in 16 bits there is room for more than the 8-bit levels span."""
        return _reach(self._input_range(name)) * (1.0 if name in self._quantized.layers else 2.0)

    def _stream(self, norm: str) -> float:
        """Largest absolute value of the residual stream in front of a norm."""
        return _MARGIN * self._statistics.norms[f"backbone.{norm}"].largest_input


def _widened(levels: ActivationRange) -> ActivationRange:
    """Leave room for what calibration hasn't seen."""
    return ActivationRange(low=_MARGIN * levels.low, high=_MARGIN * levels.high)


def _reach(levels: ActivationRange) -> float:
    return max(-levels.low, levels.high)


def _int16_levels(largest: float) -> Quantized:
    return Quantized(scale=np.array([largest / _LARGEST_INT16], np.float32))
