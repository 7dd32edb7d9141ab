"""The decision as a document."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from documents import check_reader

from edgepose.errors import InputError, SpecError
from edgepose.quantization.recipe import (
    ActivationRange,
    Calibration,
    ChannelRanges,
    LayerSensitivity,
    LayerStatistics,
    NormStatistics,
    Quantization,
    QuantizationRecipe,
    Statistics,
)


def make_quantization(**recipe: object) -> Quantization:
    layer = LayerStatistics(
        weight_scale=(0.1, 0.2),
        bias=(-1.5, 2.0),
        input=ActivationRange(low=-1.0, high=1.55),
        output=ChannelRanges(low=(-1.0, 0.0), high=(0.5, 2.0)),
    )
    statistics = Statistics(
        layers={"head.final": layer},
        smoothing={"backbone.blocks.0.attn.qkv": (1.0, 0.5)},
        norms={"backbone.norm": NormStatistics(largest_input=9.0, least_sum=1.0, largest_sum=80.0, largest_output=5.0)},
        scores={"backbone.blocks.0.attn": 12.5},
        calibration=Calibration(photos=20, skipped=1, crops=31, sha256="ab" * 32),
        sensitivity=(LayerSensitivity(layer="head.final", error=0.01),),
        tools={"nncf": "3.4.0"},
    )
    settings = QuantizationRecipe(precision="int8", **recipe)  # type: ignore[arg-type]
    return Quantization(model="tiny", weights_sha256="cd" * 32, recipe=settings, statistics=statistics)


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    quantization = make_quantization(float_layers=("head.final",))
    quantization.save(tmp_path / "a.json")
    assert Quantization.load(tmp_path / "a.json") == quantization
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_the_recipe_stands_first_and_one_field_to_a_line() -> None:
    lines = make_quantization().to_json().splitlines()
    assert lines[1].strip().startswith('"edgepose_quantization": 1')
    assert '    "reduce_range": true,' in lines
    # A row of numbers is one line, so that a person can scroll past it.
    assert any(line.strip() == '"weight_scale": [0.1, 0.2],' for line in lines)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("recipe", "colour"), "red", "unknown field(s) colour"),
        (("recipe", "precision"), "int3", "recipe.precision is 'int3'"),
        (("recipe", "group_size"), 48, "group_size is 48"),
        (("recipe", "smooth_quant_alpha"), 1.5, "smooth_quant_alpha is 1.5"),
        (("recipe", "calibration_crops"), 0, "calibration_crops is 0"),
        (("recipe", "reduce_range"), 1, "recipe.reduce_range is 1"),
        (("statistics", "layers", "head.final", "input", "low"), 0.5, "activation range is 0.5"),
        (("statistics", "layers", "head.final", "output", "low"), [0.5, 0.0], "channel ranges"),
        (("statistics", "layers", "head.final", "weight_scale"), ["x"], "weight_scale"),
        (("edgepose_quantization",), 2, "version 2"),
    ],
)
def test_wrong_content_is_named(path: tuple[str, ...], value: object, message: str) -> None:
    document = json.loads(make_quantization().to_json())
    target = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(SpecError) as caught:
        Quantization.from_json(json.dumps(document))
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"edgepose_spec": 1}', "nonsense"])
def test_other_documents_are_refused(text: str) -> None:
    with pytest.raises(SpecError):
        Quantization.from_json(text)


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't read the quantization recipe"):
        Quantization.load(tmp_path / "none.json")


def test_with_float_adds_each_layer_once() -> None:
    quantization = make_quantization(float_layers=("a",))
    assert quantization.with_float(("b", "a")).recipe.float_layers == ("a", "b")
    assert quantization.recipe.float_layers == ("a",)


def test_the_hash_follows_the_content() -> None:
    quantization = make_quantization()
    assert quantization.sha256() == make_quantization().sha256()
    assert quantization.sha256() != replace(quantization, model="other").sha256()


def test_zero_is_a_level_of_every_range() -> None:
    for low, high in ((-1.0, 1.55), (0.0, 6.0), (-3.0, 0.0)):
        levels = ActivationRange(low=low, high=high)
        assert 0 <= levels.zero_point <= 255
        assert abs(-levels.zero_point * levels.scale - low) <= levels.scale / 2


def test_damaged_decisions_load_or_are_refused() -> None:
    document = json.loads(make_quantization(float_layers=("head.final",)).to_json())
    check_reader(document, Quantization.from_json, Quantization.to_json, count=400, seed=4)


def test_the_levels_of_a_range() -> None:
    """256 levels, 255 steps; zero is the level that the range says."""
    levels = ActivationRange(low=-1.0, high=1.55)
    assert levels.scale == pytest.approx(0.01)
    assert levels.zero_point == 100
    assert ActivationRange(low=0.0, high=2.0).zero_point == 0
    assert ActivationRange(low=-2.0, high=0.0).zero_point == 255
