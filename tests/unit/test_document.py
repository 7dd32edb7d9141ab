"""Dataclasses ↔ JSON: what goes out comes back, and what is wrong is named exactly."""

import json
import math
import os
import threading
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from documents import check_reader

from edgepose.distillation.recipe import Recipe
from edgepose.distillation.recipe_files import load_recipe
from edgepose.document import describe, from_document, parse_json, parse_toml, read_bytes, read_json, read_toml, to_document
from edgepose.errors import InputError, SpecError
from edgepose.skeleton import Skeleton, get_skeleton
from edgepose.spec import Architecture, ExportRecord, ModelSpec, Parity, Provenance, QuantizationRecord


def _deep(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


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


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (10**400, r"doc\.size\[0\] is 1000.*; expected a number within ±2\^63"),
        (2**63, "expected a number within"),
        (_deep(500), r"doc\.size\[0\] is \[\[\[\[.*expected int"),
        ("x" * 10**6, r"is 'xxx.*\.\.\.; expected int"),
    ],
)
def test_values_of_any_size_make_short_errors(value: object, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        from_document(Inner, {"size": [value, 2]}, where="doc")
    assert len(str(caught.value)) < 150


def test_huge_integers_are_no_floats() -> None:
    with pytest.raises(SpecError, match=r"doc\.ratio is 1000"):
        from_document(Inner, {"size": [1, 2], "ratio": 10**400}, where="doc")


def test_literals_are_of_their_own_type() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Factor:
        value: Literal[1]

    assert from_document(Factor, {"value": 1}, where="doc").value == 1
    for value in (True, 1.0, "1", [1]):
        with pytest.raises(SpecError, match="allowed: 1"):
            from_document(Factor, {"value": value}, where="doc")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_text_as_windows_writes_it(encoding: str, tmp_path: Path) -> None:
    text = '{"name": "Łódź 🏃",\r\n "n": 1}'
    assert parse_json(text.encode(encoding), where="doc") == {"name": "Łódź 🏃", "n": 1}
    (tmp_path / "a.json").write_bytes(text.encode(encoding))
    assert read_json(tmp_path / "a.json", what="the document") == {"name": "Łódź 🏃", "n": 1}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_toml_as_windows_writes_it(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes('name = "Łódź"\r\n[a]\r\nb = 1\r\n'.encode(encoding))
    assert read_toml(tmp_path / "a.toml", what="the recipe") == {"name": "Łódź", "a": {"b": 1}}


def test_a_mark_before_text_is_skipped() -> None:
    assert parse_json("\ufeff[1]", where="doc") == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "isn't valid JSON"),
        ("{", "isn't valid JSON"),
        (b"\xff", "isn't text in UTF-8"),
        (b'"\xed\xa0\x80"', "isn't text in UTF-8"),  # half a character, in UTF-8's own bytes
        ('"\ud800"', "isn't text in UTF-8"),
        (r'"\ud800"', "half a character"),
        (r'{"\udc80": 1}', "half a character"),
        ("[" * 100_000, "more than 100 deep"),
        ('{"a":' * 100_000, "more than 100 deep"),
        ("[" * 101 + "]" * 101, "more than 100 deep"),
        ("[1" + "0" * 308 + "]", "more than 308 digits"),
        ("[-1" + "0" * 5000 + "]", "more than 308 digits$"),
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "the name 'b' twice"),
        (b"\xff\xfe[\0", "isn't valid JSON"),
    ],
)
def test_bad_json(text: str | bytes, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        parse_json(text, where="doc")
    assert str(caught.value).startswith("doc ")
    str(caught.value).encode()


def test_what_looks_bad_and_is_not() -> None:
    assert parse_json("[" * 100 + "]" * 100, where="doc") == _deep(100)
    assert parse_json(r'"\ud83c\udfc3"', where="doc") == "🏃"
    digits = "0" * 400
    assert parse_json(f'"{digits}"', where="doc") == digits, "a text of digits, as COCO's run lengths are"
    assert parse_json("9" * 308, where="doc") == 10**308 - 1
    assert parse_json("[1e400, -Infinity]", where="doc") == [math.inf, -math.inf], "what they mean is for whom they are to say"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("= 3", "isn't valid TOML"),
        ("a = " + "[" * 10_000, "more than 100 deep"),
        ("a = " + "9" * 5000, "more than 308 digits$"),
        ("a = " + "9" * 400, "more than 308 digits"),
        (".".join("a" * 30_000) + " = 1", "more than 1000 dots"),
        ("a.b" * 50 + " = 1", None),
        (".".join("a" * 200) + " = 1", "more than 100 deep"),
        ("# " + "x" * 70_000, "70002 characters; allowed: 65536"),
        ("a = 1\na = 2", "isn't valid TOML"),
        (b"a = '\xff'", "isn't text in UTF-8"),
    ],
)
def test_bad_toml(text: str | bytes, message: str | None) -> None:
    if message is None:
        assert parse_toml(text, where="doc")
        return
    with pytest.raises(SpecError, match=message):
        parse_toml(text, where="doc")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "large.json").write_text("[" + "1," * 100 + "1]")
    for path, message in [
        (tmp_path / "none.json", "can't read the document '.*none.json': No such file"),
        (tmp_path, "can't read the document"),
        (tmp_path / "a\0b", "can't read the document"),
        (Path("/dev/zero"), "more than the 100 bytes that are allowed"),
        (tmp_path / "large.json", "more than the 100 bytes that are allowed"),
    ]:
        with pytest.raises(InputError, match=message):
            read_json(path, what="the document", max_bytes=100)


def test_describe_is_short() -> None:
    assert describe("a\x1b") == "'a\\x1b'"
    assert describe([1, "b"]) == "[1, 'b']"
    for value in (_deep(5000), "x" * 10**6, 10**4000, list(range(1000)), {str(n): n for n in range(1000)}):
        assert len(describe(value)) <= 60


def _written(value: object, **version: int) -> str:
    return json.dumps(version | to_document(value), allow_nan=False)


def test_damaged_documents_load_or_are_refused() -> None:
    spec = ModelSpec(
        name="vitpose-s",
        architecture=Architecture(dim=384, depth=12, heads=12, head="classic"),
        skeleton=get_skeleton("mpii"),
        provenance=Provenance(source="vitpose-s.pth", sha256="0" * 64, notes=("a note",)),
        export=ExportRecord(
            target="onnx",
            precision="int8",
            batch=None,
            tools={"onnx": "1.23"},
            parity=(Parity(crops=4, max_abs=1e-6, relative=1e-6, shift_px=None, max_shift_px=1.0, compared=9, undecided=68, runtime="x"),),
            quantization=QuantizationRecord(sha256="0" * 64, quantized_layers=3, float_layers=("a",), calibration_crops=None),
        ),
    )
    check_reader(json.loads(spec.to_json()), ModelSpec.from_json, ModelSpec.to_json, count=400, seed=1)

    def read_skeleton(text: str) -> Skeleton:
        return from_document(Skeleton, parse_json(text, where="doc"), where="doc")

    check_reader(to_document(get_skeleton("mpii")), read_skeleton, _written, count=200, seed=2)

    def read_recipe(text: str) -> Recipe:
        return from_document(Recipe, parse_json(text, where="doc"), where="doc")

    check_reader(to_document(load_recipe("vitpose-s-coco")), read_recipe, _written, count=400, seed=3)


def test_reading_takes_no_more_memory_than_there_is_to_read(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    path.write_bytes(b"[1]")
    tracemalloc.start()
    try:
        assert read_bytes(path, what="it", max_bytes=4 << 30) == b"[1]"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [0, 1, 100, 5000, 5001])
def test_pipes_are_read_to_their_end_or_their_limit(tmp_path: Path, length: int) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"x" * length,))
    writer.start()
    try:
        if length > 5000:
            with pytest.raises(InputError, match="more than the 5000 bytes"):
                read_bytes(path, what="it", max_bytes=5000)
        else:
            assert read_bytes(path, what="it", max_bytes=5000) == b"x" * length
    finally:
        writer.join()
