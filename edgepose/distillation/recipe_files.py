"""Recipes as TOML files, and single fields replaced.

Built-in recipes live in ``edgepose/distillation/recipes`` and are named without their suffix; any other file of the same form does as well.
Single fields are replaced by dotted keys: ``optimizer.weight_decay=0.05``, ``phases.0.images=20000`` (a list's items by number) or
``phases.coarse.images=20000`` (by name).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgepose.distillation.recipe import Recipe
from edgepose.document import describe, from_document, parse_toml, read_toml, to_document
from edgepose.errors import InputError, SpecError

__all__ = ["list_recipes", "load_recipe", "override_recipe"]

BUILT_IN = Path(__file__).parent / "recipes"


def list_recipes() -> tuple[str, ...]:
    """Names of the built-in recipes."""
    return tuple(sorted(file.stem for file in BUILT_IN.glob("*.toml")))


def load_recipe(source: str | Path, *, overrides: Sequence[tuple[str, str]] = ()) -> Recipe:
    """Read a built-in recipe or a TOML file, with single fields replaced.

    Args:
        source: a name from ``list_recipes``, or a file.
        overrides: dotted keys and their values as TOML; what isn't TOML is taken as text.

    Raises:
        InputError: there is no such recipe, or it can't be read.
        SpecError: its content, or an override, is wrong.
    """
    path = BUILT_IN / f"{source}.toml" if str(source) in list_recipes() else Path(source)
    try:
        document = read_toml(path, what="the recipe")
    except InputError as error:
        known = ", ".join(list_recipes())
        raise InputError(f"no recipe is called {describe(str(source))}; built in: {known}, or name a TOML file ({error})") from None
    return _build(document, overrides, where=f"recipe {path.stem}")


def override_recipe(recipe: Recipe, overrides: Sequence[tuple[str, str]]) -> Recipe:
    """Return a recipe with single fields replaced; see ``load_recipe``.

    Raises:
        SpecError: an override is wrong.
    """
    return _build(to_document(recipe), overrides, where=f"recipe {recipe.name}")


def _build(document: dict[str, object], overrides: Sequence[tuple[str, str]], *, where: str) -> Recipe:
    for key, value in overrides:
        _override(document, key, value)
    return from_document(Recipe, document, where=where)


def _override(document: dict[str, object], key: str, text: str) -> None:
    *parents, last = key.split(".")
    place: object = document
    for index, part in enumerate(parents):
        where = ".".join(parents[: index + 1])
        place = place.setdefault(part, {}) if isinstance(place, dict) else _item(place, part, where)
    if not isinstance(place, dict):
        raise SpecError(f"--set {key}: {'.'.join(parents)} has no fields")
    place[last] = _parse(text)


def _item(place: object, part: str, where: str) -> object:
    """Return an item of a list, by number or by its name."""
    if not isinstance(place, list):
        raise SpecError(f"--set {where}: there is nothing below {where.rpartition('.')[0]!r}")
    if part.isascii() and part.isdigit() and int(part) < len(place):
        return place[int(part)]
    names = [str(item.get("name")) for item in place if isinstance(item, Mapping)]
    if part not in names:
        raise SpecError(f"--set {where}: allowed are the numbers 0 to {len(place) - 1} and the names {', '.join(names)}")
    return place[names.index(part)]


def _parse(text: str) -> object:
    try:
        return parse_toml(f"value = {text}", where="--set")["value"]
    except SpecError:
        return text
