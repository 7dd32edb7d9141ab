"""Recipes: what is allowed, what is refused, and how single fields are replaced."""

from pathlib import Path

import pytest
from people import RECIPE, write_recipe

from edgepose.distillation.initialization import configure
from edgepose.distillation.recipe_files import list_recipes, load_recipe, override_recipe
from edgepose.errors import InputError, SpecError


@pytest.mark.parametrize("name", list_recipes())
def test_built_in_recipes_are_whole(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.description
    assert configure(recipe.student, recipe.phases[-1]).keypoints == 17
    assert (recipe.phases[-1].height, recipe.phases[-1].width) == (256, 192)
    # What is exported is a plain ViTPose, and its scores are to mean something.
    assert recipe.phases[-1].mse > 0
    assert not (recipe.teacher.knowledge_token and recipe.phases[-1].token)


def test_the_papers_schedule() -> None:
    phases = load_recipe("vitpose-s-coco").phases
    people = 149_813
    assert [round(phase.images / people) for phase in phases] == [170, 30, 10]
    assert [phase.learning_rate for phase in phases] == [5e-4, 5e-5, 5e-6]
    assert {phase.batch for phase in phases} == {512}


def test_overrides(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "tiny.toml")
    changes = [("optimizer.betas", "[0.8, 0.9]"), ("phases.1.images", "40"), ("phases.coarse.mse", "0"), ("name", "other"), ("seed", "7")]
    recipe = load_recipe(path, overrides=changes)
    assert (recipe.name, recipe.seed, recipe.optimizer.betas) == ("other", 7, (0.8, 0.9))
    assert (recipe.phases[1].images, recipe.phases[0].mse) == (40, 0.0)
    assert override_recipe(recipe, [("data.people.labels", "teacher")]).data[0].labels == "teacher"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("phases.middle.images", "3", "names coarse, fine"),
        ("phases.9.images", "3", "numbers 0 to 1"),
        ("optimiser.clip", "1", "unknown field.*optimiser"),
        ("optimizer.clip", "high", "expected float"),
        ("optimizer.clip", "-1", r"optimizer.clip is -1; allowed: 0 to"),
        ("name.first", "x", "no fields|nothing below"),
        ("phases.coarse.height", "100", "multiples of 16"),
        ("phases.coarse.batch", "0", "batch of phase 'coarse' is 0"),
        ("phases.fine.mse", "0", "one of them must be above 0"),
        ("phases.fine.name", "coarse", "must be unique"),
        ("validation.source", "nobody", "sources: people"),
        ("data.people.share", "1.5", "share of source 'people' is 1.5"),
        ("data.people.labels", "guess", "allowed: 'own'"),
        ("init.kind", "checkpoint", "need a path"),
        ("teacher.adapter.columns", '["x", "y", "z"]', "each once"),
        ("augmentation.flip", "2", "augmentation.flip is 2"),
        ("optimizer.clip", "nan", "finite"),
    ],
)
def test_wrong_values_are_named(key: str, value: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=message):
        load_recipe(write_recipe(tmp_path / "tiny.toml"), overrides=[(key, value)])


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recipe is called 'nonsense'; built in: .*vitpose-s-coco"):
        load_recipe("nonsense")
    with pytest.raises(SpecError, match="isn't valid TOML"):
        load_recipe(write_recipe(tmp_path / "broken.toml", RECIPE + "= 3"))
    with pytest.raises(SpecError, match="lacks field.*phases"):
        load_recipe(write_recipe(tmp_path / "short.toml", "name = 'x'"))


@pytest.mark.parametrize("model", ["vitpose-xl", "s", "vitpose-24x2x5", "vitpose-0x2x1", "vitpose-s-complex"])
def test_unknown_students(model: str, tmp_path: Path) -> None:
    if model == "s":
        assert configure(load_recipe("default", overrides=[("student.model", "s")]).student, load_recipe("default").phases[0]).dim == 384
        return
    recipe = load_recipe(write_recipe(tmp_path / "tiny.toml"), overrides=[("student.model", model)])
    with pytest.raises(SpecError, match="vitpose-ti, vitpose-s"):
        configure(recipe.student, recipe.phases[0])
