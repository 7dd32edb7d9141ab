"""Limits are a few times what right files are off, bounded on both sides."""

import pytest

from edgepose.precision import PRECISIONS, get_precision
from edgepose_converters.limits import quantized_tolerance, tolerance

QUANTIZED = [(name, target) for name, each in PRECISIONS.items() if each.quantized for target in each.formats]


@pytest.mark.parametrize(
    ("name", "target", "limit"),
    [
        ("fp32", "litert", 2e-5),
        ("fp32", "coreml", 2e-5),
        ("fp16", "openvino", 2e-3),
        ("fp16", "litert", 2e-3),
        ("fp16", "onnx", 1e-2),
        ("fp16", "coreml", 1e-2),
    ],
)
def test_float_files_are_held_to_what_their_format_computes_in(name: str, target: str, limit: float) -> None:
    assert tolerance(get_precision(name), target).relative == limit


@pytest.mark.parametrize(("name", "target"), QUANTIZED)
def test_quantized_files_are_held_to_a_few_times_the_noise(name: str, target: str) -> None:
    precision = get_precision(name)
    times = {("int8-full", "litert"): 7, ("int4", "litert"): 4}.get((name, target), 3)
    assert quantized_tolerance(precision, target, 0.01).relative_rms == pytest.approx(times * 0.01)
    assert quantized_tolerance(precision, target, 0.0).relative_rms == 1e-3
    assert quantized_tolerance(precision, target, 1.0).relative_rms == 0.3
