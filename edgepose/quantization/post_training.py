"""Post-training quantization: NNCF decides, and what it decided is read out of the model that it returns.

NNCF runs on OpenVINO's form of the network, the backend that is fastest and that its authors test most. Two passes: the first finds
SmoothQuant's factors, which are then folded into the weights (``preparation``); the second finds ranges, scales and biases of the folded
network.
"""

import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from edgepose.errors import ConversionError, MissingDependencyError
from edgepose.models.vitpose import ViTPose
from edgepose.precision import get_precision
from edgepose.quantization.layers import list_layers
from edgepose.quantization.preparation import FOLDABLE, prepare, smooth
from edgepose.quantization.recipe import ActivationRange, LayerStatistics, QuantizationRecipe, Statistics
from edgepose.quiet import quiet
from edgepose.runtime.openvino import import_openvino
from edgepose.runtime.signal_stack import kept_signal_stack
from edgepose.telemetry import without_intel_telemetry

__all__ = ["Progress", "calibrate", "compress_weights", "import_nncf", "to_openvino"]

Progress = Callable[[str], None]

_SMOOTHING_CROPS = 64
_WEIGHTED = ("MatMul", "Convolution", "ConvolutionBackpropData")
# Attention and upsampling have no weights: they stay in float, as the mobile runtimes would split the graph around them.
_FLOAT_TYPES = ["ScaledDotProductAttention", "Interpolate"]
# A bias near zero makes any relative correction huge, and NNCF's default then leaves the whole layer uncorrected; so does one that is zero.
_BIAS_THRESHOLD = float("inf")
_LEAST_BIAS = 1e-12
_WINDOW = "backbone.patch_embed"


def calibrate(model: ViTPose, recipe: QuantizationRecipe, crops: NDArray[np.float32], progress: Progress = lambda _: None) -> Statistics:
    """Let NNCF quantize ``model`` and return the numbers it chose, for every layer.

    Args:
        model: the trained model.
        recipe: of precision ``int8``; its ``float_layers`` are calibrated all the same, so that they can be changed afterwards.
        crops: (N, 3, H, W) float32, normalized.
        progress: is told what is going on.

    Raises:
        MissingDependencyError: NNCF isn't installed.
        ConversionError: NNCF failed, or left out a layer.
    """
    nncf = import_nncf()
    prepared = prepare(model)
    crops = crops[: recipe.calibration_crops]
    factors: dict[str, tuple[float, ...]] = {}
    if recipe.smooth_quant_alpha is not None:
        progress(f"SmoothQuant on {min(len(crops), _SMOOTHING_CROPS)} crops")
        found = _quantize(nncf, prepared, recipe, crops[:_SMOOTHING_CROPS], smoothing=True)
        factors = {name: scale for name, scale in _find_smoothing(found) if name.endswith(FOLDABLE)}
    progress(f"calibrating on {len(crops)} crops")
    smoothed = smooth(prepared, factors)
    decided = _quantize(nncf, smoothed, recipe, crops, smoothing=False)
    layers = dict(_read_layers(decided))
    missing = [layer.name for layer in list_layers(prepared) if layer.name not in layers]
    if missing:
        raise ConversionError(f"NNCF left out the layers {', '.join(missing)}; this edgepose is tested with nncf 3.4.0")
    # NNCF corrects a bias by what a picture of one colour, the mean of each channel, gives. Where a window sees a whole piece of the
    # picture and its border, as this one does, that is off by several times what rounding changes.
    bias = smoothed.backbone.patch_embed.bias
    assert bias is not None  # noqa: S101  # a ViTPose has one
    layers[_WINDOW] = replace(layers[_WINDOW], bias=_floats(bias.detach().numpy()))
    tools = {package: version(package) for package in ("nncf", "openvino")}
    return Statistics(layers=layers, smoothing=factors, tools=tools)


def compress_weights(model: ViTPose, recipe: QuantizationRecipe) -> Statistics:
    """Let NNCF choose integer weights alone, which needs no photos.

    Args:
        model: the trained model.
        recipe: of precision ``int8-dynamic`` or ``int4``. Convolutions keep 8 bits in both.

    Raises:
        MissingDependencyError: NNCF isn't installed.
        ConversionError: NNCF failed.
    """
    nncf = import_nncf()
    prepared = prepare(model)
    config = prepared.config
    modes = nncf.CompressWeightsMode
    options = (
        {"mode": modes.INT8_SYM}
        if get_precision(recipe.precision).weight_bits == 8
        else {"mode": modes.INT4_SYM, "group_size": recipe.group_size, "all_layers": True, "backup_mode": nncf.BackupMode.INT8_SYM}
    )
    with quiet() as tail, kept_signal_stack():
        try:
            compressed = nncf.compress_weights(to_openvino(prepared, (3, config.height, config.width)), **options)
        except Exception as error:  # NNCF and OpenVINO raise exceptions of many kinds
            raise ConversionError(f"NNCF failed: {type(error).__name__}: {str(error)[:1000]}\n{tail()}".rstrip()) from error
    layers = dict(_read_compressed(compressed))
    return Statistics(layers=layers, tools={package: version(package) for package in ("nncf", "openvino")})


def import_nncf() -> Any:
    """Import NNCF, with its telemetry and its chatter off.

    Raises:
        MissingDependencyError: it isn't installed.
    """
    import_openvino()  # which has switched NNCF's own telemetry off, too
    logger_class = logging.getLoggerClass()
    try:
        with without_intel_telemetry():
            import nncf
    except ModuleNotFoundError as error:
        raise MissingDependencyError(error.name or "nncf", extra="quantize", purpose="Quantization") from None
    # On import NNCF makes its own class that of every later logger, and its `set_log_level` reaches into the program's own handlers.
    logging.setLoggerClass(logger_class)
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf


def to_openvino(model: torch.nn.Module, input_shape: tuple[int, ...]) -> Any:
    """Return an OpenVINO model of batch size 1 whose nodes carry the module paths as names."""
    openvino = import_openvino()
    return openvino.convert_model(model, example_input=torch.zeros(1, *input_shape), input=[1, *input_shape])


def _quantize(nncf: Any, model: ViTPose, recipe: QuantizationRecipe, crops: NDArray[np.float32], *, smoothing: bool) -> Any:
    parameters = nncf.AdvancedQuantizationParameters(
        smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=recipe.smooth_quant_alpha if smoothing else -1, convolution=-1),
        overflow_fix=nncf.OverflowFix.ENABLE if recipe.reduce_range else nncf.OverflowFix.DISABLE,
        disable_bias_correction=smoothing or not recipe.bias_correction,
        bias_correction_params=nncf.quantization.advanced_parameters.AdvancedBiasCorrectionParameters(threshold=_BIAS_THRESHOLD),
    )
    with quiet() as tail, kept_signal_stack():
        try:
            return nncf.quantize(
                to_openvino(_with_biases(model), crops.shape[1:]),
                nncf.Dataset([each[None] for each in crops]),
                model_type=nncf.ModelType.TRANSFORMER,
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(crops),
                ignored_scope=nncf.IgnoredScope(types=_FLOAT_TYPES, validate=False),
                advanced_parameters=parameters,
            )
        except Exception as error:  # NNCF and OpenVINO raise exceptions of many kinds
            raise ConversionError(f"NNCF failed: {type(error).__name__}: {str(error)[:1000]}\n{tail()}".rstrip()) from error


@torch.no_grad()
def _with_biases(model: ViTPose) -> ViTPose:
    """Return a copy in which no bias is zero, so that each can be corrected."""
    changed = copy.deepcopy(model)
    for layer in list_layers(changed):
        bias = changed.get_submodule(layer.name).get_parameter("bias")
        bias.masked_fill_(bias == 0, _LEAST_BIAS)
    return changed


def _find_smoothing(model: Any) -> Iterator[tuple[str, tuple[float, ...]]]:
    for node in model.get_ordered_ops():
        if node.get_type_name() == "MatMul":
            source = _skip(node.input_value(0).get_node(), "FakeQuantize")
            if source.get_type_name() == "Multiply" and "smooth_quant" in source.get_friendly_name():
                yield _layer_name(node), tuple(source.input_value(1).get_node().data.astype(np.float32).ravel().tolist())


def _read_layers(model: Any) -> Iterator[tuple[str, LayerStatistics]]:
    """Read, from the graph that NNCF returned, the quantizers on both sides of each layer."""
    for node in model.get_ordered_ops():
        if node.get_type_name() not in _WEIGHTED:
            continue
        # NNCF moves quantizers up through operators that only move values.
        quantizer = _skip(node.input_value(0).get_node(), "Reshape", "Transpose")
        if quantizer.get_type_name() != "FakeQuantize":
            continue
        low, high = (float(quantizer.input_value(port).get_node().data.item()) for port in (1, 2))
        # Weights are an integer constant, converted, then multiplied by their scale; a reshape may follow.
        scale = _skip(node.input_value(1).get_node(), "Reshape")
        yield (
            _layer_name(node),
            LayerStatistics(
                weight_scale=_floats(scale.input_value(1).get_node().data),
                bias=_read_bias(node),
                input=ActivationRange(low=min(low, 0.0), high=max(high, 0.0)),
            ),
        )


def _read_compressed(model: Any) -> Iterator[tuple[str, LayerStatistics]]:
    for node in model.get_ordered_ops():
        scaled = _skip(node.input_value(1).get_node(), "Convert", "Reshape") if node.get_type_name() in _WEIGHTED else None
        if scaled is None or scaled.get_type_name() != "Multiply":
            continue
        levels = _skip(scaled.input_value(0).get_node(), "Convert")
        bits: Literal[4, 8] = 4 if levels.get_element_type().get_type_name() == "i4" else 8
        # NNCF gives the largest weight the level -128 (or -8) and the scale its sign; kernels want levels from -127 (-7) and no sign.
        scale = np.abs(_skip(scaled.input_value(1).get_node(), "Convert").data.astype(np.float32)) * (128 / 127 if bits == 8 else 8 / 7)
        yield (
            _layer_name(node),
            LayerStatistics(
                weight_scale=_floats(scale),
                bias=_read_bias(node),
                weight_bits=bits,
            ),
        )


def _read_bias(node: Any) -> tuple[float, ...]:
    """Return the bias that is added behind a layer; OpenVINO leaves out one that is zero."""
    (consumer,) = node.output(0).get_target_inputs()
    addition = consumer.get_node()
    bias = _skip(addition.input_value(1).get_node(), "Convert") if addition.get_type_name() == "Add" else None
    if bias is not None and bias.get_type_name() == "Constant":
        return _floats(bias.data)
    shape = node.get_output_partial_shape(0)
    return (0.0,) * int((shape[2] if node.get_type_name() == "MatMul" else shape[1]).get_length())


def _skip(node: Any, *kinds: str) -> Any:
    while node.get_type_name() in kinds:
        node = node.input_value(0).get_node()
    return node


def _layer_name(node: Any) -> str:
    """``__module.backbone.blocks.0.attn.qkv/aten::linear/MatMul`` → ``backbone.blocks.0.attn.qkv``."""
    name: str = node.get_friendly_name()
    return name.partition("/")[0].removeprefix("__module.")


def _floats(array: NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(array.astype(np.float32).ravel().tolist())
