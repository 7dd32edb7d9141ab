"""Text out of files on a terminal, in a log and in Markdown: what it holds is seen, and does nothing."""

import dataclasses
import json
import logging

import pytest

from edgepose.artifact import embed_spec, open_artifact
from edgepose.cli import main
from edgepose.cli.table import format_table
from edgepose.evaluation.card import format_card
from edgepose.printable import PrintableFormatter, markdown_code, markdown_string, markdown_text, printable
from edgepose.spec import Provenance

HOSTILE = "\x1b]0;owned\x07\x1b[2J<script>alert(1)</script>\nverified   yes\r| `x` | \u202e \x9b31m"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("vitpose-s-fp16 × äöü …", "vitpose-s-fp16 × äöü …"),
        ("C:\\models\\a.onnx", "C:\\models\\a.onnx"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("left\u202eright\u2028", "left\\u202eright\\u2028"),
        ("half \ud83d pair", "half \\ud83d pair"),
    ],
)
def test_what_is_not_seen_is_spelt_out(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown


def test_lines_of_a_message_are_seen_to_belong_to_it():
    assert printable("first\nedgepose info: fine\x1b", continuation="  ") == "first\n  edgepose info: fine\\x1b"


def test_a_log_record_is_printable():
    record = logging.LogRecord("edgepose", logging.WARNING, "", 1, "%s: read", ("\x1b[2J\nx",), None)
    assert PrintableFormatter("%(name)s: %(message)s").format(record) == "edgepose: \\x1b[2J\n  x: read"


def test_cells_stay_on_their_line():
    assert len(format_table(["a"], [["x\ny\x1b"]]).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("vitpose-s_fp16.onnx", "vitpose-s_fp16.onnx"),
        ("<script>", "&lt;script&gt;"),
        ("a|b\nc", "a\\|b c"),
        ("[link](javascript:x) `code`", "[link\\](javascript:x) \\`code\\`"),
        ("# heading", "\\# heading"),
        ("- item", "\\- item"),
        ("1. item", "1\\. item"),
        ("20.0 [19.5, 20.1]", "20.0 [19.5, 20.1]"),
        ("*bold* _slanted_ ~~gone~~", "\\*bold\\* \\_slanted\\_ \\~\\~gone\\~\\~"),
        ("AT&T &lt;", "AT&T &amp;lt;"),
        ("\\|", "\\\\\\|"),
    ],
)
def test_markdown_shows_text_as_it_is(text, written):
    assert markdown_text(text) == written


def test_code_spans_hold_plain_text_alone():
    assert markdown_code("vitpose-s.pth") == "`vitpose-s.pth`"
    assert markdown_code("a`<b>") == "a\\`&lt;b&gt;"
    assert json.loads(markdown_string("<b>\n")) == "<b>\n"
    assert "<" not in markdown_string("<b>")


@pytest.fixture
def hostile(artifacts, tmp_path):
    """A sealed file whose spec holds the text everywhere where text is free."""
    path = artifacts.copy("litert", tmp_path)
    spec = open_artifact(path).spec
    export = dataclasses.replace(spec.export, tools={HOSTILE: HOSTILE}, details={HOSTILE: HOSTILE})
    provenance = Provenance(source=HOSTILE, sha256=HOSTILE, layout=HOSTILE, dataset=HOSTILE, licence=HOSTILE, notes=(HOSTILE,))
    names = tuple(f"{HOSTILE}{number}" for number in range(spec.keypoints))
    skeleton = dataclasses.replace(spec.skeleton, name=HOSTILE, keypoints=names, links=(), flip_pairs=())
    embed_spec(path, dataclasses.replace(spec, export=export, provenance=provenance, skeleton=skeleton))
    return path


def test_info_does_nothing_to_the_terminal(hostile, capsys):
    assert main(["info", str(hostile)]) == 0
    shown = capsys.readouterr().out
    assert "\\x1b]0;owned" in shown
    assert all(line.isprintable() for line in shown.split("\n"))
    assert not [line for line in shown.split("\n") if line.startswith("verified")]


def test_a_card_holds_no_html_and_no_lines_of_others(hostile):
    card = format_card(open_artifact(hostile), [])
    assert "script&gt;" in card
    assert "<script" not in card
    assert all(line.isprintable() for line in card.split("\n"))
    assert not [line for line in card.split("\n") if line.startswith(("verified", "|"))]


def test_an_error_is_printable(tmp_path, capsys):
    assert main(["info", str(tmp_path / "\x1b[2Jabsent\n.onnx")]) == 1
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert "\\x1b[2Jabsent" in shown
