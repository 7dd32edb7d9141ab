"""Each operator of the MIL evaluator, against torch, or against its definition where torch has none."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mil_packages import IOS16, IOS17, IOS18, ct, evaluate, get_new_symbol, mb, noise, save, types
from numpy.testing import assert_allclose, assert_array_equal

from edgepose.runtime.mil import MilProgram
from edgepose.runtime.mil.elements import Array, unpack
from edgepose.runtime.mil.operators.arithmetic import erf


@pytest.mark.parametrize(
    "options", [{}, {"strides": [2, 1], "dilations": [1, 2], "pad": [1, 0, 2, 3], "groups": 2}, {"kernel": 4, "strides": [4, 4]}]
)
def test_conv(tmp_path: Path, options: dict[str, Any]) -> None:
    kernel, options = options.get("kernel", 3), {key: value for key, value in options.items() if key != "kernel"}
    x, weight, bias = noise(2, 4, 11, 9), noise(6, 4 // options.get("groups", 1), kernel, 3, seed=1), noise(6, seed=2)
    kind = {"pad_type": "custom"} if "pad" in options else {}
    (found,) = evaluate(tmp_path, lambda x: mb.conv(x=x, weight=weight, bias=bias, **kind, **options), {"x": x})
    top, bottom, left, right = options.get("pad", [0] * 4)
    expected = F.conv2d(
        F.pad(torch.from_numpy(x), (left, right, top, bottom)),
        torch.from_numpy(weight),
        torch.from_numpy(bias),
        options.get("strides", 1),
        dilation=options.get("dilations", 1),
        groups=options.get("groups", 1),
    )
    assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_conv_same_padding_puts_the_odd_zero_last_or_first(tmp_path: Path) -> None:
    x, weight = noise(1, 1, 4, 4), noise(1, 1, 2, 4, seed=1)

    def program(x: Any) -> Any:
        return [mb.conv(x=x, weight=weight, strides=[1, 2], pad_type=kind) for kind in ("same", "same_lower")]

    same, lower = evaluate(tmp_path, program, {"x": x})
    for found, pad in ((same, (1, 1, 0, 1)), (lower, (1, 1, 1, 0))):
        expected = F.conv2d(F.pad(torch.from_numpy(x), pad), torch.from_numpy(weight), stride=(1, 2))
        assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "crop", "shape"),
    [
        ({}, (0, 0), (11, 9)),
        ({"pad_type": "custom", "pad": [1, 1, 1, 1]}, (1, 1), (9, 7)),
        ({"pad_type": "custom", "pad": [2, 0, 1, 2]}, (2, 1), (9, 6)),
        ({"pad_type": "custom", "pad": [1, 1, 1, 1], "output_shape": [2, 6, 10, 8]}, (1, 1), (10, 8)),
        ({"pad_type": "custom", "pad": [1, 0, 1, 0], "output_shape": [2, 6, 12, 9]}, (1, 1), (12, 9)),
        ({"pad_type": "same"}, (0, 0), (10, 8)),
        ({"groups": 2, "dilations": [2, 3]}, (0, 0), (13, 13)),
    ],
)
def test_conv_transpose(tmp_path: Path, options: dict[str, Any], crop: tuple[int, int], shape: tuple[int, int]) -> None:
    groups = options.get("groups", 1)
    x, weight, bias = noise(2, 4, 5, 4), noise(4, 6 // groups, 3, 3, seed=1), noise(6, seed=2)
    (found,) = evaluate(tmp_path, lambda x: mb.conv_transpose(x=x, weight=weight, bias=bias, strides=[2, 2], **options), {"x": x})
    full = F.conv_transpose2d(torch.from_numpy(x), torch.from_numpy(weight), None, 2, groups=groups, dilation=options.get("dilations", 1))
    # The window may reach past what the kernels cover; only the bias is there.
    expected = F.pad(full, (0, 4, 0, 4))[:, :, crop[0] : crop[0] + shape[0], crop[1] : crop[1] + shape[1]].numpy() + bias[:, None, None]
    assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_conv_transpose_in_one_dimension(tmp_path: Path) -> None:
    x, weight = noise(1, 2, 5), noise(2, 3, 4, seed=1)
    (found,) = evaluate(tmp_path, lambda x: mb.conv_transpose(x=x, weight=weight, strides=[3], pad_type="custom", pad=[1, 2]), {"x": x})
    assert_allclose(found, F.conv_transpose1d(torch.from_numpy(x), torch.from_numpy(weight), stride=3)[..., 1:-2], rtol=1e-5, atol=1e-5)


def test_upsampling(tmp_path: Path) -> None:
    x = noise(2, 3, 4, 5)

    def program(x: Any) -> Any:
        return (
            mb.upsample_bilinear(x=x, scale_factor_height=4.0, scale_factor_width=3.0, align_corners=False),
            mb.upsample_bilinear(x=x, scale_factor_height=4.0, scale_factor_width=3.0, align_corners=True),
            mb.upsample_bilinear(x=x, scale_factor_height=1.6, scale_factor_width=2.5, align_corners=False),
            mb.upsample_nearest_neighbor(x=x, scale_factor_height=2.0, scale_factor_width=3.0),
        )

    half_pixel, corners, fractional, nearest = evaluate(tmp_path, program, {"x": x})
    source = torch.from_numpy(x)
    assert_allclose(half_pixel, F.interpolate(source, (16, 15), mode="bilinear", align_corners=False), rtol=1e-5, atol=1e-6)
    assert_allclose(corners, F.interpolate(source, (16, 15), mode="bilinear", align_corners=True), rtol=1e-5, atol=1e-6)
    assert_allclose(fractional, F.interpolate(source, (6, 12), mode="bilinear", align_corners=False), rtol=1e-5, atol=1e-6)
    assert_array_equal(nearest, F.interpolate(source, scale_factor=(2.0, 3.0), mode="nearest"))


def test_resize_bilinear_samples_where_its_definition_says(tmp_path: Path) -> None:
    # The grids of the operator's documentation, for an input of two pixels with the values 0 and 1.
    grids = {
        "UNALIGN_CORNERS": [0, 0.1, 0.5, 0.9, 1],
        "STRICT_ALIGN_CORNERS": [0, 0.25, 0.5, 0.75, 1],
        "ALIGN_CORNERS": [0, 0.25, 0.5, 0.75, 1],
        "DEFAULT": [0, 0.4, 0.8, 1, 1],
        "OFFSET_CORNERS": [0.1, 0.3, 0.5, 0.7, 0.9],
    }

    def program(x: Any) -> Any:
        wide = [mb.resize_bilinear(x=x, target_size_height=1, target_size_width=5, sampling_mode=mode) for mode in grids]
        return [*wide, mb.resize_bilinear(x=x, target_size_height=1, target_size_width=1, sampling_mode="ALIGN_CORNERS")]

    *found, one = evaluate(tmp_path, program, {"x": np.array([[[[0, 1]]]], np.float32)})
    assert_allclose(np.squeeze(found), list(grids.values()), atol=1e-6)
    assert one.item() == 0.5


def test_normalization(tmp_path: Path) -> None:
    x = 3 + noise(2, 4, 5, 6)
    gamma, beta, mean = noise(5, 6, seed=1), noise(5, 6, seed=2), noise(4, seed=3)
    variance, scale, offset = np.abs(noise(4, seed=4)), noise(4, seed=5), noise(4, seed=6)

    def program(x: Any) -> Any:
        return (
            mb.layer_norm(x=x, axes=[-1, 2], gamma=gamma, beta=beta, epsilon=np.float32(0.1)),
            mb.layer_norm(x=x, axes=[1]),
            mb.batch_norm(x=x, mean=mean, variance=variance, gamma=scale, beta=offset, epsilon=np.float32(0.1)),
            mb.batch_norm(x=x, mean=mean, variance=variance),
            mb.softmax(x=x, axis=1),
            mb.reduce_mean(x=x, axes=[-1, 1], keep_dims=True),
        )

    layer, plain_layer, batch, plain_batch, softmax, means = evaluate(tmp_path, program, {"x": x})
    source, *tensors = map(torch.from_numpy, (x, gamma, beta, mean, variance, scale, offset))
    gamma_t, beta_t, mean_t, variance_t, scale_t, offset_t = tensors
    close = {"rtol": 1e-5, "atol": 1e-5}
    assert_allclose(layer, F.layer_norm(source, (5, 6), gamma_t, beta_t, 0.1), **close)
    assert_allclose(plain_layer, F.layer_norm(source.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2), **close)
    assert_allclose(batch, F.batch_norm(source, mean_t, variance_t, scale_t, offset_t, eps=0.1), **close)
    assert_allclose(plain_batch, F.batch_norm(source, mean_t, variance_t), **close)
    assert_allclose(softmax, source.softmax(1), **close)
    assert_allclose(means, source.mean((1, 3), keepdim=True), **close)


def test_activations(tmp_path: Path) -> None:
    x = np.linspace(-9, 9, 181, dtype=np.float32)

    def program(x: Any) -> Any:
        modes = [mb.gelu(x=x, mode=mode) for mode in ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")]
        return [*modes, mb.sigmoid(x=x), mb.silu(x=x), mb.rsqrt(x=mb.square(x=x), epsilon=np.float32(0.25)), mb.erf(x=x)]

    exact, by_tanh, by_sigmoid, sigmoid, silu, rsqrt, errors = evaluate(tmp_path, program, {"x": x})
    source = torch.from_numpy(x).double()
    close = {"rtol": 1e-5, "atol": 1e-6}
    assert_allclose(exact, F.gelu(source), **close)
    assert_allclose(by_tanh, F.gelu(source, approximate="tanh"), **close)
    assert_allclose(by_sigmoid, source * torch.sigmoid(1.702 * source), **close)
    assert_allclose(sigmoid, torch.sigmoid(source), **close)
    assert_allclose(silu, F.silu(source), **close)
    assert_allclose(rsqrt, 1 / torch.sqrt(source**2 + 0.25), **close)
    assert_allclose(errors, torch.erf(source), **close)


def test_erf_is_that_of_the_c_library() -> None:
    x = np.concatenate([np.linspace(-7, 7, 20001), [-40, 40, 0, np.inf, -np.inf]])
    assert np.abs(erf(x) - [math.erf(value) for value in x]).max() < 1e-10
    assert np.isnan(erf(np.array([np.nan]))).all()


def test_moving_and_cutting(tmp_path: Path) -> None:
    x = noise(2, 6, 1, 5)

    def program(x: Any) -> Any:
        return (
            mb.slice_by_index(x=x, begin=[1, 4, 0, -2], end=[9, 0, 0, 9], stride=[1, -2, 1, 1], squeeze_mask=[False, False, True, False]),
            mb.slice_by_index(
                x=x, begin=[9, 2, 0, 9], end=[9, 9, 1, 2], begin_mask=[True, False, False, True], end_mask=[True, True, False, False]
            ),
            mb.slice_by_index(x=x, begin=[-1, 3, 0, 1], end=[0, 0, 0, 0], squeeze_mask=[True] * 4),
            mb.slice_by_size(x=x, begin=[0, -3, 0, 1], size=[2, 2, 1, -1]),
            mb.reshape(x=x, shape=[0, -1, 0]),
            mb.reshape(x=x, shape=[0, 0, 0, -1, 0]),
            mb.squeeze(x=x, axes=[-2, 0]),
            mb.squeeze(x=x),
            mb.expand_dims(x=x, axes=[-1]),
            mb.transpose(x=x, perm=[-1, 0, 2, 1]),
            mb.tile(x=x, reps=[1, 2, 3, 1]),
            *mb.split(x=x, split_sizes=[1, 2, 3], axis=1),
            *mb.split(x=x, num_splits=3, axis=-3),
        )

    found = evaluate(tmp_path, program, {"x": x})
    expected = [
        x[1:9, 4:0:-2, 0, -2:9],
        x[:, 2:, 0:1, :2],
        x[-1, 3, 0, 1],
        x[:, 3:5, :, 1:],
        # Zeros are sizes of x counted from the right, and 1 where it has none.
        x.reshape(6, 2, 5),
        x.reshape(1, 2, 6, 1, 5),
        x[:, :, 0],
        x[:, :, 0],
        x[..., None],
        x.transpose(3, 0, 2, 1),
        np.tile(x, (1, 2, 3, 1)),
        *np.split(x, [1, 3], axis=1),
        *np.split(x, 3, axis=1),
    ]
    assert len(found) == len(expected)
    for value, want in zip(found, expected, strict=True):
        assert_array_equal(value, want)


def test_joining_and_picking(tmp_path: Path) -> None:
    x, y = np.arange(1, 7, dtype=np.float32).reshape(3, 2), np.arange(7, 13, dtype=np.float32).reshape(3, 2)
    indices = np.array([[1, -1], [0, 1], [0, 0]], np.int32)

    def program(x: Any, y: Any) -> Any:
        return (
            mb.concat(values=[x, y], axis=0),
            mb.concat(values=[x, y], axis=-2, interleave=True),
            mb.stack(values=[x, y], axis=-1),
            mb.gather(x=x, indices=indices, axis=-1),
            mb.gather(x=x, indices=indices, axis=1, batch_dims=1),
            mb.einsum(values=[mb.reshape(x=x, shape=[3, 2, 1]), mb.reshape(x=y, shape=[1, 2, 3])], equation="chw,whr->chr"),
            mb.einsum(values=[mb.reshape(x=x, shape=[3, 1, 2]), mb.reshape(x=y, shape=[2, 3, 1])], equation="chw,whr->chr"),
            mb.matmul(x=x, y=y, transpose_x=True),
            mb.matmul(x=x, y=y, transpose_y=True),
        )

    joined, woven, stacked, gathered, batched, outer, widened, left, right = evaluate(tmp_path, program, {"x": x, "y": y})
    assert_array_equal(joined, np.concatenate([x, y]))
    assert_array_equal(woven, [[1, 2], [7, 8], [3, 4], [9, 10], [5, 6], [11, 12]])
    assert_array_equal(stacked, np.stack([x, y], -1))
    assert_array_equal(gathered, x[:, indices])
    assert_array_equal(batched, [[2, 2], [3, 4], [5, 5]])
    assert_array_equal(outer, x[:, :, None] * y.reshape(2, 3))
    assert_array_equal(widened[..., 0], x @ y.reshape(2, 3))
    assert_array_equal(left, x.T @ y)
    assert_array_equal(right, x @ y.T)


def test_attention(tmp_path: Path) -> None:
    query, key, value = (noise(2, 3, length, 4, seed=length) for length in (5, 6, 6))
    truths = np.random.default_rng(0).random((5, 6)) > 0.3

    def program(query: Any, key: Any, value: Any) -> Any:
        given = {"query": query, "key": key, "value": value}
        masks: list[dict[str, Array]] = [{}, {"attn_mask": truths}, {"attn_mask": noise(5, 6)}]
        return [mb.scaled_dot_product_attention(**given, **mask) for mask in masks]

    found = evaluate(tmp_path, program, {"query": query, "key": key, "value": value}, IOS18)
    masks = (None, torch.from_numpy(truths), torch.from_numpy(noise(5, 6)))
    for out, mask in zip(found, masks, strict=True):
        assert_allclose(out, F.scaled_dot_product_attention(*map(torch.from_numpy, (query, key, value)), mask), rtol=1e-5, atol=1e-6)


def test_integers_and_casts(tmp_path: Path) -> None:
    x, y = np.array([-7, 7, 8], np.int32), np.array([2.75, -2.75, 0], np.float32)

    def program(x: Any, y: Any) -> Any:
        return (
            mb.floor_div(x=x, y=2),
            mb.mod(x=x, y=4),
            mb.sub(x=x, y=10),
            mb.real_div(x=x, y=2),
            mb.cast(x=y, dtype="int32"),
            mb.cast(x=mb.cast(x=y, dtype="bool"), dtype="int32"),
            mb.cast(x=x, dtype="fp16"),
            mb.pow(x=y, y=2.0),
            mb.clip(x=y, alpha=-1.0, beta=2.0),
        )

    floor, rest, difference, quotient, whole, truths, halves, powers, clipped = evaluate(tmp_path, program, {"x": x, "y": y})
    assert_array_equal(floor, np.array([-4, 3, 4], np.int32), strict=True)
    assert_array_equal(rest, np.array([1, 3, 0], np.int32), strict=True)
    assert_array_equal(difference, np.array([-17, -3, -2], np.int32), strict=True)
    assert_array_equal(quotient, np.array([-3, 3, 4], np.int32), strict=True)
    assert_array_equal(whole, np.array([2, -2, 0], np.int32), strict=True)
    assert_array_equal(truths, np.array([1, 1, 0], np.int32), strict=True)
    assert_array_equal(halves, np.array([-7, 7, 8], np.float16), strict=True)
    assert_allclose(powers, y**2)
    assert_array_equal(clipped, np.array([2, -1, 0], np.float32), strict=True)


def test_shapes_computed_from_a_flexible_batch(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((get_new_symbol(), 4, 3))], opset_version=IOS17)
    def program(x: Any) -> Any:
        shape = mb.shape(x=x)
        sliced, gathered = mb.slice_by_index(x=shape, begin=[0], end=[1]), mb.gather(x=shape, indices=[0], axis=0)
        repeated = mb.tile(x=x, reps=mb.concat(values=[gathered, [1, 1]], axis=0))
        return mb.reshape(x=repeated, shape=mb.concat(values=[sliced, mb.mul(x=gathered, y=1), [12]], axis=0))

    inputs = [ct.TensorType(name="x", shape=(ct.RangeDim(1, 4), 4, 3))]
    path = save(tmp_path / "shapes.mlpackage", program, IOS17, inputs=inputs)
    for batch in (1, 3):
        x = noise(batch, 4, 3)
        (found,) = MilProgram.read(path).run({"x": x}).values()
        assert_array_equal(found, np.tile(x.reshape(batch, 12), (batch, 1, 1)))


def test_quantize_rounds_to_even_and_saturates(tmp_path: Path) -> None:
    x = np.array([[0.5, 1.5, 2.5, -0.5], [-300, 300, 126.6, -1.4]], np.float32)

    def program(x: Any) -> Any:
        signed = mb.quantize(input=x, scale=np.float32(1), output_dtype="int8")
        shifted = mb.quantize(input=x, scale=np.float32([0.5, 2]), zero_point=np.uint8([128, 3]), axis=-2, output_dtype="uint8")
        return (
            mb.cast(x=signed, dtype="int32"),
            mb.cast(x=shifted, dtype="int32"),
            mb.dequantize(input=signed, scale=np.float32(0.25)),
            mb.dequantize(input=shifted, scale=np.float32([0.5, 2]), zero_point=np.uint8([128, 3]), axis=0),
        )

    signed, shifted, back, shifted_back = evaluate(tmp_path, program, {"x": x})
    assert_array_equal(signed, [[0, 2, 2, 0], [-128, 127, 127, -1]])
    assert_array_equal(shifted, [[129, 131, 133, 127], [0, 153, 66, 2]])
    assert_array_equal(back, signed * 0.25)
    # 0 - 3 must not wrap around in uint8.
    assert_array_equal(shifted_back, [[0.5, 1.5, 2.5, -0.5], [-6, 300, 126, -2]])


def test_compressed_weights_of_ios16(tmp_path: Path) -> None:
    quantized = np.array([[0, 255, 7], [100, 3, 128]], np.uint8)

    def program(x: Any) -> Any:
        weights = [
            mb.constexpr_affine_dequantize(quantized_data=quantized, zero_point=np.uint8([0, 128]), scale=np.float32([0.5, 2]), axis=0),
            mb.constexpr_affine_dequantize(quantized_data=quantized, zero_point=np.uint8(7), scale=np.float32(0.5), axis=0),
            # Two bits an index, from the least significant on: 3 1 0 2, 1 2.
            mb.constexpr_lut_to_dense(indices=np.uint8([0b10000111, 0b1001]), lut=np.float32([5, 6, 7, 8]), shape=np.uint32([2, 3])),
            mb.constexpr_sparse_to_dense(nonzero_data=np.float32([1, 2, 3]), mask=np.uint8([0b100110]), shape=np.uint32([2, 3])),
            mb.constexpr_cast(source_val=np.float16([[1.5, 2, 3], [4, 5, 6]]), output_dtype="fp32"),
        ]
        return [mb.add(x=x, y=weight) for weight in weights]

    by_row, whole, looked_up, sparse, cast = evaluate(tmp_path, program, {"x": np.zeros((2, 3), np.float32)}, IOS16)
    assert_array_equal(by_row, [[0, 127.5, 3.5], [-56, -250, 0]])
    assert_array_equal(whole, [[-3.5, 124, 0], [46.5, -2, 60.5]])
    assert_array_equal(looked_up, [[8, 6, 5], [7, 6, 7]])
    assert_array_equal(sparse, [[0, 1, 2], [0, 0, 3]])
    assert_array_equal(cast, [[1.5, 2, 3], [4, 5, 6]])


def test_compressed_weights_of_ios18(tmp_path: Path) -> None:
    fours = np.array([[-8, 7, 1, 2], [3, -4, 0, 5]]).astype(types.np_int4_dtype)
    # The examples of the operator's documentation.
    tables = np.array([1, 5, 9, 13, 2, 10, 18, 26], np.float32).reshape(2, 1, 4, 1)
    picks = np.array([2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3]).reshape(6, 2).astype(types.np_uint2_dtype)
    vectors = np.array([[1, 2, 3], [4, 5, 6]], np.float32).reshape(1, 1, 1, 2, 3)
    bits = np.array([[[0, 0], [1, 0]], [[1, 1], [0, 0]]]).astype(types.np_uint1_dtype)

    def program(x: Any) -> Any:
        offsets = np.array([[1, -2], [0, 3]]).astype(types.np_int4_dtype)
        weights = [
            mb.constexpr_blockwise_shift_scale(data=fours, scale=np.float32([[0.5, 2], [4, 1]]), offset=offsets),
            mb.constexpr_blockwise_shift_scale(data=fours, scale=np.float32([[0.5], [4]])),
            mb.constexpr_lut_to_dense(indices=picks, lut=tables),
            mb.constexpr_lut_to_dense(indices=bits, lut=vectors, vector_axis=1),
            mb.constexpr_lut_to_dense(indices=bits, lut=vectors, vector_axis=-1),
            mb.constexpr_sparse_to_dense(
                nonzero_data=np.float32([7, 8]), mask=np.array([[0, 1, 0], [1, 0, 0]]).astype(types.np_uint1_dtype)
            ),
        ]
        return [mb.add(x=x, y=weight) for weight in weights]

    blocks, rows, grouped, along_one, along_last, sparse = evaluate(tmp_path, program, {"x": np.zeros(1, np.float32)}, IOS18)
    assert_array_equal(blocks, [[-4.5, 3, 6, 8], [12, -16, -3, 2]])
    assert_array_equal(rows, [[-4, 3.5, 0.5, 1], [12, -16, 0, 20]])
    assert_array_equal(grouped, [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]])
    assert_array_equal(along_one[0], [[1, 1], [2, 2], [3, 3], [4, 1], [5, 2], [6, 3]])
    assert_array_equal(along_one[1], [[4, 4], [5, 5], [6, 6], [1, 1], [2, 2], [3, 3]])
    assert_array_equal(along_last, [[[1, 2, 3, 1, 2, 3], [4, 5, 6, 1, 2, 3]], [[4, 5, 6, 4, 5, 6], [1, 2, 3, 1, 2, 3]]])
    assert_array_equal(sparse, [[0, 7, 0], [8, 0, 0]])


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6])
def test_elements_of_fewer_bits_cross_byte_borders(bits: int) -> None:
    values = np.random.default_rng(bits).integers(0, 2**bits, 21)
    packed = sum(int(value) << index * bits for index, value in enumerate(values))
    stored = np.frombuffer(packed.to_bytes(-(-21 * bits // 8), "little"), np.uint8)
    assert_array_equal(unpack(stored, bits, 21, signed=False), values)
    half = 2 ** (bits - 1)
    assert_array_equal(unpack(stored, bits, 21, signed=True), (values + half) % (2 * half) - half)
