"""ModelSpec: a round trip through JSON, and every limit."""

import json
from typing import Any

import pytest

from edgepose.errors import SpecError
from edgepose.skeleton import get_skeleton
from edgepose.spec import Architecture, Codec, ExportRecord, InputSpec, ModelSpec, Parity, Provenance


@pytest.fixture
def spec() -> ModelSpec:
    parity = Parity(
        crops=4, max_abs=1e-6, relative=1e-6, shift_px=None, max_shift_px=None, compared=0, undecided=68, runtime="onnxruntime 1 (cpu)"
    )
    return ModelSpec(
        name="vitpose-s",
        architecture=Architecture(dim=384, depth=12, heads=12, head="classic"),
        skeleton=get_skeleton("coco"),
        provenance=Provenance(source="vitpose-s.pth", sha256="0" * 64, notes=("a note with “quotes” & <brackets>",)),
        export=ExportRecord(target="onnx", precision="fp16", batch=None, tools={"onnx": "1.23"}, parity=(parity,)),
    )


def test_round_trip(spec: ModelSpec) -> None:
    text = spec.to_json()
    assert text.isascii()
    assert ModelSpec.from_json(text) == spec


def test_shapes(spec: ModelSpec) -> None:
    assert spec.input_shape == (3, 256, 192)
    assert spec.heatmap_shape == (17, 64, 48)


def test_another_version_is_refused(spec: ModelSpec) -> None:
    document = json.loads(spec.to_json()) | {"edgepose_spec": 99}
    with pytest.raises(SpecError, match="version 99; this edgepose reads version 1"):
        ModelSpec.from_json(json.dumps(document))


@pytest.mark.parametrize("text", ["{}", "[]", '{"a": 1}', "nonsense"])
def test_what_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        ModelSpec.from_json(text)


def test_an_unknown_field_is_named(spec: ModelSpec) -> None:
    document = json.loads(spec.to_json())
    document["codec"]["sigma"] = 2
    with pytest.raises(SpecError, match=r"spec\.codec has unknown field\(s\) sigma"):
        ModelSpec.from_json(json.dumps(document))


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (InputSpec, {"height": 250}, "height is 250"),
        (InputSpec, {"width": 16}, "width is 16"),
        (InputSpec, {"height": 1_000_000}, "height is 1000000"),
        (InputSpec, {"std": (0.0, 1.0, 1.0)}, "std"),
        (Codec, {"padding": 0.0}, "padding"),
        (Codec, {"blur_kernel": 10}, "blur_kernel"),
        (Architecture, {"dim": 100, "depth": 1, "heads": 3, "head": "simple"}, "heads must divide dim"),
        (ExportRecord, {"target": "onnx", "precision": "fp32", "batch": 0}, "batch is 0"),
    ],
)
def test_limits(kind: type, values: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        kind(**values)


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "a b", "a\\b"])
def test_names_that_are_no_file_names(spec: ModelSpec, name: str) -> None:
    with pytest.raises(SpecError, match="model name"):
        ModelSpec(name=name, architecture=spec.architecture, skeleton=spec.skeleton, provenance=spec.provenance)
