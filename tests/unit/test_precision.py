"""One object knows what is known of a precision."""

from typing import get_args

import pytest

from edgepose.errors import InputError
from edgepose.precision import PRECISIONS, Decision, PrecisionName, get_precision, held_precisions
from edgepose_benchmarks.peak import find_arithmetic
from edgepose_converters.targets import TARGETS, get_target


def test_every_name_has_its_object() -> None:
    assert tuple(PRECISIONS) == get_args(PrecisionName)
    assert all(name == precision.name for name, precision in PRECISIONS.items())
    assert {precision.decision for precision in PRECISIONS.values()} == {None, *get_args(Decision)}
    assert [precision.bytes_per_weight for precision in PRECISIONS.values()] == [4, 2, 1, 1, 1, 0.5]
    with pytest.raises(InputError, match="no precision is called 'int3'; allowed: fp32, fp16, int8, int8-full"):
        get_precision("int3")


def test_a_decision_is_the_name_of_a_precision_of_its_own() -> None:
    for precision in PRECISIONS.values():
        if precision.decision is not None:
            assert get_precision(precision.decision).decision == precision.decision
            assert get_precision(precision.decision).calibrated == precision.calibrated
    assert [name for name, precision in PRECISIONS.items() if precision.calibrated] == ["int8", "int8-full"]


def test_targets_and_peaks_ask_the_object() -> None:
    for name in TARGETS:
        assert get_target(name).precisions == held_precisions(name)
        for precision in held_precisions(name):
            assert find_arithmetic(name, precision.name) == precision.formats[name].arithmetic
    assert [precision.name for precision in held_precisions("onnx")] == ["fp32", "fp16", "int8", "int8-dynamic", "int4"]
    assert find_arithmetic("onnx", "int8-full") is None
