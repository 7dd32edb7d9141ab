"""Dataclasses ↔ JSON: what goes out comes back, and what is wrong is named exactly."""

from dataclasses import dataclass
from typing import Literal

import pytest

from edgepose.document import from_document, parse_json, to_document
from edgepose.errors import SpecError


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    size: tuple[int, int]
    ratio: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    kind: Literal["a", "b"] = "a"
    inner: Inner | None = None
    tags: dict[str, str] = None  # type: ignore[assignment]
    many: tuple[Inner, ...] = ()
    flag: bool = False


def test_round_trip() -> None:
    value = Outer(name="x", kind="b", inner=Inner(size=(1, 2), ratio=0.5), tags={"k": "v"}, many=(Inner(size=(3, 4)),), flag=True)
    assert from_document(Outer, to_document(value), where="doc") == value


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], r"doc is \[\]; expected an object"),
        ({}, r"doc lacks field\(s\) name"),
        ({"name": 1}, r"doc\.name is 1; expected str"),
        ({"name": "x", "other": 1}, r"unknown field\(s\) other"),
        ({"name": "x", "kind": "c"}, r"doc\.kind is 'c'; allowed: 'a', 'b'"),
        ({"name": "x", "inner": {"size": [1]}}, r"doc\.inner\.size has 1 items; expected 2"),
        ({"name": "x", "inner": {"size": [1, "2"]}}, r"doc\.inner\.size\[1\] is '2'; expected int"),
        ({"name": "x", "inner": {"size": [1, True]}}, r"doc\.inner\.size\[1\] is True; expected int"),
        ({"name": "x", "inner": {"size": [1, 2], "ratio": float("inf")}}, r"doc\.inner\.ratio is inf; expected a finite number"),
        ({"name": "x", "tags": {"k": 1}}, r"doc\.tags\.k is 1; expected str"),
        ({"name": "x", "many": {}}, r"doc\.many is \{\}; expected a list"),
        ({"name": "x", "flag": 1}, r"doc\.flag is 1; expected bool"),
    ],
)
def test_wrong_documents_are_named(document: object, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        from_document(Outer, document, where="doc")


def test_integers_are_numbers_too() -> None:
    inner = from_document(Inner, {"size": [1, 2], "ratio": 2}, where="doc")
    assert inner.ratio == 2.0
    assert isinstance(inner.ratio, float)


@pytest.mark.parametrize("text", ["", "{", b"\xff", "[" * 100_000])
def test_bad_json(text: str | bytes) -> None:
    with pytest.raises(SpecError, match="doc isn't valid JSON"):
        parse_json(text, where="doc")
