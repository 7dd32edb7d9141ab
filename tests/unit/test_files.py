"""Files are whole or absent."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from edgepose import files
from edgepose.errors import InputError
from edgepose.files import check_folder, lock, publish, staged_file, staging_folder, temporary_folder, write_text


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


HOLD = """
import sys, time
from pathlib import Path
from edgepose.files import lock, staged_file, staging_folder, temporary_folder
out = Path(sys.argv[1])
with lock(out, what="a run"), staging_folder(out) as folder, temporary_folder(), staged_file(out / "x.json"):
    (folder / "half.onnx").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def made(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".edgepose-")]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_what_a_killed_process_left_is_swept_and_the_living_keep_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, temporary = tmp_path / "out", tmp_path / "temporary"
    out.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(files, "_swept", set())
    # One is another machine's and fresh, one another machine's and forgotten, one of a reused process number, one the user's own.
    (out / ".edgepose-00000000-1-1-00000000").mkdir()
    (out / ".edgepose-00000000-1-1-00000001").mkdir()
    os.utime(out / ".edgepose-00000000-1-1-00000001", (0, 0))
    (out / f".edgepose-{files._host()}-{os.getpid()}-1-00000000.json").write_text("")
    (out / ".edgepose").write_text("kept")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    (out / ".edgepose-link").symlink_to(outside)
    os.utime(out / ".edgepose-link", (0, 0), follow_symlinks=False)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(temporary)}
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        foreign = out / ".edgepose-00000000-1-1-00000000"
        with staging_folder(out), temporary_folder():
            # A folder and a file of the other process, one of ours, and the other machine's.
            assert len(made(out)) == 4
            assert len(made(temporary)) == 2
        with pytest.raises(InputError, match=rf"a run is under way in .*by process {process.pid} on "), lock(out, what="a run"):
            pass
        with lock(out, "other", what="a run"):
            pass
        process.kill()
        process.wait()
        files._swept.clear()
        with staging_folder(out), temporary_folder():
            assert len(made(out)) == 2
            assert len(made(temporary)) == 1
        assert made(out) == [foreign]
        assert made(temporary) == []
        with lock(out, what="a run"):
            assert (out / ".edgepose.lock").read_text().startswith(f"process {os.getpid()} ")
        assert sorted(path.name for path in out.iterdir()) == [".edgepose", foreign.name]
        assert (outside / "file").read_text() == "kept"
    finally:
        process.kill()
        process.wait()


def test_a_folder_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for refuse in (check_folder, lambda folder: lock(folder, what="a run").__enter__()):
        with pytest.raises(InputError, match=r"can't write to the folder '.*below'"):
            refuse(tmp_path / "file" / "below")
    check_folder(tmp_path / "new" / "folder")
    with lock(tmp_path / "new" / "folder", what="a run"):
        assert (tmp_path / "new" / "folder").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nothing_makes_temporary_folders_by_itself() -> None:
    root = Path(files.__file__).parents[1]
    sources = [path for folder in ("edgepose", "converters", "benchmarks") for path in (root / folder).rglob("*.py")]
    assert len(sources) > 200
    # TemporaryFile has no name that could be left behind.
    found = {path.name for path in sources if re.search(r"\b(mkdtemp|mkstemp|TemporaryDirectory|NamedTemporaryFile)\(", path.read_text())}
    # On another machine, whose folder the SSH target removes.
    assert found == {"ssh.py"}
