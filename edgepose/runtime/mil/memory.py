"""How much memory an operation of a Core ML program will take, computed from shapes before it runs.

Most operators give no more than they get. Those in the table below can give, or need on the way, any amount from a few bytes of arguments.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from edgepose.runtime.mil.operators.call import Call

__all__ = ["MAX_BYTES_PER_ITEM", "count_elements"]

MAX_BYTES_PER_ITEM = 1 << 30
"""For all live values together, for each item of the input's first dimension: ViTPose-H takes a tenth of that."""


def count_elements(operator: str, call: Call) -> int:
    """Return how many elements an operation will hold at once, results and what it needs on the way.

    Raises:
        ValueError: its arguments don't fit together.
    """
    counter = _COUNTERS.get(operator)
    arguments = sum(value.size for values in call.arguments.values() for value in values)
    return arguments if counter is None else counter(call)


def _elementwise(call: Call) -> int:
    return math.prod(np.broadcast_shapes(call.array("x").shape, call.array("y").shape))


def _clip(call: Call) -> int:
    return math.prod(np.broadcast_shapes(*(call.array(name).shape for name in ("x", "alpha", "beta"))))


def _matmul(call: Call) -> int:
    x, y = call.array("x").shape, call.array("y").shape
    rows = x[-1 if call.flag("transpose_x") else -2] if len(x) > 1 else 1
    columns = y[-2 if call.flag("transpose_y") else -1] if len(y) > 1 else 1
    return int(math.prod(np.broadcast_shapes(x[:-2], y[:-2])) * rows * columns)


def _linear(call: Call) -> int:
    x, weight = call.array("x"), call.array("weight")
    return x.size // max(1, x.shape[-1] if x.ndim else 1) * (len(weight) if weight.ndim else 1)


def _attention(call: Call) -> int:
    query, key, value = (call.array(name).shape for name in ("query", "key", "value"))
    return int(math.prod(query[:-1]) * (3 * key[-2] + value[-1]))


def _einsum(call: Call) -> int:
    """No more than one element for each combination of all indices."""
    sizes: dict[str, int] = {}
    for letters, value in zip(call.text("equation", "").partition("->")[0].split(","), call.arrays("values"), strict=False):
        sizes |= dict(zip((letter for letter in letters if letter.isalpha()), value.shape, strict=False))
    return int(math.prod(sizes.values()))


def _conv(call: Call) -> int:
    """Every window of the padded input is a column of its own."""
    x, weight = call.array("x").shape, call.array("weight").shape
    strides = call.integers("strides", (1,) * (len(x) - 2))
    pad = call.integers("pad", (0,) * 2 * (len(x) - 2)) if call.text("pad_type", "valid") == "custom" else (0,) * 2 * (len(x) - 2)
    if len(strides) != len(x) - 2 or len(pad) != 2 * len(strides) or min(strides, default=1) < 1:
        raise ValueError(f"strides {strides} and pad {pad} for an input of shape {x}")
    padded = [size + pad[2 * axis] + pad[2 * axis + 1] for axis, size in enumerate(x[2:])]
    # ``same`` padding gives as many results as there are strides in the input.
    windows = math.prod(-(-max(size, 0) // stride) for size, stride in zip(padded, strides, strict=True))
    return int(x[0] * (x[1] * math.prod(padded) + windows * (x[1] * math.prod(weight[2:]) + weight[0])))


def _conv_transpose(call: Call) -> int:
    x, weight = call.array("x").shape, call.array("weight").shape
    strides = call.integers("strides", (1,) * (len(x) - 2))
    dilations = call.integers("dilations", (1,) * (len(x) - 2))
    spread = [
        max((size - 1) * stride + (taps - 1) * dilation + 1, 1)
        for size, stride, taps, dilation in zip(x[2:], strides, weight[2:], dilations, strict=True)
    ]
    if "output_shape" in call:
        spread = [max(size, wanted) for size, wanted in zip(spread, call.integers("output_shape")[2:], strict=True)]
    channels = weight[1] * call.integer("groups", 1)
    return int(x[0] * channels * (math.prod(weight[2:]) * math.prod(x[2:]) + 2 * math.prod(spread)))


def _tile(call: Call) -> int:
    return call.array("x").size * math.prod(max(repeats, 0) for repeats in call.integers("reps"))


def _resize(call: Call) -> int:
    x = call.array("x").shape
    height, width = call.integer("target_size_height", 1), call.integer("target_size_width", 1)
    return _interpolated(x, height, width)


def _upsample(call: Call) -> int:
    x = call.array("x").shape
    factors = call.number("scale_factor_height", 1), call.number("scale_factor_width", 1)
    if not all(0 <= factor <= _MAX_FACTOR for factor in factors):
        raise ValueError(f"scale factors are {factors}; allowed: 0 to {_MAX_FACTOR}")
    height, width = (int(size * factor) for size, factor in zip(x[-2:], factors, strict=True))
    return _interpolated(x, height, width)


def _interpolated(x: tuple[int, ...], height: int, width: int) -> int:
    """The result, what is resized in one direction, and the two matrices."""
    if len(x) < 2 or min(height, width) < 1:
        raise ValueError(f"an input of shape {x} can't be resized to {height}x{width}")
    return math.prod(x[:-2]) * (height * x[-1] + height * width) + 2 * (height * x[-2] + width * x[-1])


def _gather(call: Call) -> int:
    x, indices = call.array("x"), call.array("indices")
    axis = call.integer("axis", 0)
    return indices.size * (x.size // max(1, x.shape[axis] if x.ndim else 1))


def _stored_shape(parameter: str) -> Callable[[Call], int]:
    def count(call: Call) -> int:
        sizes = call.integers("shape") if "shape" in call else call.array(parameter).shape
        # Bits are unpacked to eight bytes each on the way.
        return 8 * math.prod(max(size, 0) for size in sizes)

    return count


_MAX_FACTOR = 1 << 20

_COUNTERS: Mapping[str, Callable[[Call], int]] = {
    **dict.fromkeys(("add", "floor_div", "maximum", "minimum", "mod", "mul", "pow", "real_div", "sub"), _elementwise),
    "clip": _clip,
    "constexpr_lut_to_dense": _stored_shape("indices"),
    "constexpr_sparse_to_dense": _stored_shape("mask"),
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "einsum": _einsum,
    "gather": _gather,
    "linear": _linear,
    "matmul": _matmul,
    "resize_bilinear": _resize,
    "scaled_dot_product_attention": _attention,
    "tile": _tile,
    "upsample_bilinear": _upsample,
    "upsample_nearest_neighbor": _upsample,
}
