"""Quantization, and the ``constexpr_…`` operators that expand compressed weights.

Semantics: ``iOS16/constexpr_ops.py``, ``iOS17/quantization_ops.py`` and ``iOS18/compression.py`` in
``coremltools/converters/mil/mil/ops/defs`` (coremltools 9.0, BSD-3-Clause). iOS16 and iOS18 know operators of the same name with other
parameters; a parameter that only one of them has tells which one it is.
"""

import math

import numpy as np

from edgepose.runtime.mil.elements import Array, unpack
from edgepose.runtime.mil.operators.call import Call, Operator

__all__ = ["OPERATORS"]


def _quantize(call: Call) -> Array:
    """``clip(round(input / scale) + zero_point)``, with ties to even, and the ends of the result's type as limits."""
    x = call.operand("input")
    levels = np.rint(x / _along_axis(call, "scale", x)) + _along_axis(call, "zero_point", x)
    limits = np.iinfo(call.outputs[0].element.dtype)
    return np.asarray(np.clip(levels, limits.min, limits.max))


def _dequantize(call: Call) -> Array:
    return _affine(call, "input")


def _affine_dequantize(call: Call) -> Array:
    return _affine(call, "quantized_data")


def _affine(call: Call, parameter: str) -> Array:
    """``scale * (data - zero_point)``."""
    data = call.array(parameter).astype(np.float32)
    return (data - _along_axis(call, "zero_point", data)) * _along_axis(call, "scale", data)


def _along_axis(call: Call, parameter: str, data: Array) -> Array:
    """Return a scalar as it is (a missing zero point as 0), a vector along ``axis``; in fp32, so that differences can't overflow."""
    if parameter not in call and parameter != "scale":
        return np.zeros((), np.float32)
    values = call.array(parameter).astype(np.float32)
    if values.ndim == 0:
        return values
    axis = call.integer("axis") % data.ndim
    return values.reshape([-1 if index == axis else 1 for index in range(data.ndim)])


def _blockwise_shift_scale(call: Call) -> Array:
    """``scale * (data - offset)``, where each scale and offset holds for one block of the data."""
    data, scale = call.array("data").astype(np.float32), call.operand("scale")
    if "offset" in call:
        data = data - _blocks(call.array("offset").astype(np.float32), data.shape)
    return data * _blocks(scale, data.shape)


def _blocks(values: Array, shape: tuple[int, ...]) -> Array:
    """Repeat each value over its block of an array of ``shape``."""
    if values.ndim != len(shape) or any(size == 0 or whole % size for size, whole in zip(values.shape, shape, strict=True)):
        raise ValueError(f"blocks of shape {values.shape} don't divide data of shape {shape}")
    for axis, (size, whole) in enumerate(zip(values.shape, shape, strict=True)):
        values = values.repeat(whole // size, axis)
    return values


def _lut_to_dense(call: Call) -> Array:
    """Look indices up in a table: one table (iOS16, indices packed), or one for each block (iOS18), with vectors as entries."""
    lut = call.array("lut")
    if "shape" in call:
        shape = call.integers("shape")
        picked = unpack(call.array("indices"), (lut.size - 1).bit_length(), math.prod(shape), signed=False)
        return np.asarray(lut[picked].reshape(shape))
    indices = call.array("indices")
    tables, (entries, width) = lut.shape[:-2], lut.shape[-2:]
    # Number the tables, find each index's table, and look up in all entries of all tables in a row.
    table = _blocks(np.arange(math.prod(tables)).reshape(tables), indices.shape)
    if indices.size and indices.max() >= entries:
        raise ValueError(f"index {indices.max()} in a table of {entries} entries")
    vectors: Array = lut.reshape(-1, width)[table * entries + indices]
    if width == 1:
        return np.asarray(vectors[..., 0])
    axis = call.integer("vector_axis") % indices.ndim
    shape = tuple(size * width if index == axis else size for index, size in enumerate(indices.shape))
    return np.moveaxis(vectors, -1, axis + 1).reshape(shape)


def _sparse_to_dense(call: Call) -> Array:
    """Put values where a mask has ones, zero elsewhere; the mask is bits with a shape (iOS16) or an array of uint1 (iOS18)."""
    values, mask = call.array("nonzero_data"), call.array("mask")
    if "shape" in call:
        shape = call.integers("shape")
        mask = unpack(mask, 1, math.prod(shape), signed=False).reshape(shape)
    dense = np.zeros(mask.shape, values.dtype)
    dense[mask != 0] = values
    return dense


def _constexpr_cast(call: Call) -> Array:
    return call.array("source_val")


OPERATORS: dict[str, Operator] = {
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_blockwise_shift_scale": _blockwise_shift_scale,
    "constexpr_cast": _constexpr_cast,
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_sparse_to_dense": _sparse_to_dense,
    "dequantize": _dequantize,
    "quantize": _quantize,
}
