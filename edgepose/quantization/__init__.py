"""Quantization: one decision about a model, for every device format.

``load_calibration`` cuts crops, ``decide`` lets NNCF decide on them, ``Quantization`` is the decision as a document, ``apply`` makes the
integer weights that the converters lower, and ``simulate`` is the same in torch. Host only.
"""

from edgepose.quantization.calibration import CalibrationSet, find_photos, load_calibration
from edgepose.quantization.decision import decide, decide_weights, default_recipe
from edgepose.quantization.lowering import QuantizedModel, apply, simulate
from edgepose.quantization.recipe import Quantization, QuantizationRecipe

__all__ = [
    "CalibrationSet",
    "Quantization",
    "QuantizationRecipe",
    "QuantizedModel",
    "apply",
    "decide",
    "decide_weights",
    "default_recipe",
    "find_photos",
    "load_calibration",
    "simulate",
]
