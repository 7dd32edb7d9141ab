"""Files that are written whole or not at all: made beside their final place, then renamed.

What is half-made has a name that says who makes it (``.edgepose-HOST-PID-START-…``). A process that is killed can't tidy up; the next one
that writes to the same folder, or makes a temporary one, removes what the dead have left.
"""

import contextlib
import errno
import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgepose.errors import InputError

__all__ = [
    "check_folder",
    "is_publishing",
    "lock",
    "publish",
    "remove_staged",
    "staged_file",
    "staging_folder",
    "temporary_folder",
    "write_text",
]

_PREFIX = ".edgepose-"
_NAME = re.compile(r"\.edgepose-(?P<host>[0-9a-f]{8})-(?P<pid>[0-9]{1,10})-(?P<start>[0-9]{1,20})-[0-9a-f]{8}(\..*)?", re.DOTALL)
_LOCK = "edgepose.lock"
_FORGOTTEN_S = 7 * 24 * 3600.0
"""Whether a process of another machine lives can't be seen: what it makes is removed when it hasn't been touched for so long."""

_staged: set[Path] = set()
"""What this process is making."""
_swept: set[Path] = set()
_publishing = threading.RLock()
_publishers: list[int] = []


@contextmanager
def staging_folder(out: Path) -> Iterator[Path]:
    """Make a hidden folder inside ``out`` (which is made if need be) and remove it at the end, whatever happens."""
    out.mkdir(parents=True, exist_ok=True)
    _sweep(out)
    # Named before it is made, so that an interrupt at any moment finds something to remove.
    folder = out / _make_name("")
    _staged.add(folder)
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            _staged.discard(folder)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder in the system's place for temporary files and remove it at the end, whatever happens."""
    with staging_folder(Path(tempfile.gettempdir())) as folder:
        yield folder


def publish(files: tuple[Path, ...], out: Path) -> None:
    """Move finished files or folders into ``out``, replacing those of the same name. They must be on the same file system.

    The last one is the file that users name, so that it never stands there without the others.
    """
    with _publishing:
        _publishers.append(threading.get_ident())
        try:
            for file in files:
                final = out / file.name
                if final.is_dir() and not final.is_symlink():
                    # A folder can't be replaced in one step: the old one steps aside into the staging folder, which is removed.
                    final.rename(file.with_name(file.name + ".replaced"))
                file.replace(final)
        finally:
            _publishers.pop()


def is_publishing() -> bool:
    """Say whether this thread is moving several files that belong together, and should not be interrupted."""
    return threading.get_ident() in _publishers


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; on success it becomes ``path``, on failure it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    # The suffix is kept: some writers choose the format by it.
    staged = path.parent / _make_name(path.suffix)
    _staged.add(staged)
    try:
        os.close(os.open(staged, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        yield staged
        staged.chmod(0o666 & ~_umask())
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
        _staged.discard(staged)


def remove_staged(wait_s: float) -> None:
    """Remove what this process is making, from a thread that is about to end it; files that are being published get ``wait_s``."""
    locked = _publishing.acquire(timeout=wait_s)
    try:
        for path in list(_staged):
            _remove(path)
    finally:
        if locked:
            _publishing.release()


@contextmanager
def lock(folder: Path, name: str = "", *, what: str) -> Iterator[None]:
    """Keep other processes from the same work in a folder (which is made if need be); the lock goes with the process, however it ends.

    Args:
        folder: where the work is.
        name: whose files they are, where works of different names may go on in one folder.
        what: how the error names the work, e.g. ``a training run``.

    Raises:
        InputError: another process is at it, or the folder can't be written.
    """
    path = folder / f".{name}{_LOCK}"
    try:
        before = _nearest(folder).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        handle = _take_lock(path)
    except OSError as error:
        raise InputError(f"can't write to the folder {str(folder)!r}: {error.strerror or error}") from None
    if isinstance(handle, str):
        raise InputError(
            f"{what} is under way in {str(folder)!r}, by {handle or 'another process'}: wait for its end, stop it, or name another folder"
        )
    try:
        yield
    finally:
        # Removed while it is held: who waits for it sees that it has gone, and makes a new one.
        path.unlink(missing_ok=True)
        os.close(handle)
        # Where nothing came of the work, no empty folder stays.
        for made in (folder.absolute(), *folder.absolute().parents):
            if made == before:
                break
            with contextlib.suppress(OSError):
                made.rmdir()


def _take_lock(path: Path) -> int | str:
    """Return the locked file, or who holds it."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows keeps a file that is open from being removed: that is the lock
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
    while True:
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 500).decode("utf-8", "replace").strip()
            os.close(handle)
            return holder
        except BaseException:
            os.close(handle)
            raise
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                break
        os.close(handle)  # its owner has just removed it
    os.ftruncate(handle, 0)
    os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return handle


def check_folder(out: Path) -> None:
    """See that a folder can be written to, or made: before the work that is to be kept in it. Nothing is made.

    Raises:
        InputError: it can't.
    """
    nearest = _nearest(out)
    if not nearest.is_dir():
        raise InputError(f"can't write to the folder {str(out)!r}: {str(nearest)!r} isn't a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"can't write to the folder {str(out)!r}: {os.strerror(errno.EACCES)}")


def _nearest(path: Path) -> Path:
    """Return the path itself, or the first above it that is there."""
    return next(each for each in (path, *path.absolute().parents) if os.path.lexists(each))


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


def _make_name(suffix: str) -> str:
    return f"{_PREFIX}{_host()}-{os.getpid()}-{_start_of(os.getpid()) or 0}-{secrets.token_hex(4)}{suffix}"


@functools.cache
def _host() -> str:
    """The machine, and the container in it, in which process numbers mean something."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


def _start_of(pid: int) -> int | None:
    """When a process began, in ticks; 0 where the system doesn't tell; ``None`` if there is none of this number."""
    try:
        # The second field is a name in parentheses, which may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return None if fields[0] == "Z" else int(fields[19])
    except FileNotFoundError:
        if sys.platform.startswith("linux"):
            return None
    except (OSError, ValueError, IndexError):
        return 0
    if sys.platform == "win32":
        return 0  # signal 0 would end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return 0


def _sweep(folder: Path) -> None:
    """Remove what processes that have ended left in a folder: once per process, because it looks at every name there."""
    place = folder.absolute()
    if place in _swept:
        return
    _swept.add(place)
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and _is_left_over(entry):
                _remove(Path(entry.path))


def _is_left_over(entry: os.DirEntry[str]) -> bool:
    try:
        about = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    if hasattr(os, "getuid") and about.st_uid != os.getuid():
        return False
    found = _NAME.fullmatch(entry.name)
    if found is not None and found["host"] == _host():
        started = _start_of(int(found["pid"]))
        return started is None or (started != 0 and started != int(found["start"]))
    return time.time() - about.st_mtime > _FORGOTTEN_S


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
