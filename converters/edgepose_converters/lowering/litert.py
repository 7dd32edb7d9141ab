"""TFLite: integer weights and quantizers in the graph of operators that ``edgepose_converters.tflite`` emits.

TFLite's integer kernels write integers, so ``int8`` rounds the output of each layer too, to the range that calibration saw; everything
between the layers stays in float, and XNNPACK takes the whole graph. ``int8-dynamic`` leaves input and output of a layer in float, and
XNNPACK quantizes each row of the input as it comes.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InputError
from edgepose.quantization.lowering import QuantizedLayer, QuantizedModel
from edgepose.quantization.recipe import ActivationRange, ChannelRanges
from edgepose_converters.tflite.graph import Graph, Operation, Quantized, Tensor
from edgepose_converters.tflite.network import QKV_PARTS

__all__ = ["lower", "store_half_precision"]

_LAYOUTS = {"linear": (0, 1), "conv": (0, 2, 3, 1), "deconv": (1, 2, 3, 0)}
_SIGNED = 128
_RESIDUAL = ("attn.proj", "mlp.fc2")
_UNEVEN = 0.4
_LEAST_SHARE = 1e-3
_LEAST_RANGE = 1e-6
_LEAST_HALVED = 1024
"""Constants of fewer values aren't worth an operator that widens them."""


def lower(graph: Graph, quantized: QuantizedModel) -> Graph:
    """Return the graph with the integer weights and quantizers of ``quantized``, from whose module it was emitted."""
    operations: list[Operation] = []
    for operation in graph.operations:
        part = find_part(operation.layer, quantized.layers) if operation.layer else None
        if part is None:
            operations.append(operation)
        elif part.input is None:
            operations.append(_with_weights(operation, part))
        else:
            operations += _static(operation, part, part.input)
    return replace(graph, operations=operations)


def store_half_precision(graph: Graph, *, float32: frozenset[str] = frozenset()) -> Graph:
    """Return the graph with its float constants in half precision, but for those of the layers named; runtimes widen them."""
    widened: dict[int, Tensor] = {}
    operations: list[Operation] = []
    for operation in graph.operations:
        inputs = []
        whole, _, part = operation.layer.rpartition(".")
        if (whole if part in QKV_PARTS else operation.layer) in float32:
            operations.append(operation)
            continue
        for tensor in operation.inputs:
            # Kernels that quantize their input as it comes take no bias from another operator.
            if tensor.data is None or tensor.kind != "float32" or tensor.data.size < _LEAST_HALVED or tensor.data.ndim == 1:
                inputs.append(tensor)
                continue
            if id(tensor) not in widened:
                half = Tensor(name=f"{tensor.name}.half", shape=tensor.shape, kind="float16", data=tensor.data.astype(np.float16))
                widened[id(tensor)] = Tensor(name=tensor.name, shape=tensor.shape)
                operations.append(Operation(kind="DEQUANTIZE", inputs=[half], output=widened[id(tensor)]))
            inputs.append(widened[id(tensor)])
        operations.append(replace(operation, inputs=inputs))
    return replace(graph, operations=operations)


def find_part(name: str, layers: dict[str, QuantizedLayer]) -> QuantizedLayer | None:
    """Return the quantized layer that an operator is, or the third of ``qkv`` that it is."""
    if name in layers:
        return layers[name]
    whole, _, part = name.rpartition(".")
    if part not in QKV_PARTS or whole not in layers:
        return None
    layer, number = layers[whole], QKV_PARTS.index(part)
    size = len(layer.bias) // len(QKV_PARTS)
    rows = slice(number * size, (number + 1) * size)
    output = layer.output and ChannelRanges(low=layer.output.low[rows], high=layer.output.high[rows])
    return replace(layer, weight=layer.weight[rows], scale=layer.scale[rows], bias=layer.bias[rows], output=output)


def ports(operation: Operation) -> tuple[int, int, int]:
    """Return where an operator takes its input, weight and bias."""
    return (2, 1, 3) if operation.kind == "TRANSPOSE_CONV" else (0, 1, 2)


def output_levels(operation: Operation, layer: QuantizedLayer) -> tuple[ActivationRange, NDArray[np.float32] | None]:
    """Return the range of a layer's output, and the unit of each channel where they differ too much for one.

    A few channels of the residual stream are far larger than all others, in any trained transformer: on their scale the others would be
    nothing. Where that is so, each channel gets a unit of its own, which one multiplication behind the layer puts back: the square root of
    its size, as SmoothQuant does halfway, because a rare value beyond what calibration saw must not be cut off.
    """
    if layer.output is None:
        raise InputError(f"the recipe has no output range for {layer.layer.name}, which a TFLite file needs; calibrate again")
    low, high = (np.array(values, np.float32) * np.float32(operation.factor) for values in (layer.output.low, layer.output.high))
    size = np.maximum(np.abs(low), np.abs(high))
    units = None
    if layer.layer.name.endswith(_RESIDUAL) and np.sqrt(np.square(size).mean()) < _UNEVEN * size.max():
        units = np.sqrt(np.maximum(size, _LEAST_SHARE * size.max()))
        low, high = low / units, high / units
    return ActivationRange(low=float(low.min()), high=max(float(high.max()), float(low.min()) + _LEAST_RANGE)), units


def integer_weight(operation: Operation, layer: QuantizedLayer, units: NDArray[np.float32] | None = None) -> Tensor:
    """Return the integer weight of an operator whose output channels come in ``units``.

    A factor of the emitter's goes into the scale.
    """
    float_weight = operation.inputs[ports(operation)[1]]
    levels = layer.weight.transpose(_LAYOUTS[layer.layer.kind])
    scale = layer.scale * np.float32(operation.factor)
    if units is not None:
        scale = scale / units
    if layer.scale.ndim == 2:
        block = layer.weight.shape[1] // layer.scale.shape[1]
        return Tensor(name=float_weight.name, shape=levels.shape, kind="int4", data=levels, quantized=Quantized(scale=scale, block=block))
    return Tensor(name=float_weight.name, shape=levels.shape, kind="int8", data=levels, quantized=Quantized(scale=scale))


def integer_bias(
    operation: Operation,
    layer: QuantizedLayer,
    scale: NDArray[np.float32],
    kind: str = "int32",
    *,
    units: NDArray[np.float32] | None = None,
) -> Tensor:
    """Return the corrected bias of a layer whose output channels come in ``units``, as multiples of ``scale``."""
    bias = operation.inputs[ports(operation)[2]]
    limit = np.iinfo(kind)
    values = layer.bias.astype(np.float64) * operation.factor / (1.0 if units is None else units)
    levels = np.rint(values / scale).clip(limit.min, limit.max).astype(kind)
    return Tensor(name=bias.name, shape=bias.shape, kind=kind, data=levels, quantized=Quantized(scale=scale))


def signed_levels(levels: ActivationRange) -> Quantized:
    """Return a range as int8 levels."""
    return Quantized(scale=np.array([levels.scale], np.float32), zero_point=levels.zero_point - _SIGNED)


def _static(operation: Operation, layer: QuantizedLayer, levels: ActivationRange) -> list[Operation]:
    source, weight, bias = ports(operation)
    x = operation.inputs[source]
    rounded = Tensor(name=f"{operation.layer}.input", shape=x.shape, kind="int8", quantized=signed_levels(levels))
    reach, units = output_levels(operation, layer)
    inputs = list(operation.inputs)
    inputs[source] = rounded
    inputs[weight] = integer = integer_weight(operation, layer, units)
    assert integer.quantized is not None  # noqa: S101  # just made
    inputs[bias] = integer_bias(operation, layer, np.float32(levels.scale) * integer.quantized.scale, units=units)
    output = Tensor(name=f"{operation.layer}.output", shape=operation.output.shape, kind="int8", quantized=signed_levels(reach))
    done = [Operation(kind="QUANTIZE", inputs=[x], output=rounded), replace(operation, inputs=inputs, output=output)]
    if units is None:
        return [*done, Operation(kind="DEQUANTIZE", inputs=[output], output=operation.output)]
    widened = Tensor(name=f"{operation.layer}.in_units", shape=output.shape)
    factors = Tensor(name=f"{operation.layer}.units", shape=units.shape, data=units)
    return [
        *done,
        Operation(kind="DEQUANTIZE", inputs=[output], output=widened),
        Operation(kind="MUL", inputs=[widened, factors], output=operation.output),
    ]


def _with_weights(operation: Operation, layer: QuantizedLayer) -> Operation:
    inputs = list(operation.inputs)
    weight = ports(operation)[1]
    inputs[weight] = integer_weight(operation, layer)
    options = dict(operation.options)
    if operation.kind == "FULLY_CONNECTED":
        options["asymmetricQuantizeInputs"] = True
    return replace(operation, inputs=inputs, options=options)
