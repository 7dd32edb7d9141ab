"""What rounding alone explains: how far a right file may be from the simulation of its decision, measured on the model itself.

A runtime never computes to the last bit what the simulation does. It adds in another order, stores what stays in float in half precision,
and may round inputs and outputs of layers that the decision leaves alone. Each of these is a small error of known size at a known place;
how large it has become in the heatmaps depends on the model. So the simulation is run once more with random errors of just these sizes, and
the files of a model are held to a small multiple of what that changes. ``python -m edgepose_benchmarks.floors`` compares the two.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgepose.models.vitpose import Attention, Block, ViTPose
from edgepose.precision import OnFormat, Operands, Precision
from edgepose.quantization.layers import output_axis
from edgepose.quantization.lowering import QuantizedLayer, QuantizedModel, simulate

__all__ = ["disturb", "measure_noise", "relative_rms"]

_HALF_ULP = 2.0**-11
"""Relative error of rounding to half precision."""

_STEPS = 255
_GROUP = 32
_RESIDUAL = ("attn.proj", "mlp.fc2")
_UNEVEN = 0.4
_LEAST_SHARE = 1e-3
_CROPS = 4
"""How many crops the noise is measured on: it is a mean over all pixels of all heatmaps."""


def measure_noise(
    quantized: QuantizedModel,
    precision: Precision,
    format: str,  # noqa: A002
    crops: NDArray[np.float32],
    simulated: NDArray[np.float32],
) -> float:
    """Return how far a right file may be expected from the simulation: root mean square of the heatmaps' change over that of the heatmaps.

    Args:
        quantized: the decision, applied.
        precision: of the file.
        format: ``openvino``, ``onnx``, ``litert`` or ``coreml``.
        crops: (N, 3, H, W) float32, normalized; the first few are used.
        simulated: the simulation's heatmaps of them.
    """
    model = disturb(quantized, precision, format)
    with torch.inference_mode():
        heatmaps = np.concatenate([model(torch.from_numpy(each[None])).numpy() for each in crops[:_CROPS]])
    return relative_rms(heatmaps, simulated[: len(heatmaps)])


def relative_rms(given: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Return the root mean square of the difference over that of ``wanted``."""
    power = float(np.square(wanted, dtype=np.float64).mean())
    error = float(np.square(given.astype(np.float64) - wanted).mean())
    return float(np.sqrt(error / power if power else error))


def disturb(quantized: QuantizedModel, precision: Precision, format: str) -> ViTPose:  # noqa: A002
    """Return the simulation with the errors in it that a format's runtime makes; the same ones each time."""
    here = precision.formats[format]
    model = simulate(quantized)
    generator = torch.Generator().manual_seed(0)
    for name, layer in quantized.every_layer.items():
        module = model.get_submodule(name)
        integer = precision.whole or name in quantized.layers
        if here.rounds_scales and layer.scale.ndim == 2:
            _round_scales(module, layer)
        linear = layer.layer.kind == "linear"
        # Only TFLite's runtimes have convolutions that round their input as it comes.
        rounded = integer and (linear or here.operands == "row")
        module.register_forward_pre_hook(_Inputs(here.operands if rounded else "exact", linear=linear, draw=generator))
        step = _output_steps(layer, here) if integer else None
        if step is not None:
            module.register_forward_hook(_Outputs(step if linear else step[:, None, None], generator))
    if here.halves:
        for module in model.modules():
            if isinstance(module, nn.LayerNorm | nn.Linear | nn.Conv2d | nn.ConvTranspose2d | Attention | Block):
                module.register_forward_hook(_Halved(generator))
    return model


class _Halved:
    """Disturbs what a module gives by rounding it to half precision."""

    def __init__(self, draw: torch.Generator) -> None:
        self._draw = draw

    def __call__(self, _module: nn.Module, _inputs: tuple[Tensor], output: Tensor) -> Tensor:
        return output * (1 + 2 * _HALF_ULP * _uniform(output, self._draw))


class _Inputs:
    """Disturbs a layer's input: by rounding to half precision, and by what rounding it to 256 levels as it comes would change."""

    def __init__(self, operands: Operands, *, linear: bool, draw: torch.Generator) -> None:
        self._operands = operands
        self._linear = linear
        self._draw = draw

    def __call__(self, _module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        (x,) = inputs
        disturbed = x * (1 + 2 * _HALF_ULP * _uniform(x, self._draw))
        if self._operands in ("exact", "static"):
            return (disturbed,)
        return (disturbed + _uniform(x, self._draw) * self._step(x),)

    def _step(self, x: Tensor) -> Tensor:
        step: Tensor
        if self._operands == "tensor" or not self._linear:
            step = (x.max().clamp(min=0) - x.min().clamp(max=0)) / _STEPS
        elif self._operands == "row" or x.shape[-1] % _GROUP:
            step = (x.amax(-1, keepdim=True).clamp(min=0) - x.amin(-1, keepdim=True).clamp(max=0)) / _STEPS
        else:
            groups = x.reshape(*x.shape[:-1], -1, _GROUP)
            step = (2 * groups.abs().amax(-1, keepdim=True) / _STEPS).expand(groups.shape).reshape(x.shape)
        return step


class _Outputs:
    """Disturbs a layer's output by what rounding it to 256 levels would change."""

    def __init__(self, step: Tensor, draw: torch.Generator) -> None:
        self._step = step
        self._draw = draw

    def __call__(self, _module: nn.Module, _inputs: tuple[Tensor], output: Tensor) -> Tensor:
        return output + _uniform(output, self._draw) * self._step


def _uniform(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return errors between minus and plus one half."""
    return torch.rand(x.shape, generator=generator) - 0.5


def _output_steps(layer: QuantizedLayer, here: OnFormat) -> Tensor | None:
    """Return the distance of two levels of each output channel, where the kernels of a format round outputs."""
    if not here.rounds_outputs or layer.output is None:
        return None
    low, high = torch.tensor(layer.output.low), torch.tensor(layer.output.high)
    size = torch.maximum(-low, high)
    units = torch.ones_like(size)
    if layer.layer.name.endswith(_RESIDUAL) and float(size.square().mean().sqrt()) < _UNEVEN * float(size.max()):
        units = torch.maximum(size, _LEAST_SHARE * size.max()).sqrt()
    # Queries, keys and values have a range each.
    parts = 3 if layer.layer.name.endswith(".qkv") else 1
    steps = [unit * (top.max() - bottom.min()) / _STEPS for unit, top, bottom in _thirds(units, high / units, low / units, parts)]
    return torch.cat(steps)


def _thirds(units: Tensor, high: Tensor, low: Tensor, parts: int) -> "zip[tuple[Tensor, Tensor, Tensor]]":
    return zip(units.chunk(parts), high.chunk(parts), low.chunk(parts), strict=True)


@torch.no_grad()
def _round_scales(module: nn.Module, layer: QuantizedLayer) -> None:
    scale = torch.from_numpy(layer.scale)
    change = scale.half().bfloat16().float() / scale
    weight = (module if isinstance(module, nn.Linear) else module.get_submodule("layer")).get_parameter("weight")
    rows = weight.movedim(output_axis(module), 0).reshape(*scale.shape, -1)
    weight.copy_((rows * change[..., None]).reshape(weight.shape))
