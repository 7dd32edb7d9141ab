"""Core ML: ``constexpr_…`` operators for the weights, and quantize → dequantize in front of the layers whose input is quantized (W8A8).

This is what coremltools' own compression writes, which can't take given scales, and whose activation quantization needs a Mac to calibrate.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.models.vitpose import SimpleHead, ViTPose
from edgepose.quantization.lowering import QuantizedLayer, QuantizedModel
from edgepose.quantization.recipe import ActivationRange
from edgepose_converters.lowering.matching import match_layers
from edgepose_converters.lowering.operators import OperatorNames

__all__ = ["half_precision", "lower"]

_WEIGHTED = ("linear", "conv", "conv_transpose")
_SIGNED = 128


def lower(program: Any, quantized: QuantizedModel) -> None:
    """Put the integer weights and the quantizers of ``quantized`` into the MIL ``program`` that was converted from its module."""
    from coremltools.converters.mil.mil import Builder
    from coremltools.converters.mil.mil.scope import ScopeInfo, ScopeSource

    block = program.functions["main"]
    found = [(op, np.asarray(op.weight.val, np.float32)) for op in block.operations if op.op_type in _WEIGHTED]
    pairs = list(match_layers(quantized, found))
    # Every operator must say which torch module it comes from.
    scopes = (ScopeInfo(source, ["edgepose"]) for source in (ScopeSource.TORCHSCRIPT_MODULE_NAME, ScopeSource.TORCHSCRIPT_MODULE_TYPE))
    with block, Builder.scope(*scopes):
        for layer, op in pairs:
            lowered = quantized.layers.get(layer.name)
            if lowered is None:
                continue
            _replace(block, op, op.weight, _weight(op, lowered))
            if lowered.input is not None:
                _replace(block, op, op.x, _rounded(op, lowered.input))


def half_precision(model: ViTPose, float32: frozenset[str]) -> Any:
    """Return coremltools' pass that puts the program of a traced ``model`` into half precision, but for the operators named."""
    import coremltools as ct
    from coremltools.converters.mil.mil.scope import ScopeSource

    if not float32:
        return ct.precision.FLOAT16
    names = OperatorNames(simple=isinstance(model.head, SimpleHead))
    halved: dict[str, bool] = {}

    def select(op: Any) -> bool:
        if op.name not in halved:
            # The last part is the value's own name; a list of blocks isn't a module that is called.
            path = [f"blocks.{part}" if part.isdigit() else part for part in op.scopes.get(ScopeSource.TORCHSCRIPT_MODULE_NAME, [""])[:-1]]
            halved[op.name] = op.op_type == "const" or not names.name(".".join(path), op.op_type) & float32
        return halved[op.name]

    return ct.transform.FP16ComputePrecision(op_selector=select)


def _replace(block: Any, op: Any, old: Any, new: Any) -> None:
    """Make ``op`` alone take ``new`` where it took ``old``."""
    block.replace_uses_of_var_after_op(anchor_op=new.op, old_var=old, new_var=new, end_op=op, no_check_var_types=True, force_replace=True)


def _weight(op: Any, layer: QuantizedLayer) -> Any:
    from coremltools.converters.mil.mil import Builder

    name = layer.layer.name.replace(".", "_") + "_levels"
    real = op.weight.dtype
    if layer.scale.ndim == 2:
        return Builder.constexpr_blockwise_shift_scale(data=_int4(layer.weight), scale=_in_type(layer.scale, real), before_op=op, name=name)
    return Builder.constexpr_affine_dequantize(
        quantized_data=layer.weight,
        scale=_in_type(layer.scale, real),
        zero_point=np.int8(0),
        axis=np.int32(1 if layer.layer.kind == "deconv" else 0),
        before_op=op,
        name=name,
    )


def _rounded(op: Any, levels: ActivationRange) -> Any:
    from coremltools.converters.mil.mil import Builder

    parameters = {
        "scale": _in_type(np.array(levels.scale, np.float32), op.x.dtype)[()],
        "zero_point": np.int8(levels.zero_point - _SIGNED),
        "before_op": op,
    }
    integers = Builder.quantize(input=op.x, output_dtype="int8", **parameters)
    return Builder.dequantize(input=integers, **parameters)


def _in_type(values: NDArray[np.float32], kind: type) -> NDArray[np.generic]:
    from coremltools.converters.mil.mil import types

    converted: NDArray[np.generic] = values.astype(types.nptype_from_builtin(kind))
    return converted


def _int4(levels: NDArray[np.int8]) -> NDArray[np.generic]:
    from coremltools.converters.mil.mil import types

    converted: NDArray[np.generic] = levels.astype(types.nptype_from_builtin(types.string_to_builtin("int4")))
    return converted
