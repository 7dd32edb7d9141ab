"""Text that is whole up to its last line, whatever happens."""

import contextlib
from pathlib import Path

from edgepose.errors import InputError
from edgepose.pipeline.sinks.context import explain_write_error

__all__ = ["TextFile"]


class TextFile:
    """A file that grows by whole pieces: one for which there is no room leaves nothing of itself.

    Half a row would be read as a row: of ``85.250`` an ``8`` may be left, which is a number, too.

    Args:
        path: what is written; an existing file is replaced.
        tail: what stands behind the last piece at all times, as a list's closing bracket does.
        final: what errors call it, where it has another name until it is finished.

    Raises:
        InputError: it can't be written.
    """

    def __init__(self, path: Path, *, tail: str = "", final: Path | None = None) -> None:
        self._path = final or path
        self._tail = tail.encode()
        self._end = 0
        self._failed = False
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise explain_write_error(self._path, error) from None
        if tail:
            self.write("")

    def write(self, text: str) -> None:
        """Add a piece; it is handed to the system before this returns.

        Raises:
            BrokenPipeError: it is a pipe that nobody reads any more.
            InputError: it can't be written; what was written before stands, and nothing more is taken.
        """
        if self._failed or self._file.closed:
            raise InputError(f"can't write {str(self._path)!r}: it is closed")
        piece = text.encode("utf-8", "backslashreplace")  # names of files may hold what isn't text
        try:
            self._put(self._end, piece + self._tail)
        except BrokenPipeError:
            raise
        except OSError as error:
            self._failed = True
            self._go_back()
            raise explain_write_error(self._path, error) from None
        self._end += len(piece)

    def close(self) -> None:
        """Close the file. Closing twice is allowed.

        Raises:
            InputError: the system has kept an error until now, as network file systems do.
        """
        try:
            self._file.close()
        except OSError as error:
            raise explain_write_error(self._path, error) from None

    def _put(self, place: int, data: bytes) -> None:
        if self._file.seekable():
            self._file.seek(place)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _go_back(self) -> None:
        """Remove the torn piece, and put the tail where it was: it had room there before."""
        with contextlib.suppress(OSError):  # a pipe or a device has no way back
            self._file.truncate(self._end)
            self._put(self._end, self._tail)
