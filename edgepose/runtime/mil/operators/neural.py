"""Matrix products, convolutions, normalization and attention.

Semantics: ``iOS15/linear.py``, ``conv.py``, ``normalization.py`` and ``iOS18/transformers.py`` in
``coremltools/converters/mil/mil/ops/defs`` (coremltools 9.0, BSD-3-Clause).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepose.runtime.mil.elements import Array
from edgepose.runtime.mil.operators.call import Call, Operator

__all__ = ["OPERATORS"]


def _linear(call: Call) -> Array:
    x, weight = call.operand("x"), call.operand("weight")
    # One product over all rows, rather than one for each image.
    out = (x.reshape(-1, x.shape[-1]) @ weight.T).reshape(*x.shape[:-1], len(weight))
    return out + call.operand("bias", 0.0)


def _matmul(call: Call) -> Array:
    x, y = call.operand("x"), call.operand("y")
    if call.flag("transpose_x") and x.ndim > 1:
        x = x.swapaxes(-1, -2)
    if call.flag("transpose_y") and y.ndim > 1:
        y = y.swapaxes(-1, -2)
    return np.asarray(x @ y)


def _einsum(call: Call) -> Array:
    x, y = (value.astype(np.float32) for value in call.arrays("values"))
    return np.asarray(np.einsum(call.text("equation", ""), x, y))


def _scaled_dot_product_attention(call: Call) -> Array:
    query, key, value = (call.operand(name) for name in ("query", "key", "value"))
    scores = query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
    if "attn_mask" in call:
        mask = call.operand("attn_mask")
        scores = np.where(mask, scores, -np.inf) if mask.dtype == np.bool_ else scores + mask
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True) @ value)


def _layer_norm(call: Call) -> Array:
    x = call.operand("x")
    axes = tuple(sorted(axis % x.ndim for axis in call.integers("axes", range(x.ndim))))
    # gamma and beta have the sizes of the normalized axes alone.
    shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    centred = x - x.mean(axis=axes, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + call.operand("epsilon", 1e-5))
    out = centred / deviation
    if "gamma" in call:
        out = out * call.operand("gamma").reshape(shape)
    if "beta" in call:
        out = out + call.operand("beta").reshape(shape)
    return np.asarray(out)


def _batch_norm(call: Call) -> Array:
    x = call.operand("x")
    mean, variance = call.operand("mean"), call.operand("variance")
    scale = call.operand("gamma", 1.0) / np.sqrt(variance + call.operand("epsilon", 1e-5))
    shape = (1, -1, *[1] * (x.ndim - 2))
    return np.asarray((x - mean.reshape(shape)) * scale.reshape(shape) + call.operand("beta", 0.0).reshape(shape))


def _conv(call: Call) -> Array:
    """Convolve: every window of the padded input becomes a row of one matrix, which is multiplied with the weights."""
    x, weight = call.operand("x"), call.operand("weight")
    kernel = weight.shape[2:]
    strides = call.integers("strides", (1,) * len(kernel))
    dilations = call.integers("dilations", (1,) * len(kernel))
    groups = call.integer("groups", 1)
    reach = _reach(kernel, dilations)
    padded = np.pad(x, ((0, 0), (0, 0), *_conv_padding(call, x.shape[2:], reach, strides)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, tuple(range(2, x.ndim)))
    steps: tuple[Any, ...] = tuple(slice(None, None, step) for step in (*strides, *dilations))
    windows = windows[(..., *steps)]
    images, spatial = len(x), windows.shape[2 : x.ndim]
    # (N, C, *out, *kernel) → (N, groups, C/groups · kernel, out)
    windows = windows.reshape(images, groups, -1, *windows.shape[2:])
    kernel_first = (0, 1, 2, *range(x.ndim + 1, windows.ndim), *range(3, x.ndim + 1))
    columns = windows.transpose(kernel_first).reshape(images, groups, -1, math.prod(spatial))
    out = weight.reshape(groups, len(weight) // groups, -1) @ columns
    return _with_bias(call, out.reshape(images, len(weight), *spatial))


def _conv_padding(call: Call, sizes: Sequence[int], reach: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Zeros before and after each spatial dimension.

    ``same`` gives ceil(size / stride) results and puts the odd zero last (``same_lower``: first), as ``aggregated_pad`` in
    ``mil/ops/defs/_utils.py`` and TensorFlow do.
    """
    kind = call.text("pad_type", "valid")
    if kind == "valid":
        return [(0, 0)] * len(sizes)
    if kind == "custom":
        pad = call.integers("pad", (0,) * 2 * len(sizes))
        return list(zip(pad[::2], pad[1::2], strict=True))
    if kind not in ("same", "same_lower"):
        raise ValueError(f"pad_type is {kind!r}; supported: valid, custom, same, same_lower")
    padding = []
    for size, extent, stride in zip(sizes, reach, strides, strict=True):
        total = max(0, (math.ceil(size / stride) - 1) * stride + extent - size)
        less, more = total // 2, total - total // 2
        padding.append((less, more) if kind == "same" else (more, less))
    return padding


def _conv_transpose(call: Call) -> Array:
    """Convolve transposed: every input pixel spreads its weighted kernel over a canvas, of which the output is a window."""
    x, weight = call.operand("x"), call.operand("weight")
    images, channels, *spatial = x.shape
    kernel = weight.shape[2:]
    strides = call.integers("strides", (1,) * len(kernel))
    dilations = call.integers("dilations", (1,) * len(kernel))
    groups = call.integer("groups", 1)
    spread = [(size - 1) * stride + extent for size, stride, extent in zip(spatial, strides, _reach(kernel, dilations), strict=True)]
    begin, shape = _transposed_window(call, spatial, spread, strides)
    # (groups, C/groups, out/groups · kernel)ᵀ × (N, groups, C/groups, in) → (N, out, *kernel, *in)
    factors = weight.reshape(groups, channels // groups, -1).swapaxes(1, 2)
    parts = (factors @ x.reshape(images, groups, channels // groups, -1)).reshape(images, -1, *kernel, *spatial)
    canvas = np.zeros((images, parts.shape[1], *map(max, spread, map(sum, zip(begin, shape, strict=True)))), x.dtype)
    for offset in np.ndindex(*kernel):
        starts = [position * dilation for position, dilation in zip(offset, dilations, strict=True)]
        ends = [start + (size - 1) * stride + 1 for start, size, stride in zip(starts, spatial, strides, strict=True)]
        touched: tuple[Any, ...] = tuple(map(slice, starts, ends, strides))
        canvas[(..., *touched)] += parts[(slice(None), slice(None), *offset)]
    window: tuple[Any, ...] = tuple(slice(start, start + size) for start, size in zip(begin, shape, strict=True))
    return _with_bias(call, canvas[(..., *window)])


def _transposed_window(call: Call, spatial: Sequence[int], spread: Sequence[int], strides: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return where the output begins on the canvas, and its size.

    ``output_shape``, where given, decides the size; it may reach past what the kernels cover, where only the bias is left.
    """
    kind = call.text("pad_type", "valid")
    given = call.integers("output_shape")[2:] if "output_shape" in call else None
    if kind == "same":
        shape = given or [size * stride for size, stride in zip(spatial, strides, strict=True)]
        # The transpose of a ``same`` convolution, which puts the odd zero last.
        return [max(0, full - size) // 2 for full, size in zip(spread, shape, strict=True)], list(shape)
    if kind not in ("valid", "custom"):
        raise ValueError(f"pad_type is {kind!r}; supported: valid, custom, same")
    none = (0,) * 2 * len(spatial)
    pad = call.integers("pad", none) if kind == "custom" else none
    if min(pad) < 0:
        raise ValueError(f"pad is {pad}; negative values aren't supported")
    begin = list(pad[::2])
    return begin, list(given or [full - first - last for full, first, last in zip(spread, begin, pad[1::2], strict=True)])


def _reach(kernel: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """Pixels from the first to the last tap of a dilated kernel, both included."""
    return [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]


def _with_bias(call: Call, out: Array) -> Array:
    if "bias" not in call:
        return out
    return out + call.operand("bias").reshape(-1, *[1] * (out.ndim - 2))


OPERATORS: dict[str, Operator] = {
    "batch_norm": _batch_norm,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "einsum": _einsum,
    "layer_norm": _layer_norm,
    "linear": _linear,
    "matmul": _matmul,
    "scaled_dot_product_attention": _scaled_dot_product_attention,
}
