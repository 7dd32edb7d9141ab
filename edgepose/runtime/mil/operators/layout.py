"""Operators that move, cut and join values, and those that compute shapes.

Semantics: ``iOS15/tensor_transformation.py``, ``tensor_operation.py``, ``scatter_gather.py`` and their iOS16 and iOS17 versions in
``coremltools/converters/mil/mil/ops/defs`` (coremltools 9.0, BSD-3-Clause).
"""

import math
from collections.abc import Sequence

import numpy as np

from edgepose.runtime.mil.elements import Array
from edgepose.runtime.mil.operators.call import Call, Operator

__all__ = ["OPERATORS"]


def _reshape(call: Call) -> Array:
    """Reshape; -1 stands for what is left, and 0 for the size of ``x`` counted from the right (1 where ``x`` has none), as iOS17 says."""
    x, shape = call.array("x"), list(call.integers("shape"))
    for index, size in enumerate(shape):
        if size == 0:
            back = len(shape) - index
            shape[index] = x.shape[-back] if back <= x.ndim else 1
    return x.reshape(shape)


def _transpose(call: Call) -> Array:
    return call.array("x").transpose(call.integers("perm"))


def _squeeze(call: Call) -> Array:
    """Drop axes of size one; other axes that are named stay, as in torch."""
    x = call.array("x")
    axes = call.integers("axes", range(x.ndim))
    return x.squeeze(tuple(axis for axis in axes if x.shape[axis] == 1))


def _expand_dims(call: Call) -> Array:
    return np.expand_dims(call.array("x"), call.integers("axes"))


def _shape(call: Call) -> Array:
    return np.array(call.array("x").shape, np.int64)


def _slice_by_index(call: Call) -> Array:
    """Slice as numpy does; a begin or end that is masked is open, a squeezed dimension takes the one item at ``begin``."""
    x = call.array("x")
    begin, end = call.integers("begin"), call.integers("end")
    stride = call.integers("stride", (1,) * x.ndim)
    open_begin, open_end, single = (call.integers(mask, (0,) * x.ndim) for mask in ("begin_mask", "end_mask", "squeeze_mask"))
    picked: list[slice | int] = []
    for axis in range(x.ndim):
        first = None if open_begin[axis] else begin[axis]
        picked.append((first or 0) if single[axis] else slice(first, None if open_end[axis] else end[axis], stride[axis]))
    return np.asarray(x[tuple(picked)])


def _slice_by_size(call: Call) -> Array:
    x = call.array("x")
    spans = []
    for begin, size, length in zip(call.integers("begin"), call.integers("size"), x.shape, strict=True):
        start = begin + length if begin < 0 else begin
        stop = length if size == -1 else start + size
        if not 0 <= start <= stop <= length:
            raise ValueError(f"begin {begin} and size {size} reach outside of a dimension of {length}")
        spans.append(slice(start, stop))
    return x[tuple(spans)]


def _split(call: Call) -> Sequence[Array]:
    x, axis = call.array("x"), call.integer("axis")
    if "split_sizes" not in call:
        return np.split(x, call.integer("num_splits"), axis)
    sizes = call.integers("split_sizes")
    if sum(sizes) != x.shape[axis]:
        raise ValueError(f"split_sizes {sizes} don't add up to the dimension of {x.shape[axis]}")
    return np.split(x, np.cumsum(sizes)[:-1], axis)


def _concat(call: Call) -> Array:
    """Join along an axis; interleaved, the first slices of all values come first, then the second ones. Scalars make a vector."""
    values, axis = call.arrays("values"), call.integer("axis")
    if values[0].ndim == 0:
        return np.stack(values)
    if not call.flag("interleave"):
        return np.concatenate(values, axis)
    axis %= values[0].ndim
    shape = list(values[0].shape)
    shape[axis] *= len(values)
    return np.stack(values, axis + 1).reshape(shape)


def _stack(call: Call) -> Array:
    return np.stack(call.arrays("values"), call.integer("axis"))


def _tile(call: Call) -> Array:
    return np.tile(call.array("x"), call.integers("reps"))


def _gather(call: Call) -> Array:
    """Pick along one axis; negative indices count from the end, ``batch_dims`` leading dimensions have indices of their own."""
    x, indices = call.array("x"), call.array("indices").astype(np.intp)
    axis, batch_dims = call.integer("axis", 0) % x.ndim, call.integer("batch_dims", 0)
    if batch_dims == 0:
        return np.asarray(np.take(x, indices, axis))
    leading = x.shape[:batch_dims]
    flat_x, flat_indices = x.reshape(-1, *x.shape[batch_dims:]), indices.reshape(math.prod(leading), *indices.shape[batch_dims:])
    rows = [np.take(row, picked, axis - batch_dims) for row, picked in zip(flat_x, flat_indices, strict=True)]
    picked = np.stack(rows)
    return picked.reshape(*leading, *picked.shape[1:])


OPERATORS: dict[str, Operator] = {
    "concat": _concat,
    "expand_dims": _expand_dims,
    "gather": _gather,
    "reshape": _reshape,
    "shape": _shape,
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "transpose": _transpose,
}
