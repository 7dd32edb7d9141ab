"""Pictures: one, several, a folder, or what a pattern matches."""

import glob
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgepose.errors import InputError
from edgepose.image import SUFFIXES, read_image
from edgepose.pipeline.frame import Failure, Frame
from edgepose.pipeline.protocols import SourceInfo

__all__ = ["PictureSource", "list_pictures"]

_DIGITS = re.compile(r"(\d+)")


class PictureSource:
    """Picture files, one after the other; one that can't be read is a ``Failure`` in its place."""

    def __init__(self, paths: Sequence[Path], name: str, *, max_pixels: int) -> None:
        self.info = SourceInfo(
            name=name, kind="pictures", live=False, frames=len(paths), rate_hz=None, size=None, reader="edgepose.read_image"
        )
        self.paths = tuple(paths)
        self._max_pixels = max_pixels
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame | Failure]:
        for index, path in enumerate(self.paths):
            if self._closed.is_set():
                return
            try:
                image = read_image(path, max_pixels=self._max_pixels)
            except InputError as error:
                yield Failure(index=index, time_s=None, name=str(path), reason=str(error))
            else:
                yield Frame(image=image, index=index, time_s=None, name=str(path))

    def close(self) -> None:
        """Stop after the picture that is being read."""
        self._closed.set()


def list_pictures(folder_or_pattern: str) -> list[Path]:
    """Return the pictures in a folder and below it, or those that a pattern matches, in the order in which people count.

    Raises:
        InputError: there are none.
    """
    folder = Path(folder_or_pattern)
    if folder.is_dir():
        files = [file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()]
        if not files:
            others = sorted(file.name for file in folder.iterdir())[:4]
            there = f"it holds {', '.join(others)}" if others else "it is empty"
            raise InputError(f"no pictures in the folder {folder_or_pattern!r}: {there}; known suffixes: {', '.join(SUFFIXES)}")
    else:
        files = [Path(name) for name in glob.glob(folder_or_pattern, recursive=True) if Path(name).is_file()]  # noqa: PTH207  # absolute patterns
        if not files:
            raise InputError(f"no file matches {folder_or_pattern!r}")
    return sorted(files, key=_count_as_people)


def _count_as_people(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which 2 comes before 10."""
    parts = _DIGITS.split(str(path).lower())
    return tuple((0, int(part), part) if part.isdecimal() and len(part) < 4000 else (1, 0, part) for part in parts)
