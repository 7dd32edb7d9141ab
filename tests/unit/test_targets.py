"""The registry of targets, and what a conversion checks before it begins."""

import pytest

from edgepose.errors import InputError
from edgepose_converters import TARGETS
from edgepose_converters.targets import get_target


@pytest.mark.parametrize("name", TARGETS)
def test_each_target_is_complete(name: str) -> None:
    target = get_target(name)
    assert target.name == name
    assert target.suffix.startswith(".")
    assert target.verifiers
    assert {precision.name for precision in target.precisions} >= {"fp32", "fp16"}


def test_tflite_is_another_name_for_litert() -> None:
    assert get_target("tflite") is get_target("litert")


def test_an_unknown_target_lists_those_that_are() -> None:
    with pytest.raises(InputError, match="'ncnn'; allowed: openvino, onnx, litert, coreml"):
        get_target("ncnn")
