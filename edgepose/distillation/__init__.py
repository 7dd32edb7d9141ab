"""Training of ViTPose students, from labels and from larger teachers: host only, with ``pip install 'edgepose[distill]'``."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgepose.distillation.card import publish_model
    from edgepose.distillation.recipe import Recipe
    from edgepose.distillation.recipe_files import list_recipes, load_recipe
    from edgepose.distillation.run import Listener, Options, Outcome
    from edgepose.distillation.session import carry_out
    from edgepose.distillation.state import State, load_state

__all__ = [
    "Listener",
    "Options",
    "Outcome",
    "Recipe",
    "State",
    "carry_out",
    "list_recipes",
    "load_recipe",
    "load_state",
    "publish_model",
]

_HOMES = {
    "Listener": "run",
    "Options": "run",
    "Outcome": "run",
    "Recipe": "recipe",
    "State": "state",
    "carry_out": "session",
    "list_recipes": "recipe_files",
    "load_recipe": "recipe_files",
    "load_state": "state",
    "publish_model": "card",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
