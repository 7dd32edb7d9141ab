"""Decisions made by hand in milliseconds: largest weights and values, nothing corrected. Enough for files; NNCF makes better ones."""

from dataclasses import replace

import numpy as np
import torch

from edgepose.models.vitpose import ViTPose
from edgepose.quantization import Quantization, apply
from edgepose.quantization.layers import list_layers, output_axis
from edgepose.quantization.preparation import fingerprint, prepare, smooth
from edgepose.quantization.ranges import measure_ranges
from edgepose.quantization.recipe import ActivationRange, LayerStatistics, QuantizationRecipe, Statistics


def decide_by_hand(model: ViTPose, precision: str, crops: np.ndarray, *, smoothing: bool = False) -> Quantization:
    """Decide about ``model``; ``int8`` sees the ranges that ``crops`` make."""
    factors = _factors(model) if smoothing else {}
    prepared = smooth(prepare(model), factors)
    calibrated = precision == "int8"
    inputs = _inputs(prepared, crops) if calibrated else {}
    layers = {}
    for layer in list_layers(prepared):
        module = prepared.get_submodule(layer.name)
        rows = module.weight.detach().movedim(output_axis(module), 0).flatten(1).numpy()
        bits = 4 if precision == "int4" and layer.kind == "linear" else 8
        grouped = rows.reshape(len(rows), -1, 32) if bits == 4 else rows[:, None]
        scale = np.abs(grouped).max(-1) / {"int8": 63, "int8-dynamic": 127, "int4": 7 if bits == 4 else 127}[precision]
        layers[layer.name] = LayerStatistics(
            weight_scale=tuple(scale.astype(np.float32).ravel().tolist()),
            bias=tuple(module.bias.detach().tolist()),
            weight_bits=bits,
            input=inputs.get(layer.name),
        )
    recipe = QuantizationRecipe(precision=precision, float_layers=("head.final",) if calibrated else ())
    quantization = Quantization(
        model="by-hand",
        weights_sha256=fingerprint(model),
        recipe=recipe,
        statistics=Statistics(layers=layers, smoothing=factors),
    )
    return measure_ranges(quantization, apply(model, quantization), crops) if calibrated else quantization


def _factors(model: ViTPose) -> dict[str, tuple[float, ...]]:
    generator = np.random.default_rng(5)
    names = [layer.name for layer in list_layers(model) if layer.name.endswith(("attn.qkv", "attn.proj", "mlp.fc1"))]
    return {name: tuple(generator.uniform(0.5, 2.0, model.config.dim).tolist()) for name in names}


def _inputs(model: ViTPose, crops: np.ndarray) -> dict[str, ActivationRange]:
    seen: dict[str, ActivationRange] = {}

    def hook(name: str) -> object:
        def watch(_module: object, inputs: tuple[torch.Tensor]) -> None:
            low, high = min(float(inputs[0].min()), 0.0), max(float(inputs[0].max()), 0.0)
            scale = (high - low) / 255
            zero = round(-low / scale)
            seen[name] = ActivationRange(low=-zero * scale, high=(255 - zero) * scale)

        return watch

    handles = [model.get_submodule(layer.name).register_forward_pre_hook(hook(layer.name)) for layer in list_layers(model)]
    with torch.inference_mode():
        model(torch.from_numpy(crops))
    for handle in handles:
        handle.remove()
    return {name: replace(range_) for name, range_ in seen.items()}
