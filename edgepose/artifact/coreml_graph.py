"""What a Core ML package's program names, computes and takes, before Core ML or the evaluator runs it.

The semantics of the operators are those that ``edgepose.runtime.mil`` implements.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from edgepose.artifact import shapes
from edgepose.artifact.shapes import MAX_SMALL_ELEMENTS, Shape, Tally
from edgepose.spec import ModelSpec

if TYPE_CHECKING:
    from edgepose.runtime.mil.package import Operation

__all__ = ["OPERATORS", "check_coreml"]

_CONST = "const"


class _Call:
    """An operation: the shapes of its arguments, and those that are small constants."""

    def __init__(self, operation: "Operation", tally: Tally) -> None:
        self.results = len(operation.outputs)
        self._operation = operation
        self._tally = tally

    def __contains__(self, parameter: str) -> bool:
        return parameter in self._operation.arguments

    def shapes(self, parameter: str) -> list[Shape]:
        """Return the shapes of an argument of several values."""
        values = self._operation.arguments.get(parameter, ())
        if not values:
            raise ValueError(f"parameter {parameter!r} is missing")
        return [self._tally.get(value).shape if isinstance(value, str) else value.shape for value in values]

    def shape(self, parameter: str) -> Shape:
        """Return the shape of an argument."""
        found = self.shapes(parameter)
        if len(found) != 1:
            raise ValueError(f"parameter {parameter!r} has {len(found)} values")
        return found[0]

    def small(self, parameter: str) -> NDArray[Any]:
        """Return an argument that must be a small constant."""
        self.shape(parameter)
        (value,) = self._operation.arguments[parameter]
        numbers = self._tally.get(value).numbers if isinstance(value, str) else value
        if numbers is None or numbers.size > MAX_SMALL_ELEMENTS:
            raise ValueError(f"parameter {parameter!r} isn't a small constant")
        return numbers

    def integers(self, parameter: str, default: Sequence[int] | None = None) -> list[int]:
        """Return whole numbers."""
        if default is not None and parameter not in self:
            return list(default)
        return [int(number) for number in self.small(parameter).reshape(-1)]

    def integer(self, parameter: str, default: int) -> int:
        """Return a whole number."""
        (number,) = self.integers(parameter, [default])
        return number

    def text(self, parameter: str, default: str) -> str:
        """Return a word."""
        return str(self.small(parameter).item()) if parameter in self else default


Found = tuple[Sequence[Shape], int]
Rule = Callable[[_Call], Found]


def check_coreml(package: Path, spec: ModelSpec) -> None:
    """Make sure that a package is the program of the network that its spec describes.

    Raises:
        ArtifactError: it isn't, or it names a file outside of itself.
        SpecError: the spec describes a network that is too large.
    """
    # The reader belongs to the evaluator, which needs numpy alone.
    from edgepose.runtime.mil.package import read_package
    from edgepose.runtime.mil.weights import check_weight

    tally = Tally(package, spec)
    program = read_package(package, {*OPERATORS, _CONST}, check_weight)
    if len(program.inputs) != 1:
        raise tally.refuse(f"it has {len(program.inputs)} inputs; expected one")
    ((name, kind),) = program.inputs.items()
    tally.add_input(name, tuple(tally.limits.batch if size is None and axis == 0 else size or -1 for axis, size in enumerate(kind.shape)))
    for operation in program.operations:
        _add(operation, tally)
    tally.finish(program.outputs)


def _add(operation: "Operation", tally: Tally) -> None:
    names = [name for name, _ in operation.outputs]
    values = operation.arguments.get("val", ())
    value = values[0] if len(values) == 1 else ""
    if operation.operator == _CONST and len(names) == 1 and not isinstance(value, str):
        tally.add_constant(names[0], value.shape, value if value.size <= MAX_SMALL_ELEMENTS else None)
        return
    # Some operators hold their constants themselves.
    tally.add_weights(sum(value.size for given in operation.arguments.values() for value in given if not isinstance(value, str)))
    try:
        rule = OPERATORS[operation.operator] if operation.operator != _CONST else _no_constant
        found, multiplications = rule(_Call(operation, tally))
        _check_meaning(operation.operator, _Call(operation, tally), found[0], tally)
    except (ValueError, OverflowError, IndexError, TypeError) as error:
        raise tally.refuse(f"operator {operation.operator} {operation.name!r}: {error}") from None
    for (name, kind), shape in zip(operation.outputs, found, strict=False):
        if not kind.holds(shape):
            raise tally.refuse(f"operator {operation.operator} gives {name!r} the shape {shape}, and it is declared as {kind}")
    tally.add_results(operation.operator, names, found, multiplications=multiplications)


def _check_meaning(operator: str, call: _Call, shape: Shape, tally: Tally) -> None:
    """What shapes don't show: along which axes, and in which of its modes, an operator works in a ViTPose."""
    if operator == "softmax":
        tally.add_attention(shape, call.integer("axis", -1))
    elif operator == "layer_norm":
        epsilon = float(call.small("epsilon").item()) if "epsilon" in call else 1e-5
        tally.check_normalization(shape, call.integers("axes", range(len(shape))), epsilon)
    elif operator == "gelu" and call.text("mode", "EXACT") != "EXACT":
        raise ValueError(f"mode is {call.text('mode', '')!r}; allowed: 'EXACT'")
    elif operator == "upsample_bilinear" and call.integer("align_corners", 1):
        raise ValueError("align_corners isn't allowed")


def _no_constant(_call: _Call) -> Found:
    raise ValueError("a constant without a value")


def _same(call: _Call) -> Found:
    return [call.shape("x")], 0


def _elementwise(call: _Call) -> Found:
    return [shapes.broadcast(call.shape("x"), call.shape("y"))], 0


def _layer_norm(call: _Call) -> Found:
    x = call.shape("x")
    axes = sorted(shapes.round_axis(axis, len(x)) for axis in call.integers("axes", range(len(x))))
    for parameter in ("gamma", "beta"):
        if parameter in call and call.shape(parameter) != tuple(x[axis] for axis in axes):
            raise ValueError(f"{parameter} of shape {call.shape(parameter)} for {x} along axes {axes}")
    return [x], 4 * math.prod(x)


def _linear(call: _Call) -> Found:
    x, weight = call.shape("x"), call.shape("weight")
    if len(weight) != 2 or not x or x[-1] != weight[1] or ("bias" in call and math.prod(call.shape("bias")) not in (1, weight[0])):
        raise ValueError(f"{x} with weights {weight}")
    shape = (*x[:-1], weight[0])
    return [shape], math.prod(shape) * weight[1]


def _matmul(call: _Call) -> Found:
    transposed = bool(call.integer("transpose_x", 0)), bool(call.integer("transpose_y", 0))
    shape, multiplications = shapes.multiply(call.shape("x"), call.shape("y"), transpose_x=transposed[0], transpose_y=transposed[1])
    return [shape], multiplications


def _windows(call: _Call, kinds: Sequence[str]) -> tuple[list[int], list[tuple[int, int]], list[int], int]:
    kind = call.text("pad_type", "valid")
    if kind not in kinds:
        raise ValueError(f"pad_type is {kind!r}; allowed: {', '.join(kinds)}")
    pad = call.integers("pad", (0, 0, 0, 0)) if kind == "custom" else [0, 0, 0, 0]
    ones = (1, 1)
    return (
        call.integers("strides", ones),
        list(zip(pad[::2], pad[1::2], strict=True)),
        call.integers("dilations", ones),
        call.integer("groups", 1),
    )


def _conv(call: _Call) -> Found:
    strides, pads, dilations, groups = _windows(call, ("valid", "custom"))
    shape, multiplications = shapes.convolve(
        call.shape("x"), call.shape("weight"), strides=strides, pads=pads, dilations=dilations, groups=groups
    )
    return [_with_bias(call, shape)], multiplications


def _conv_transpose(call: _Call) -> Found:
    strides, pads, dilations, groups = _windows(call, ("valid", "custom"))
    shape, multiplications = shapes.convolve_transposed(
        call.shape("x"), call.shape("weight"), strides=strides, pads=pads, dilations=dilations, extra=(0, 0), groups=groups
    )
    if "output_shape" in call and tuple(call.integers("output_shape"))[2:] != shape[2:]:
        raise ValueError(f"output_shape is {call.integers('output_shape')}; expected {shape}")
    return [_with_bias(call, shape)], multiplications


def _with_bias(call: _Call, shape: Shape) -> Shape:
    if "bias" in call and math.prod(call.shape("bias")) != shape[1]:
        raise ValueError(f"a bias of shape {call.shape('bias')} for {shape[1]} channels")
    return shape


def _reshape(call: _Call) -> Found:
    return [shapes.reshape(call.shape("x"), call.integers("shape"), zero_keeps=False)], 0


def _transpose(call: _Call) -> Found:
    return [shapes.permute(call.shape("x"), call.integers("perm"))], 0


def _split(call: _Call) -> Found:
    x, axis = call.shape("x"), call.integer("axis", 0)
    if "split_sizes" in call:
        return shapes.split(x, axis, call.integers("split_sizes"), call.results), 0
    return shapes.spread_evenly(x, axis, call.integer("num_splits", call.results)), 0


def _concat(call: _Call) -> Found:
    return [shapes.concatenate(call.shapes("values"), call.integer("axis", 0))], 0


def _upsample(call: _Call) -> Found:
    x = call.shape("x")
    factors = [float(call.small(f"scale_factor_{side}").item()) if f"scale_factor_{side}" in call else 1.0 for side in ("height", "width")]
    if len(x) != 4 or not all(0 < factor <= MAX_SMALL_ELEMENTS for factor in factors):
        raise ValueError(f"{x} can't be resized by {factors}")
    shape = (*x[:2], *(int(size * factor) for size, factor in zip(x[2:], factors, strict=True)))
    return [shape], 4 * math.prod(shape)


def _quantize(call: _Call) -> Found:
    """Scale and zero point: one number, or one for each slice along an axis."""
    x = call.shape("input")
    _check_slices(call, x)
    return [x], 0


def _affine_dequantize(call: _Call) -> Found:
    x = call.shape("quantized_data")
    _check_slices(call, x)
    return [x], 0


def _check_slices(call: _Call, x: Shape) -> None:
    for parameter in ("scale", "zero_point"):
        if parameter not in call or math.prod(call.shape(parameter)) == 1:
            continue
        axis = shapes.round_axis(call.integer("axis", 0), len(x))
        if call.shape(parameter) != (x[axis],):
            raise ValueError(f"{parameter} of shape {call.shape(parameter)} for {x} along axis {axis}")


def _blockwise(call: _Call) -> Found:
    x = call.shape("data")
    for parameter in ("scale", "offset"):
        if parameter not in call:
            continue
        blocks = call.shape(parameter)
        if len(blocks) != len(x) or any(size < 1 or whole % size for size, whole in zip(blocks, x, strict=True)):
            raise ValueError(f"{parameter} of shape {blocks} for {x}")
    return [x], 0


def _clip(call: _Call) -> Found:
    if any(math.prod(call.shape(parameter)) != 1 for parameter in ("alpha", "beta")):
        raise ValueError("its limits aren't single numbers")
    return [call.shape("x")], 0


def _rules(rule: Rule, *names: str) -> dict[str, Rule]:
    return dict.fromkeys(names, rule)


OPERATORS: Mapping[str, Rule] = {
    **_rules(_same, "cast", "erf", "gelu", "identity", "relu", "sigmoid", "softmax", "sqrt", "tanh"),
    **_rules(_elementwise, "add", "mul", "real_div", "sub"),
    **_rules(_quantize, "dequantize", "quantize"),
    "clip": _clip,
    "concat": _concat,
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_blockwise_shift_scale": _blockwise,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "layer_norm": _layer_norm,
    "linear": _linear,
    "matmul": _matmul,
    "reshape": _reshape,
    "split": _split,
    "transpose": _transpose,
    "upsample_bilinear": _upsample,
}
"""The operators that the converter writes, and a few that it may come to write."""
