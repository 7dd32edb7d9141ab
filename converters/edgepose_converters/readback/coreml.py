"""Core ML packages, through edgepose's own reader of ML programs."""

from pathlib import Path
from typing import Any

import numpy as np

from edgepose.errors import VerificationError
from edgepose.runtime.mil.operators import OPERATORS
from edgepose.runtime.mil.package import Operation, read_package
from edgepose_converters.readback.graph import Kind, Levels, Operator, Stored, StoredGraph

__all__ = ["read"]

_LAYERS: dict[str, Kind] = {"linear": "linear", "conv": "conv", "conv_transpose": "deconv"}
_WITH_CONSTANT: dict[str, Kind] = {"add": "add", "mul": "multiply"}
_KINDS: dict[str, Kind] = {
    "softmax": "softmax",
    "gelu": "activation",
    "relu": "activation",
    "resize_bilinear": "activation",
    "upsample_bilinear": "activation",
    "resize": "activation",
}
_PLAIN = frozenset({"add", "mul", "matmul", "cast", "identity", "reshape", "transpose", "split", "concat"})
_FUNCTIONS = {"upsample_bilinear": "resize", "resize_bilinear": "resize"}
_CONST = "const"
_OPERANDS = ("x", "y", "input", "values")
"""Parameters that may hold what is computed."""


def read(path: Path) -> StoredGraph:
    """Read a package.

    Raises:
        VerificationError: it isn't made as edgepose makes packages.
    """
    program = read_package(path, {*OPERATORS, _CONST})
    constants: dict[str, Any] = {}
    operators: list[Operator] = []
    for operation in program.operations:
        arguments = {parameter: _resolve(given, constants) for parameter, given in operation.arguments.items()}
        if operation.operator == _CONST:
            constants[operation.outputs[0][0]] = Stored(values=np.asarray(arguments["val"].values))
        elif operation.operator.startswith("constexpr_"):
            constants[operation.outputs[0][0]] = _expand(operation, arguments)
        else:
            operators.append(_operator(operation, arguments))
    (source,), (output,) = program.inputs, program.outputs
    return StoredGraph(operators=tuple(operators), input=source, output=output)


def _resolve(given: tuple[Any, ...], constants: dict[str, Any]) -> Any:
    """Return an argument: a constant, the name of what is computed, or a tuple of names."""
    if len(given) == 1 and isinstance(given[0], str):
        return constants.get(given[0], given[0])
    if len(given) == 1:
        return Stored(values=given[0])
    return tuple(each if isinstance(each, str) else "" for each in given)


def _expand(operation: Operation, arguments: dict[str, Any]) -> Stored:
    kind = operation.operator
    if kind == "constexpr_affine_dequantize":
        levels, axis = arguments["quantized_data"].values, int(arguments["axis"].values) % arguments["quantized_data"].values.ndim
        shape = [-1 if index == axis else 1 for index in range(levels.ndim)]
        scale, zero = (arguments[name].values for name in ("scale", "zero_point"))
        return Stored(
            values=levels,
            scale=scale.reshape(shape if scale.ndim else (1,) * levels.ndim),
            zero_point=zero.reshape(shape if zero.ndim else (1,) * levels.ndim),
        )
    if kind == "constexpr_blockwise_shift_scale" and "offset" not in arguments:
        levels, scale = arguments["data"].values, arguments["scale"].values
        for axis, (whole, part) in enumerate(zip(levels.shape, scale.shape, strict=True)):
            scale = np.repeat(scale, whole // part, axis)
        return Stored(values=levels, scale=scale)
    raise VerificationError(f"{kind} {operation.name!r} expands weights in a way that edgepose doesn't write")


def _operator(operation: Operation, arguments: dict[str, Any]) -> Operator:
    kind, name = operation.operator, operation.name
    outputs = tuple(output for output, _ in operation.outputs)
    operands = [arguments[parameter] for parameter in _OPERANDS if parameter in arguments]
    names = (each for operand in operands for each in (operand if isinstance(operand, tuple) else (operand,)))
    computed = tuple(each for each in names if isinstance(each, str))
    if kind in _LAYERS and isinstance(arguments["weight"], Stored):
        bias = arguments.get("bias")
        return Operator(kind=_LAYERS[kind], name=name, inputs=computed, outputs=outputs, weight=arguments["weight"], bias=bias)
    if kind in _WITH_CONSTANT and len(computed) == 1:
        (constant,) = (operand for operand in operands if isinstance(operand, Stored))
        return Operator(kind=_WITH_CONSTANT[kind], name=name, inputs=computed, outputs=outputs, constant=constant)
    if kind == "layer_norm":
        epsilon = arguments["epsilon"].values
        return Operator(
            kind="norm",
            name=name,
            inputs=computed,
            outputs=outputs,
            weight=arguments.get("gamma"),
            bias=arguments.get("beta"),
            epsilon=float(epsilon) if epsilon.dtype == np.float32 else None,
        )
    if kind in ("quantize", "dequantize"):
        return Operator(kind="quantize", name=name, inputs=computed, outputs=outputs, levels=(_levels(operation, arguments),))
    function = "" if kind in _PLAIN else _FUNCTIONS.get(kind, kind)
    return Operator(kind=_KINDS.get(kind, "other"), name=name, inputs=computed, outputs=outputs, function=function)


def _levels(operation: Operation, arguments: dict[str, Any]) -> Levels:
    scale, zero = arguments["scale"].values, arguments["zero_point"].values
    if scale.size != 1 or zero.size != 1:
        raise VerificationError(f"{operation.operator} {operation.name!r} has scales per channel, which edgepose doesn't write")
    limits = np.iinfo(zero.dtype)
    count = int(limits.max) - int(limits.min) + 1
    return Levels(scale=float(scale.item()), zero_point=int(zero.item()) - int(limits.min), count=count, half=scale.dtype == np.float16)
