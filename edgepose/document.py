"""Frozen dataclasses ↔ JSON documents, with every type checked on the way in; and the one reader of JSON and TOML.

``to_document`` turns a dataclass into plain JSON values; ``from_document`` builds it back and names the exact field
(``spec.input.height``) that is missing, unknown or of the wrong type. Supported field types are ``str``, ``int``, ``float``, ``bool``,
``None``, ``Literal``, unions, ``tuple``, ``dict[str, …]`` and nested dataclasses: what the documents of edgepose are made of.

Whatever comes from outside goes through ``parse_json``, ``parse_toml``, ``read_json`` or ``read_toml``: files may be in UTF-8 or UTF-16,
with or without a byte order mark, as Windows' editors and shells write them, and what no document needs (numbers of hundreds of digits,
nesting without end, half characters, a name twice in one object) is an error before anything is built from it.
"""

import codecs
import dataclasses
import json
import math
import os
import reprlib
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from edgepose.errors import InputError, SpecError

__all__ = ["describe", "from_document", "parse_json", "parse_toml", "read_bytes", "read_json", "read_toml", "to_document"]

MAX_DEPTH = 100
MAX_DIGITS = 308  # a longer integer is beyond what float can hold
MAX_INTEGER = 2**63 - 1
MAX_JSON_BYTES = 64 << 20
MAX_TOML_BYTES = 64 << 10
MAX_DOTS = 1000  # on one line: Python's reader takes time that grows with the square of a dotted key

_T = TypeVar("_T")

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins as that of UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)


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
        document: what ``parse_json`` returned.
        where: the name of the document's root in error messages.

    Raises:
        SpecError: a field is missing, unknown, of the wrong type, not finite, or an integer of more than 64 bits.
    """
    built: _T = _build(cls, document, where)
    return built


def parse_json(text: str | bytes, *, where: str) -> object:
    """Parse JSON text; ``where`` names it in errors.

    ``NaN`` and ``Infinity`` are read as Python writes them: ``from_document`` refuses them, and other readers say what they mean there.

    Args:
        text: the text, or its bytes: UTF-8, UTF-16 or UTF-32, with or without a byte order mark.
        where: the name of the document in error messages.

    Raises:
        SpecError: the text isn't JSON, holds a name twice in one object, half a character (a lone surrogate), or an integer of more than
            308 digits, or is nested more than 100 deep.
    """
    # A text without a mark is told by where its zeros are.
    content = _decode(text, json.detect_encoding, "JSON", where)
    try:
        parsed: object = json.loads(content, object_pairs_hook=_Pairs(where))
    except RecursionError:
        raise SpecError(f"{where} isn't valid JSON: it is nested more than {MAX_DEPTH} deep") from None
    except ValueError as error:
        raise SpecError(_explain(error, "JSON", where)) from None
    _check_depth(parsed, where)
    encoded = text if isinstance(text, bytes) else content.encode()
    if b"0" * (MAX_DIGITS + 1) in encoded.translate(_DIGITS_TO_ZERO):
        _check_integers(parsed, where)
    if "\\u" in content:
        # Each half of a pair may be written as an escape; only the parsed text shows whether both are there.
        _check_characters(parsed, where)
    return parsed


def parse_toml(text: str | bytes, *, where: str) -> dict[str, object]:
    """Parse TOML text; ``where`` names it in errors. Encodings and limits are those of ``parse_json``.

    Raises:
        SpecError: the text isn't TOML, is longer than 64 kB, is nested too deeply, or holds an integer that is too large.
    """
    if len(text) > MAX_TOML_BYTES:
        raise SpecError(f"{where} has {len(text)} characters; allowed: {MAX_TOML_BYTES}")
    content = _decode(text, lambda _content: "utf-8", "TOML", where)
    if any(line.count(".") > MAX_DOTS for line in content.splitlines()):
        raise SpecError(f"{where} has a line with more than {MAX_DOTS} dots")
    try:
        parsed: dict[str, object] = tomllib.loads(content)
    except RecursionError:
        raise SpecError(f"{where} isn't valid TOML: it is nested more than {MAX_DEPTH} deep") from None
    except ValueError as error:
        raise SpecError(_explain(error, "TOML", where)) from None
    _check_depth(parsed, where)
    _check_integers(parsed, where)
    return parsed


def read_json(path: str | Path, *, what: str, max_bytes: int = MAX_JSON_BYTES) -> object:
    """Read a JSON file.

    Args:
        path: the file.
        what: how errors name its kind, e.g. ``the skeleton file``.
        max_bytes: a larger file is refused.

    Raises:
        InputError: it can't be read, or is too large.
        SpecError: its content isn't JSON; see ``parse_json``.
    """
    return parse_json(read_bytes(path, what=what, max_bytes=max_bytes), where=str(path))


def read_toml(path: str | Path, *, what: str) -> dict[str, object]:
    """Read a TOML file, as ``read_json`` reads JSON.

    Raises:
        InputError: it can't be read, or is larger than 64 kB.
        SpecError: its content isn't TOML; see ``parse_toml``.
    """
    return parse_toml(read_bytes(path, what=what, max_bytes=MAX_TOML_BYTES), where=str(path))


def read_bytes(path: str | Path, *, what: str, max_bytes: int) -> bytes:
    """Return the content of a file or pipe that isn't larger than it should be.

    Raises:
        InputError: it can't be read, or is too large.
    """
    try:
        with Path(path).open("rb") as file:
            # A read takes the memory that it asks for: as much as the file says, then, for a pipe or a device, which says 0, twice as much.
            size = min(os.fstat(file.fileno()).st_size, max_bytes) + 1
            content = file.read(size)
            while len(content) == size <= max_bytes:
                size = min(2 * size, max_bytes + 1)
                content += file.read(size - len(content))
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise InputError(f"can't read {what} {str(path)!r}: {getattr(error, 'strerror', None) or error}") from None
    except MemoryError:
        raise InputError(f"can't read {what} {str(path)!r}: there isn't enough memory for it") from None
    if len(content) > max_bytes:
        raise InputError(f"can't read {what} {str(path)!r}: it has more than the {max_bytes} bytes that are allowed")
    return content


def describe(value: object, *, length: int = 60) -> str:
    """Return ``repr(value)``, shortened: for error messages about values of any size and depth."""
    if isinstance(value, str):
        value = value[: length + 1]
    text = _SHORT.repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."


def _shortener() -> reprlib.Repr:
    short = reprlib.Repr()
    short.maxlevel = 4
    short.maxlist = short.maxtuple = short.maxdict = 12
    short.maxstring = short.maxlong = short.maxother = 80
    return short


_SHORT = _shortener()


class _Pairs:
    """Makes the objects of a JSON text, and refuses a name that is there twice: which of the two counts, nobody says."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __call__(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        made = dict(pairs)
        if len(made) != len(pairs):
            seen: set[str] = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]  # add is None: false
            raise SpecError(f"{self._where} holds the name {describe(twice)} twice in one object")
        return made


def _decode(text: str | bytes, detect: Callable[[bytes], str], form: str, where: str) -> str:
    try:
        if isinstance(text, str):
            text.encode()  # a str from elsewhere may hold half a character itself
            return text.removeprefix("\ufeff")
        for mark, encoding in _MARKS:
            if text.startswith(mark):
                return text[len(mark) :].decode(encoding)
        return text.decode(detect(text))
    except UnicodeError as error:
        raise SpecError(f"{where} isn't valid {form}: it isn't text in UTF-8 ({error})") from None


def _explain(error: ValueError, form: str, where: str) -> str:
    if "set_int_max_str_digits" in str(error):  # Python's advice to programmers, about more than 4300 digits
        return f"{where} holds an integer of more than {MAX_DIGITS} digits"
    return f"{where} isn't valid {form}: {error}"


def _check_depth(document: object, where: str) -> None:
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for value in level
            if isinstance(value, list | dict)
            for item in (value if isinstance(value, list) else value.values())
            if isinstance(item, list | dict)
        ]
        if not level:
            return
    raise SpecError(f"{where} is nested more than {MAX_DEPTH} deep")


def _check_integers(value: object, where: str) -> None:
    """Go through a document of bounded depth."""
    if isinstance(value, dict):
        for item in value.values():
            _check_integers(item, where)
    elif isinstance(value, list):
        for item in value:
            _check_integers(item, where)
    elif isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
        raise SpecError(f"{where} holds an integer of more than {MAX_DIGITS} digits")


def _check_characters(document: object, where: str) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise SpecError(f"{where} holds half a character: an escape such as \\ud800 without its other half") from None


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
        # 1, 1.0 and true are equal in Python, but not in a document.
        if not any(value == allowed and type(value) is type(allowed) for allowed in arguments):
            raise SpecError(f"{where} is {describe(value)}; allowed: {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        return _build_tuple(arguments, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise SpecError(f"{where} is {describe(value)}; expected an object")
        return {str(key): _build(arguments[1], item, f"{where}.{_name(str(key))}") for key, item in value.items()}
    return _build_scalar(kind, value, where)


def _build_dataclass(cls: type, value: object, where: str) -> Any:
    if not isinstance(value, dict):
        raise SpecError(f"{where} is {describe(value)}; expected an object")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = sorted(set(value) - set(fields))
    if unknown:
        shown = ", ".join(map(_name, unknown[:5])) + (", …" if len(unknown) > 5 else "")
        raise SpecError(f"{where} has unknown field(s) {shown}; known: {', '.join(fields)}")
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
    raise SpecError(errors[0] if errors else f"{where} is {describe(value)}; expected null")


def _build_tuple(kinds: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise SpecError(f"{where} is {describe(value)}; expected a list")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_build(kinds[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if len(value) != len(kinds):
        raise SpecError(f"{where} has {len(value)} items; expected {len(kinds)}")
    return tuple(_build(kind, item, f"{where}[{index}]") for index, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def _build_scalar(kind: Any, value: object, where: str) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_INTEGER and kind in (int, float):
        raise SpecError(f"{where} is {describe(value)}; expected a number within ±2^63")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    # bool is an int in Python, but not in a document.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise SpecError(f"{where} is {describe(value)}; expected {kind.__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise SpecError(f"{where} is {value}; expected a finite number")
    return value


def _name(key: str) -> str:
    return key if len(key) <= 60 else key[:57] + "..."
