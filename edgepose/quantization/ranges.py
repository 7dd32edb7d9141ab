"""Ranges of what lies between the layers: for runtimes whose integer kernels write integers, and for files that hold no float at all."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgepose.models.vitpose import Attention
from edgepose.quantization.lowering import QuantizedModel, simulate
from edgepose.quantization.recipe import ChannelRanges, NormStatistics, Quantization

__all__ = ["measure_ranges"]

_BATCH = 8


def measure_ranges(quantization: Quantization, quantized: QuantizedModel, crops: NDArray[np.float32]) -> Quantization:
    """Run the simulated model and return the decision with the ranges of layers' outputs, norms and attention scores.

    Args:
        quantization: the decision.
        quantized: the same, applied.
        crops: (N, 3, H, W) float32, normalized.
    """
    simulated = simulate(quantized)
    watcher = _Watcher()
    for name in quantized.every_layer:
        simulated.get_submodule(name).register_forward_hook(watcher.outputs(name))
    for name, module in simulated.named_modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_hook(watcher.norm(name))
        if isinstance(module, Attention):
            module.qkv.register_forward_hook(watcher.scores(name, module))
    with torch.inference_mode():
        for start in range(0, len(crops), _BATCH):
            simulated(torch.from_numpy(crops[start : start + _BATCH]))
    statistics = quantization.statistics
    layers = {name: replace(layer, output=watcher.channel_ranges(name)) for name, layer in statistics.layers.items()}
    return replace(
        quantization, statistics=replace(statistics, layers=layers, norms=watcher.norm_statistics, scores=watcher.largest_scores)
    )


_Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]


class _Watcher:
    """Makes hooks that widen the ranges they have seen."""

    def __init__(self) -> None:
        self.norm_statistics: dict[str, NormStatistics] = {}
        self.largest_scores: dict[str, float] = {}
        self._low: dict[str, Tensor] = {}
        self._high: dict[str, Tensor] = {}

    def channel_ranges(self, name: str) -> ChannelRanges:
        """Return what ``outputs`` saw."""
        return ChannelRanges(low=tuple(self._low[name].tolist()), high=tuple(self._high[name].tolist()))

    def outputs(self, name: str) -> _Hook:
        """Watch the channels of a layer's output: last behind linear layers, second behind convolutions."""

        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            axes = (0, 2, 3) if output.ndim == 4 else tuple(range(output.ndim - 1))
            zero = torch.zeros(())
            self._low[name] = torch.minimum(output.amin(axes), self._low.get(name, zero))
            self._high[name] = torch.maximum(output.amax(axes), self._high.get(name, zero))

        return hook

    def norm(self, name: str) -> _Hook:
        """Watch what a LayerNorm divides."""

        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
            (x,) = inputs
            sums = x.square().sum(-1, keepdim=True)
            divided = float((x * (sums / x.shape[-1]).rsqrt()).abs().max())
            seen = self.norm_statistics.get(name, NormStatistics(largest_input=0, least_sum=float("inf"), largest_sum=0, largest_output=0))
            self.norm_statistics[name] = NormStatistics(
                largest_input=max(seen.largest_input, float(x.abs().max())),
                least_sum=min(seen.least_sum, float(sums.min())),
                largest_sum=max(seen.largest_sum, float(sums.max())),
                largest_output=max(seen.largest_output, divided),
            )

        return hook

    def scores(self, name: str, attention: Attention) -> _Hook:
        """Watch the scores that follow from a layer ``qkv``."""

        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            q, k, _ = (part.reshape(*part.shape[:-1], attention.heads, -1).transpose(1, 2) for part in output.chunk(3, dim=-1))
            largest = float(((q * attention.scale) @ k.transpose(-2, -1)).abs().max())
            self.largest_scores[name] = max(largest, self.largest_scores.get(name, 0.0))

        return hook
