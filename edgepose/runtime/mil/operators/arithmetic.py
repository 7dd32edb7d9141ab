"""Elementwise operators, activations and reductions.

Semantics: ``iOS15/elementwise_unary.py``, ``elementwise_binary.py``, ``activation.py`` and ``reduction.py`` in
``coremltools/converters/mil/mil/ops/defs`` (coremltools 9.0, BSD-3-Clause).
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgepose.runtime.mil.elements import Array
from edgepose.runtime.mil.operators.call import Call, Operator

__all__ = ["OPERATORS", "erf"]

_KNOTS_PER_UNIT = 128
_ERF_END = 6
# math.erf is the C library's.
_KNOT_VALUES = np.array([math.erf(knot / _KNOTS_PER_UNIT) for knot in range(_ERF_END * _KNOTS_PER_UNIT + 1)])
_KNOT_SLOPES = 2 / math.sqrt(math.pi) * np.exp(-((np.arange(_KNOT_VALUES.size) / _KNOTS_PER_UNIT) ** 2))


def erf(x: Array) -> NDArray[np.float64]:
    """Return the error function, to 1e-10 absolute.

    A third-order Taylor expansion around the nearest knot ``a`` of a table, with the derivatives g = erf'(a), −2a·g and (4a² − 2)·g. The
    knots are 1/128 apart, so the remainder is at most max|erf⁗| · (1/256)⁴ / 24 < 1e-10. From 6 on, erf is 1 to 2e-17.
    """
    magnitude = np.minimum(np.abs(x, dtype=np.float64), _ERF_END)
    # fmin, because a NaN has no nearest knot; it comes out through the distance.
    knots = np.rint(np.fmin(magnitude, _ERF_END) * _KNOTS_PER_UNIT).astype(np.intp)
    position = knots / _KNOTS_PER_UNIT
    distance = magnitude - position
    correction = 1 - position * distance + (2 * position**2 - 1) / 3 * distance**2
    return np.asarray(np.copysign(_KNOT_VALUES[knots] + _KNOT_SLOPES[knots] * distance * correction, x))


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _gelu_exact(x: Array) -> Array:
    return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))


def _gelu_tanh(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def _gelu_sigmoid(x: Array) -> Array:
    return x * _sigmoid(1.702 * x)


_GELU_MODES = {"EXACT": _gelu_exact, "TANH_APPROXIMATION": _gelu_tanh, "SIGMOID_APPROXIMATION": _gelu_sigmoid}


def _gelu(call: Call) -> Array:
    mode = call.text("mode", "EXACT")
    if mode not in _GELU_MODES:
        raise ValueError(f"mode is {mode!r}; supported: {', '.join(_GELU_MODES)}")
    return _GELU_MODES[mode](call.operand("x"))


def _softmax(call: Call) -> Array:
    x, axis = call.operand("x"), call.integer("axis", -1)
    powers: Array = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def _clip(call: Call) -> Array:
    return np.clip(call.operand("x"), call.operand("alpha"), call.operand("beta"))


def _inverse(call: Call) -> Array:
    return 1 / (call.operand("x") + call.operand("epsilon", 1e-4))


def _log(call: Call) -> Array:
    return np.asarray(np.log(call.operand("x") + call.operand("epsilon", 1e-45)))


def _rsqrt(call: Call) -> Array:
    return np.asarray(1 / np.sqrt(call.operand("x") + call.operand("epsilon", 1e-12)))


def _cast(call: Call) -> Array:
    # The declared type of the result is the dtype argument; towards integers, Core ML truncates as numpy does.
    return call.array("x")


def _identity(call: Call) -> Array:
    return call.array("x")


def _unary(function: Callable[[Array], Array]) -> Operator:
    return lambda call: function(call.operand("x"))


def _binary(function: Callable[[Array, Array], Array]) -> Operator:
    return lambda call: function(call.operand("x"), call.operand("y"))


def _reduction(function: Callable[..., Array]) -> Operator:
    def reduce(call: Call) -> Array:
        axes = call.integers("axes") if "axes" in call else None
        return np.asarray(function(call.operand("x"), axis=axes, keepdims=call.flag("keep_dims")))

    return reduce


OPERATORS: dict[str, Operator] = {
    "abs": _unary(np.abs),
    "add": _binary(np.add),
    "cast": _cast,
    "clip": _clip,
    "erf": _unary(erf),
    "exp": _unary(np.exp),
    "floor_div": _binary(np.floor_divide),
    "gelu": _gelu,
    "identity": _identity,
    "inverse": _inverse,
    "log": _log,
    "maximum": _binary(np.maximum),
    "minimum": _binary(np.minimum),
    "mod": _binary(np.mod),
    "mul": _binary(np.multiply),
    "pow": _binary(np.power),
    "real_div": _binary(np.true_divide),
    "reduce_max": _reduction(np.max),
    "reduce_mean": _reduction(np.mean),
    "reduce_min": _reduction(np.min),
    "reduce_sum": _reduction(np.sum),
    "relu": _unary(lambda x: np.maximum(x, 0)),
    "rsqrt": _rsqrt,
    "sigmoid": _unary(_sigmoid),
    "silu": _unary(lambda x: x * _sigmoid(x)),
    "softmax": _softmax,
    "sqrt": _unary(np.sqrt),
    "square": _unary(np.square),
    "sub": _binary(np.subtract),
    "tanh": _unary(np.tanh),
}
