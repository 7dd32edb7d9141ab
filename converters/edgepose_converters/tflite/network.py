"""A ViTPose as a graph of TFLite operators.

Written for XNNPACK, GPU delegates and NPU compilers alike: channels last from the first convolution on, nothing above four dimensions,
attention in batched products that transpose nothing in memory for the keys, and LayerNorm without its mean, which is zero in a prepared
network (``edgepose.quantization.preparation``).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgepose.models.fold import FoldedClassicHead
from edgepose.models.vitpose import PATCH_PADDING, Attention, Block, SimpleHead, ViTPose
from edgepose_converters.target import INPUT_NAME, OUTPUT_NAME
from edgepose_converters.tflite.graph import Graph, Operation, Tensor

__all__ = ["QKV_PARTS", "Emitter", "emit"]

QKV_PARTS = ("q", "k", "v")
"""The layer ``qkv`` becomes three: each gets an output range of its own, and nothing has to be split."""

_SAME, _VALID = 0, 1
_RELU = 1


def emit(model: ViTPose, batch: int, *, keep_norm_weights: frozenset[str]) -> Graph:
    """Return the float graph of a prepared network.

    Args:
        model: what ``prepare`` or ``smooth`` returned: LayerNorms in blocks without bias, and a centred residual stream.
        batch: the static batch size.
        keep_norm_weights: layers in front of which the LayerNorm's weight stays an operator of its own, because their integers were made
            for its output. Elsewhere it is folded into the layer.
    """
    return Emitter(batch, keep_norm_weights).network(model)


class Emitter:
    """Emits the operators of one network, in float.

    Args:
        batch: the static batch size.
        keep_norm_weights: see ``emit``.
    """

    def __init__(self, batch: int, keep_norm_weights: frozenset[str]) -> None:
        self._batch = batch
        self._keep = keep_norm_weights
        self._operations: list[Operation] = []
        self._constants: dict[tuple[str, bytes], Tensor] = {}
        self._scope = ""

    def network(self, model: ViTPose) -> Graph:
        """Emit ``model``, a prepared network."""
        backbone, config = model.backbone, model.config
        rows, columns = config.grid
        tokens = rows * columns
        x = source = Tensor(name=INPUT_NAME, shape=(self._batch, 3, config.height, config.width))
        x = self._transpose(x, (0, 2, 3, 1))
        x = self._pad(x, PATCH_PADDING)
        x = self._convolve(x, backbone.patch_embed, "backbone.patch_embed", padding=_VALID)
        x = self._reshape(x, (self._batch, tokens, config.dim))
        x = self._add("ADD", [x, self._constant("positions", _array(backbone.pos_embed))], x.shape)
        for index, block in enumerate(backbone.blocks):
            assert isinstance(block, Block)  # noqa: S101
            x = self._block(x, block, f"backbone.blocks.{index}")
        self._scope = "backbone.norm"
        x = self._normalize(x, backbone.norm.eps)
        x = self._add("MUL", [x, self._constant("weight", _array(backbone.norm.weight))], x.shape)
        simple = isinstance(model.head, SimpleHead)
        bias = self._constant("bias", _array(backbone.norm.bias))
        x = self._add("ADD", [x, bias], x.shape, fusedActivationFunction=_RELU if simple else 0)
        x = self._reshape(x, (self._batch, rows, columns, config.dim))
        x = self._simple_head(x, model.head) if isinstance(model.head, SimpleHead) else self._classic_head(x, model.head)
        x = self._transpose(x, (0, 3, 1, 2))
        x.name = OUTPUT_NAME
        return Graph(operations=self._operations, input=source, output=x)

    def _block(self, x: Tensor, block: Block, name: str) -> Tensor:
        y = self._attention(x, block, f"{name}.attn")
        x = self._add("ADD", [x, y], x.shape)
        self._scope = f"{name}.mlp"
        y = self._linear(*self._norm(x, block.norm2, block.mlp.fc1, f"{name}.mlp.fc1"), f"{name}.mlp.fc1")
        y = self._add("GELU", [y], y.shape)
        y = self._linear(y, _array(block.mlp.fc2.weight), _array(block.mlp.fc2.bias), f"{name}.mlp.fc2")
        return self._add("ADD", [x, y], x.shape)

    def _attention(self, x: Tensor, block: Block, name: str) -> Tensor:
        attention: Attention = block.attn
        batch, tokens, dim = x.shape
        heads = (batch, attention.heads, tokens, attention.head_dim)
        self._scope = name
        y, weight, bias = self._norm(x, block.norm1, attention.qkv, f"{name}.qkv")
        parts = []
        for number, part in enumerate(QKV_PARTS):
            rows = slice(number * dim, (number + 1) * dim)
            # The scaling of the scores costs nothing inside the queries' weights.
            z = self._linear(y, weight[rows], bias[rows], f"{name}.qkv.{part}", factor=attention.scale if part == "q" else 1.0)
            z = self._reshape(z, (batch, tokens, attention.heads, attention.head_dim))
            parts.append(self._transpose(z, (0, 2, 1, 3)))
        q, k, v = parts
        z = self._add("BATCH_MATMUL", [q, k], (batch, attention.heads, tokens, tokens), adjY=True)
        z = self._add("SOFTMAX", [z], z.shape, beta=1.0)
        z = self._add("BATCH_MATMUL", [z, v], heads)
        z = self._reshape(self._transpose(z, (0, 2, 1, 3)), (batch, tokens, dim))
        return self._linear(z, _array(attention.proj.weight), _array(attention.proj.bias), f"{name}.proj")

    def _norm(
        self, x: Tensor, norm: nn.LayerNorm, linear: nn.Linear, layer: str
    ) -> tuple[Tensor, NDArray[np.float32], NDArray[np.float32]]:
        """Normalize ``x``; return it with the weight and bias of the layer behind."""
        y = self._normalize(x, norm.eps)
        scale, weight, bias = _array(norm.weight), _array(linear.weight), _array(linear.bias)
        if layer in self._keep:
            return self._add("MUL", [y, self._constant("norm", scale)], y.shape), weight, bias
        return y, weight * scale, bias

    def _normalize(self, x: Tensor, epsilon: float) -> Tensor:
        """Divide by the root mean square over channels."""
        square = self._add("MUL", [x, x], x.shape)
        axis = self._constant("axis", np.array([2], np.int32))
        mean = self._add("MEAN", [square, axis], (*x.shape[:2], 1), keepDims=True)
        shifted = self._add("ADD", [mean, self._constant("epsilon", np.array([epsilon], np.float32))], mean.shape)
        return self._add("MUL", [x, self._add("RSQRT", [shifted], mean.shape)], x.shape)

    def _simple_head(self, x: Tensor, head: SimpleHead) -> Tensor:
        self._scope = "head"
        size = (4 * x.shape[1], 4 * x.shape[2])
        shape = (self._batch, *size, x.shape[3])
        x = self._add("RESIZE_BILINEAR", [x, self._constant("size", np.array(size, np.int32))], shape, halfPixelCenters=True)
        return self._convolve(x, head.final, "head.final", padding=_SAME)

    def _classic_head(self, x: Tensor, head: nn.Module) -> Tensor:
        assert isinstance(head, FoldedClassicHead)  # noqa: S101  # prepared networks have no other
        for name, layer in (("head.deconv1", head.deconv1), ("head.deconv2", head.deconv2)):
            x = self._add("RELU", [self._deconvolve(x, layer, name)], (self._batch, 2 * x.shape[1], 2 * x.shape[2], layer.out_channels))
        return self._convolve(x, head.final, "head.final", padding=_SAME)

    def _linear(self, x: Tensor, weight: NDArray[np.float32], bias: NDArray[np.float32], layer: str, *, factor: float = 1.0) -> Tensor:
        inputs = [x, self._weight(layer, weight * np.float32(factor)), self._bias(layer, bias * np.float32(factor))]
        output = self._add("FULLY_CONNECTED", inputs, (*x.shape[:-1], len(weight)), layer=layer, keepNumDims=True)
        self._operations[-1].factor = factor
        return output

    def _convolve(self, x: Tensor, conv: nn.Conv2d, layer: str, *, padding: int) -> Tensor:
        self._scope = layer
        stride = conv.stride[0]
        weight = _array(conv.weight).transpose(0, 2, 3, 1)
        reach = 0 if padding == _SAME else conv.kernel_size[0] - stride
        shape = (self._batch, (x.shape[1] - reach) // stride, (x.shape[2] - reach) // stride, len(weight))
        bias = np.zeros(len(weight), np.float32) if conv.bias is None else _array(conv.bias)
        inputs = [x, self._weight(layer, weight), self._bias(layer, bias)]
        options = {"padding": padding, "strideH": stride, "strideW": stride, "dilationHFactor": 1, "dilationWFactor": 1}
        return self._add("CONV_2D", inputs, shape, layer=layer, **options)

    def _deconvolve(self, x: Tensor, deconv: nn.ConvTranspose2d, layer: str) -> Tensor:
        self._scope = layer
        weight = _array(deconv.weight).transpose(1, 2, 3, 0)
        shape = (self._batch, 2 * x.shape[1], 2 * x.shape[2], len(weight))
        bias = np.zeros(len(weight), np.float32) if deconv.bias is None else _array(deconv.bias)
        size = self._constant("shape", np.array(shape, np.int32))
        inputs = [size, self._weight(layer, weight), x, self._bias(layer, bias)]
        return self._add("TRANSPOSE_CONV", inputs, shape, layer=layer, padding=_SAME, strideH=2, strideW=2)

    def _pad(self, x: Tensor, pixels: int) -> Tensor:
        amounts = np.array([[0, 0], [pixels, pixels], [pixels, pixels], [0, 0]], np.int32)
        batch, height, width, channels = x.shape
        return self._move("PAD", x, self._constant("padding", amounts), (batch, height + 2 * pixels, width + 2 * pixels, channels))

    def _reshape(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return self._move("RESHAPE", x, self._constant("shape", np.array(shape, np.int32)), shape, newShape=list(shape))

    def _transpose(self, x: Tensor, order: tuple[int, ...]) -> Tensor:
        return self._move("TRANSPOSE", x, self._constant("order", np.array(order, np.int32)), tuple(x.shape[axis] for axis in order))

    def _move(self, kind: str, x: Tensor, how: Tensor, shape: tuple[int, ...], **options: Any) -> Tensor:
        """Add an operator that only moves values: they keep their type."""
        output = self._add(kind, [x, how], shape, **options)
        output.kind, output.quantized = x.kind, x.quantized
        return output

    def _weight(self, layer: str, value: NDArray[np.float32]) -> Tensor:
        return Tensor(name=f"{layer}.weight", shape=value.shape, data=np.ascontiguousarray(value))

    def _bias(self, layer: str, value: NDArray[np.float32]) -> Tensor:
        return Tensor(name=f"{layer}.bias", shape=value.shape, data=np.ascontiguousarray(value))

    def _constant(self, name: str, value: NDArray[Any]) -> Tensor:
        """Return a constant; those of the same integers are one."""
        key = (f"{value.dtype}{value.shape}", value.tobytes())
        if value.dtype == np.float32 or key not in self._constants:
            self._constants[key] = Tensor(
                name=f"{self._scope}.{name}.{len(self._operations)}", shape=value.shape, kind=value.dtype.name, data=value
            )
        return self._constants[key]

    def _add(self, kind: str, inputs: list[Tensor], shape: tuple[int, ...], *, layer: str = "", **options: Any) -> Tensor:
        output = Tensor(name=f"{layer or self._scope}.{kind.lower()}.{len(self._operations)}", shape=shape)
        self._operations.append(Operation(kind=kind, inputs=inputs, output=output, options=dict(options), layer=layer))
        return output


def _array(parameter: Any) -> NDArray[np.float32]:
    array: NDArray[np.float32] = parameter.detach().numpy()
    return array
