"""Files are whole or absent."""

from pathlib import Path

import pytest

from edgepose.errors import InputError
from edgepose.files import publish, staged_file, staging_folder, write_text


def test_a_finished_file_gets_its_name(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.json"
    with staged_file(target) as staged:
        assert staged.parent == target.parent
        assert staged.suffix == ".json"
        staged.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(error), staged_file(target) as staged:
        staged.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_readable_as_any_file(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    with staged_file(tmp_path / "staged") as staged:
        staged.write_text("")
    assert (tmp_path / "staged").stat().st_mode == plain.stat().st_mode


def test_folders_are_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "model.mlpackage").mkdir()
    (tmp_path / "model.mlpackage" / "old").write_text("")
    with staging_folder(tmp_path) as folder:
        (folder / "model.mlpackage").mkdir()
        (folder / "model.mlpackage" / "new").write_text("")
        publish((folder / "model.mlpackage",), tmp_path)
    assert [file.name for file in (tmp_path / "model.mlpackage").iterdir()] == ["new"]
    assert [file.name for file in tmp_path.iterdir()] == ["model.mlpackage"]


def test_an_interrupted_staging_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), staging_folder(tmp_path / "out") as folder:
        (folder / "half.onnx").write_bytes(b"0" * 100)
        raise KeyboardInterrupt
    assert list((tmp_path / "out").iterdir()) == []


def test_text_is_written_whole_or_refused(tmp_path: Path) -> None:
    target = tmp_path / "card.md"
    write_text(target, "Maße\n", what="the card")
    assert target.read_bytes() == "Maße\n".encode()
    with pytest.raises(InputError, match=r"can't write the card '.*card\.md.below'"):
        write_text(target / "below", "text", what="the card")
    assert list(tmp_path.iterdir()) == [target]
