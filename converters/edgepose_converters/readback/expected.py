"""What a file must hold, worked out from the model and the decision alone: nothing here comes from the code that writes files."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edgepose.models.vitpose import Attention, Block, SimpleHead, ViTPose
from edgepose.precision import Precision
from edgepose.quantization.layers import Layer, list_layers
from edgepose.quantization.lowering import QuantizedLayer, QuantizedModel
from edgepose.quantization.preparation import prepare
from edgepose.quantization.recipe import ActivationRange, Statistics

__all__ = ["ExpectedLayer", "ExpectedNetwork", "ExpectedNorm", "expect"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpectedNorm:
    """A normalization.

    Attributes:
        name: of the module.
        weight: (channels,).
        bias: (channels,).
        epsilon: what is added to the variance.
    """

    name: str
    weight: Array
    bias: Array
    epsilon: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpectedLayer:
    """A layer, or the third of one that stands for the queries, keys or values.

    Attributes:
        layer: which; its kind says how the weight's axes are ordered.
        first: number of its first output channel in the whole layer.
        factor: what its output is multiplied by in the file, which everything below includes.
        levels: its integer weights, in torch's layout; ``None`` where it stays in float.
        steps: real value of one step: one per output channel, or (out, groups) for rows of inputs; ``None`` where it stays in float.
        weight: its weights where it stays in float.
        bias: (out,).
        input: what its input is rounded to in 8 bits, or ``None``.
        wide_input: the range that 16-bit integers of its input must span, or ``None``.
        output: the smallest and the largest value of each output channel, (2, out), where its output is rounded, or ``None``.
        positions: what is added behind its bias, or ``None``.
        norm: what stands in front of it, or ``None``.
        sources: numbers of the layers that make its input.
        functions: what is computed of their outputs in between, in the order of the alphabet.
        multiplied: what values are multiplied by in between, beside what stands in norms.
    """

    layer: Layer
    first: int
    factor: float
    levels: NDArray[np.int8] | None
    steps: Array | None
    weight: NDArray[np.float32] | None
    bias: Array
    input: ActivationRange | None
    wide_input: ActivationRange | None
    output: Array | None
    positions: Array | None
    norm: ExpectedNorm | None
    sources: frozenset[int]
    functions: tuple[str, ...]
    multiplied: float

    @property
    def scale(self) -> Array | None:
        """Real value of one step, of the shape of ``levels``; made when it is asked for, because it is large."""
        if self.steps is None or self.levels is None:
            return None
        return _spread(self.steps, self.levels.shape, axis=1 if self.layer.kind == "deconv" else 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpectedNetwork:
    """The layers in the order in which they run.

    Attributes:
        layers: at least two.
        whole: whether nothing is float in the file.
        statistics: what calibration saw, for a file in which nothing is float.
    """

    layers: tuple[ExpectedLayer, ...]
    whole: bool
    statistics: Statistics | None = None


def expect(module: ViTPose, quantized: QuantizedModel | None, precision: Precision, format: str) -> ExpectedNetwork:  # noqa: A002
    """Return what a file must hold.

    Args:
        module: the model, BatchNorm folded.
        quantized: the decision, applied; for a quantized precision.
        precision: of the file.
        format: ``openvino``, ``onnx``, ``litert`` or ``coreml``.
    """
    split = format == "litert"
    if quantized is not None:
        module = quantized.module
    elif split:
        # The network without a mean in its norms, and with their biases in the layers.
        module = prepare(module)
    maker = _Maker(module, quantized, whole=precision.whole, rounds=quantized is not None and precision.formats[format].rounds_outputs)
    statistics = quantized.quantization.statistics if precision.whole and quantized is not None else None
    return ExpectedNetwork(layers=tuple(maker.layers(split=split)), whole=precision.whole, statistics=statistics)


class _Maker:
    def __init__(self, module: ViTPose, quantized: QuantizedModel | None, *, whole: bool, rounds: bool) -> None:
        self._module = module
        self._whole = whole
        self._rounds = rounds
        self._integer: dict[str, QuantizedLayer] = {}
        self._decided: dict[str, QuantizedLayer] = {}
        if quantized is not None:
            self._integer = quantized.every_layer if whole else quantized.layers
            self._decided = quantized.layers

    def layers(self, *, split: bool) -> Iterator[ExpectedLayer]:
        stream: set[int] = set()
        previous: frozenset[int] = frozenset()
        count = 0
        for layer in list_layers(self._module):
            _, _, role = layer.name.rpartition(".blocks.")
            from_stream = role.endswith(("attn.qkv", "mlp.fc1")) or (layer.name.startswith("head.") and previous <= stream)
            parts = 3 if split and role.endswith("attn.qkv") else 1
            sources = frozenset(stream) if from_stream else previous
            for part in range(parts):
                yield self._layer(layer, part, parts, sources, split=split)
            previous = frozenset(range(count, count + parts))
            count += parts
            if role.endswith(("attn.proj", "mlp.fc2", "backbone.patch_embed")):
                stream |= previous

    def _layer(self, layer: Layer, part: int, parts: int, sources: frozenset[int], *, split: bool) -> ExpectedLayer:
        integer = self._integer.get(layer.name)
        norm = self._norm(layer.name)
        bias = integer.bias.astype(np.float64) if integer is not None else _numbers(self._parameter(layer.name, "bias"))
        out = len(bias) // parts
        rows = slice(part * out, (part + 1) * out)
        factor = self._attention(layer.name).scale if parts == 3 and part == 0 else 1.0
        # Files without floats take the picture, and the layers that stay in float, in 16 bits.
        wide = self._whole and (layer.name not in self._decided or layer.name == "backbone.patch_embed")
        levels = steps = weight = None
        if integer is None:
            weight = self._parameter(layer.name, "weight").detach().numpy()
            if split and norm is not None and not layer.name.startswith("head."):
                # The norm's weight goes into the layer's where no integers were made for it.
                weight, norm = (
                    weight * norm.weight.astype(np.float32),
                    ExpectedNorm(name=norm.name, weight=np.ones_like(norm.weight), bias=norm.bias, epsilon=norm.epsilon),
                )
            weight = weight[rows] * np.float32(factor) if parts > 1 else weight
        else:
            levels = integer.weight[rows] if parts > 1 else integer.weight
            steps = (integer.scale[rows] if parts > 1 else integer.scale).astype(np.float64) * factor
        return ExpectedLayer(
            layer=layer,
            first=part * out,
            factor=factor,
            levels=levels,
            steps=steps,
            weight=weight,
            bias=bias[rows] * factor,
            input=None if wide or integer is None else integer.input,
            wide_input=integer.input if wide and integer is not None else None,
            output=self._output(integer, rows, factor),
            positions=_numbers(self._module.backbone.pos_embed) if layer.name == "backbone.patch_embed" else None,
            norm=norm,
            sources=sources,
            functions=self._functions(layer.name),
            # Where queries have a layer of their own, the factor of the scores is in its weights.
            multiplied=self._attention(layer.name).scale if layer.name.endswith(".attn.proj") and not split else 1.0,
        )

    def _functions(self, name: str) -> tuple[str, ...]:
        if name.endswith(".attn.proj"):
            return ("softmax",)
        if name.endswith(".mlp.fc2"):
            return ("gelu",)
        if isinstance(self._module.head, SimpleHead):
            return ("relu", "resize") if name == "head.final" else ()
        # Without floats, rounding to levels that start at zero is the ReLU.
        return ("relu",) if name in ("head.deconv2", "head.final") and not self._whole else ()

    def _output(self, integer: QuantizedLayer | None, rows: slice, factor: float) -> Array | None:
        if not self._rounds or integer is None or integer.output is None or (integer.input is None and not self._whole):
            return None
        return np.array([integer.output.low[rows], integer.output.high[rows]], np.float64) * factor

    def _norm(self, name: str) -> ExpectedNorm | None:
        backbone = self._module.backbone
        prefix, _, role = name.rpartition(".attn.") if name.endswith(".attn.qkv") else name.rpartition(".mlp.")
        if name.startswith("head."):
            first = next(layer.name for layer in list_layers(self._module) if layer.name.startswith("head."))
            found, norm = "backbone.norm", backbone.norm
            if name != first:
                return None
        elif role in ("qkv", "fc1"):
            block = self._module.get_submodule(prefix)
            assert isinstance(block, Block)  # noqa: S101  # that is where these layers are
            found, norm = (f"{prefix}.norm1", block.norm1) if role == "qkv" else (f"{prefix}.norm2", block.norm2)
        else:
            return None
        # Without a mean, a sum of squares takes the place of the variance: its root is in the weight.
        factor = norm.weight.numel() ** 0.5 if self._whole else 1.0
        return ExpectedNorm(name=found, weight=_numbers(norm.weight) * factor, bias=_numbers(norm.bias), epsilon=norm.eps)

    def _attention(self, name: str) -> Attention:
        attention = self._module.get_submodule(name.rpartition(".")[0])
        assert isinstance(attention, Attention)  # noqa: S101
        return attention

    def _parameter(self, name: str, leaf: str) -> Tensor:
        module: nn.Module = self._module.get_submodule(name)
        parameter = getattr(module, leaf)
        if parameter is None:
            return module.get_parameter("weight").new_zeros(module.get_parameter("weight").shape[0])
        found: Tensor = parameter
        return found


def _numbers(tensor: Tensor) -> Array:
    return tensor.detach().numpy().astype(np.float64)


def _spread(scale: Array, shape: tuple[int, ...], *, axis: int) -> Array:
    """Give each weight its scale: one per output channel, or, in rows of inputs, one per group."""
    if scale.ndim == 2:
        return np.repeat(scale, shape[1] // scale.shape[1], axis=1)
    return np.broadcast_to(scale.reshape([-1 if index == axis else 1 for index in range(len(shape))]), shape)
