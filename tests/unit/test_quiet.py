"""Converters' tools are silenced, native code included, and what they said isn't lost."""

import os

import pytest

from edgepose.quiet import quiet


def test_what_is_written_is_kept_and_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet() as tail:
        os.write(1, b"from native code\n")
        os.write(2, b"and its errors\n")
        said = tail()
    os.write(1, b"after\n")
    assert said == "from native code\nand its errors\n"
    assert capfd.readouterr() == ("after\n", "")


def test_only_the_end_is_kept() -> None:
    with quiet() as tail:
        os.write(1, b"x" * 10_000 + b"end")
        said = tail()
    assert len(said) == 2000
    assert said.endswith("end")


def test_the_streams_come_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), quiet():
        raise KeyboardInterrupt
    os.write(2, b"here again")
    assert capfd.readouterr().err == "here again"


def test_streams_that_python_leads_elsewhere_are_silent_too(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet() as tail:
        print("in a notebook")
        said = tail()
    assert said == "in a notebook\n"
    assert capsys.readouterr().out == ""
