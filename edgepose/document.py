"""Frozen dataclasses ↔ JSON documents, with every type checked on the way in.

``to_document`` turns a dataclass into plain JSON values; ``from_document`` builds it back and names the exact field
(``spec.input.height``) that is missing, unknown or of the wrong type. Supported field types are ``str``, ``int``, ``float``, ``bool``,
``None``, ``Literal``, unions, ``tuple``, ``dict[str, …]`` and nested dataclasses: what the documents of edgepose are made of.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from edgepose.errors import SpecError

__all__ = ["from_document", "parse_json", "to_document"]

_T = TypeVar("_T")


def to_document(value: Any) -> Any:
    """Return ``value`` (a dataclass, or anything inside one) as plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_document(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [to_document(item) for item in value]
    if isinstance(value, Mapping):
        return {key: to_document(item) for key, item in value.items()}
    return value


def from_document(cls: type[_T], document: object, *, where: str) -> _T:
    """Build the dataclass ``cls`` from parsed JSON.

    Args:
        cls: a dataclass type.
        document: what ``json.loads`` returned.
        where: the name of the document's root in error messages.

    Raises:
        SpecError: a field is missing, unknown, of the wrong type or not finite.
    """
    built: _T = _build(cls, document, where)
    return built


def parse_json(text: str | bytes, *, where: str) -> object:
    """Parse JSON text; ``where`` names it in errors.

    Raises:
        SpecError: the text isn't JSON.
    """
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{where} isn't valid JSON: {error}") from None
    return parsed


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _build(kind: Any, value: object, where: str) -> Any:
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build_dataclass(kind, value, where)
    if origin in (typing.Union, types.UnionType):
        return _build_union(arguments, value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise SpecError(f"{where} is {value!r}; allowed: {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        return _build_tuple(arguments, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise SpecError(f"{where} is {_short(value)}; expected an object")
        return {str(key): _build(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    return _build_scalar(kind, value, where)


def _build_dataclass(cls: type, value: object, where: str) -> Any:
    if not isinstance(value, dict):
        raise SpecError(f"{where} is {_short(value)}; expected an object")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise SpecError(f"{where} has unknown field(s) {', '.join(unknown)}; known: {', '.join(fields)}")
    missing = [
        name
        for name, field in fields.items()
        if name not in value and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise SpecError(f"{where} lacks field(s) {', '.join(missing)}")
    hints = _hints(cls)
    return cls(**{name: _build(hints[name], item, f"{where}.{name}") for name, item in value.items()})


def _build_union(kinds: tuple[Any, ...], value: object, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    errors = []
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return _build(kind, value, where)
        except SpecError as error:
            errors.append(str(error))
    raise SpecError(errors[0] if errors else f"{where} is {_short(value)}; expected null")


def _build_tuple(kinds: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise SpecError(f"{where} is {_short(value)}; expected a list")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_build(kinds[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if len(value) != len(kinds):
        raise SpecError(f"{where} has {len(value)} items; expected {len(kinds)}")
    return tuple(_build(kind, item, f"{where}[{index}]") for index, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def _build_scalar(kind: Any, value: object, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    # bool is an int in Python, but not in a document.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise SpecError(f"{where} is {_short(value)}; expected {kind.__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise SpecError(f"{where} is {value}; expected a finite number")
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
