"""Decide how a model is quantized: calibration, ranking and ranges in one go."""

from collections.abc import Callable
from dataclasses import replace

from edgepose.models import Checkpoint
from edgepose.precision import Decision, get_precision
from edgepose.quantization.calibration import CalibrationSet
from edgepose.quantization.lowering import apply
from edgepose.quantization.post_training import calibrate, compress_weights
from edgepose.quantization.preparation import fingerprint, prepare, smooth
from edgepose.quantization.ranges import measure_ranges
from edgepose.quantization.recipe import Quantization, QuantizationRecipe
from edgepose.quantization.sensitivity import choose_float_layers, rank_layers

__all__ = ["decide", "decide_weights", "default_recipe"]

Progress = Callable[[str], None]

_RANKING_CROPS = 8
_RANGE_CROPS = 64


def default_recipe(precision: Decision) -> QuantizationRecipe:
    """Return the recipe that is used when none is given; with quantized activations, the last layer stays in float."""
    return QuantizationRecipe(precision=precision, float_layers=("head.final",) if get_precision(precision).calibrated else ())


def decide_weights(checkpoint: Checkpoint, recipe: QuantizationRecipe) -> Quantization:
    """Decide how the weights of ``checkpoint`` are quantized: ``int8-dynamic`` and ``int4`` need no photos.

    Raises:
        MissingDependencyError: NNCF isn't installed.
        ConversionError: NNCF failed.
    """
    return Quantization(
        model=checkpoint.spec.name,
        weights_sha256=fingerprint(checkpoint.model),
        recipe=recipe,
        statistics=compress_weights(checkpoint.model, recipe),
    )


def decide(checkpoint: Checkpoint, recipe: QuantizationRecipe, data: CalibrationSet, progress: Progress = lambda _: None) -> Quantization:
    """Decide how ``checkpoint`` is quantized with ``int8`` weights and activations.

    Args:
        checkpoint: the trained model.
        recipe: what is asked for.
        data: the crops to calibrate on.
        progress: is told what is going on.

    Returns:
        The decision. Where ``recipe.automatic_float`` is set, layers that dominate the error were added to its ``float_layers``.

    Raises:
        MissingDependencyError: NNCF isn't installed.
        ConversionError: NNCF failed.
        InputError: the recipe names an unknown layer.
    """
    statistics = replace(calibrate(checkpoint.model, recipe, data.crops, progress), calibration=data.source)
    quantization = Quantization(
        model=checkpoint.spec.name, weights_sha256=fingerprint(checkpoint.model), recipe=recipe, statistics=statistics
    )
    quantized = apply(checkpoint.model, quantization)
    ranking = rank_layers(smooth(prepare(checkpoint.model), statistics.smoothing), quantized, data.crops[:_RANKING_CROPS], progress)
    quantization = replace(quantization, statistics=replace(statistics, sensitivity=ranking))
    if recipe.automatic_float:
        quantization = quantization.with_float(choose_float_layers(ranking, quantized))
    progress("measuring ranges")
    return measure_ranges(quantization, apply(checkpoint.model, quantization), data.crops[:_RANGE_CROPS])
