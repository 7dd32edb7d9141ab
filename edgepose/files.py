"""Files that are written whole or not at all: made beside their final place, then renamed."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgepose.errors import InputError

__all__ = ["publish", "staged_file", "staging_folder", "write_text"]


@contextmanager
def staging_folder(out: Path) -> Iterator[Path]:
    """Make a hidden folder inside ``out`` (which is made if need be) and remove it at the end, whatever happens."""
    out.mkdir(parents=True, exist_ok=True)
    # Named before it is made, so that an interrupt at any moment finds something to remove.
    folder = out / f".edgepose-{secrets.token_hex(4)}"
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def publish(files: tuple[Path, ...], out: Path) -> None:
    """Move finished files or folders into ``out``, replacing those of the same name. They must be on the same file system.

    The last one is the file that users name, so that it never stands there without the others.
    """
    for file in files:
        final = out / file.name
        if final.is_dir() and not final.is_symlink():
            # A folder can't be replaced in one step: the old one steps aside into the staging folder, which is removed.
            final.rename(file.with_name(file.name + ".replaced"))
        file.replace(final)


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; on success it becomes ``path``, on failure it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept: some writers choose the format by it.
    handle, name = tempfile.mkstemp(prefix=".edgepose-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    staged = Path(name)
    try:
        yield staged
        staged.chmod(0o666 & ~_umask())
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, what: str) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Args:
        path: where to; an existing file is replaced.
        text: its content.
        what: how the error names it, e.g. ``the card``.

    Raises:
        InputError: it can't be written.
    """
    try:
        with staged_file(path) as staged:
            staged.write_text(text, "utf-8")
    except OSError as error:
        raise InputError(f"can't write {what} {str(path)!r}: {error.strerror or error}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
