"""Which layers hurt: the change of the heatmaps when one layer alone is quantized."""

import copy
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgepose.models.vitpose import ViTPose
from edgepose.quantization.lowering import QuantizedModel, SimulatedLayer
from edgepose.quantization.recipe import LayerSensitivity

__all__ = ["choose_float_layers", "rank_layers"]

_BATCH = 8
_SHARE_OF_ERROR = 0.05
_SHARE_OF_WEIGHTS = 0.03


def rank_layers(
    reference: ViTPose, quantized: QuantizedModel, crops: NDArray[np.float32], progress: Callable[[str], None] = lambda _: None
) -> tuple[LayerSensitivity, ...]:
    """Quantize each layer alone, its weights and its input, and measure how much the heatmaps change.

    The token stream in front of each block is computed once: only what follows the layer runs again.

    Args:
        reference: the float network of the same form as ``quantized.module`` (prepared and smoothed).
        quantized: with every layer quantized that is to be ranked.
        crops: (N, 3, H, W) float32, normalized.
        progress: is told what is going on.

    Returns:
        The layers, the most sensitive first.
    """
    model = copy.deepcopy(reference).eval()
    ranked = []
    with torch.inference_mode():
        stages = _stages(model)
        inputs = [torch.from_numpy(crops)]
        for _, stage in stages:
            inputs.append(_run(stage, inputs[-1]))
        heatmaps = inputs[-1]
        power = float(heatmaps.square().mean())
        for index, (name, layer) in enumerate(quantized.layers.items()):
            progress(f"ranking layers: {index + 1}/{len(quantized.layers)}")
            start = next(number for number, (prefix, _) in enumerate(stages) if name.startswith(prefix))
            parent, _, child = name.rpartition(".")
            original = model.get_submodule(name)
            rounded: nn.Module = quantized.module.get_submodule(name)
            if layer.input is not None:
                rounded = SimulatedLayer(rounded, layer.input)
            setattr(model.get_submodule(parent), child, rounded)
            x = inputs[start]
            for _, stage in _stages(model)[start:]:
                x = _run(stage, x)
            setattr(model.get_submodule(parent), child, original)
            error = float((x - heatmaps).square().mean())
            ranked.append(LayerSensitivity(layer=name, error=float(np.sqrt(error / power)) if power else 0.0))
    return tuple(sorted(ranked, key=lambda entry: -entry.error))


def choose_float_layers(ranking: tuple[LayerSensitivity, ...], quantized: QuantizedModel) -> tuple[str, ...]:
    """Return the layers that dominate: each makes more than 5 % of the summed squared error, and all hold at most 3 % of the weights."""
    total = sum(entry.error**2 for entry in ranking)
    budget = _SHARE_OF_WEIGHTS * sum(layer.layer.parameters for layer in quantized.layers.values())
    chosen = []
    for entry in ranking:
        if entry.error**2 <= _SHARE_OF_ERROR * total:
            break
        parameters = quantized.layers[entry.layer].layer.parameters
        if parameters <= budget:
            budget -= parameters
            chosen.append(entry.layer)
    return tuple(chosen)


def _stages(model: ViTPose) -> list[tuple[str, Callable[[Tensor], Tensor]]]:
    """Cut the network at its blocks: (prefix of the layers' names, what runs)."""
    backbone = model.backbone

    def embed(x: Tensor) -> Tensor:
        return backbone.embed(x)

    def finish(tokens: Tensor) -> Tensor:
        out: Tensor = model.head(backbone.unembed(tokens))
        return out

    blocks = [(f"backbone.blocks.{index}.", block) for index, block in enumerate(backbone.blocks)]
    return [("backbone.patch_embed", embed), *blocks, ("head.", finish)]


def _run(stage: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.cat([stage(x[start : start + _BATCH]) for start in range(0, len(x), _BATCH)])
