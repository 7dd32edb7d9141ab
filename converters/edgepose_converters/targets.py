"""Which targets there are. Their modules, which import large tools, load when they are used."""

import importlib

from edgepose.errors import InputError, MissingDependencyError
from edgepose_converters.target import Target

__all__ = ["TARGETS", "get_target"]

TARGETS = ("openvino", "onnx", "litert", "coreml")
_ALIASES = {"tflite": "litert"}


def get_target(name: str) -> Target:
    """Return a target by name.

    Raises:
        InputError: there is none of that name.
        MissingDependencyError: its tools aren't installed.
    """
    name = _ALIASES.get(name, name)
    if name not in TARGETS:
        raise InputError(f"no target is called {name!r}; allowed: {', '.join(TARGETS)}")
    try:
        target: Target = importlib.import_module(f"edgepose_converters.{name}").TARGET
    except ModuleNotFoundError as error:
        raise MissingDependencyError(error.name or name, extra="convert", purpose=f"Converting to {name}") from None
    return target
