"""The boxes that a file holds, and which of them are an image's or a frame's. ``edgepose.box_forms`` reads the file."""

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgepose.box_rows import PERSON_CLASS, split_rows
from edgepose.errors import InputError, SpecError

__all__ = ["BoxFile"]

_COCO_NAME = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{1,18})", re.ASCII)

Rows = npt.NDArray[np.float64]
Parts = tuple[str, ...]
Key = Parts | int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoxFile:
    """The boxes that a file holds, for every image or by image.

    A name stands for the image whose path ends with it: ``0001.jpg`` or ``cam1/0001.jpg``, with either slash. Where several names do, the
    longest counts. A name that stands for two images of different folders is an error: both would get the same people.

    Attributes:
        source: the file, as error messages name it.
        shared: (N, 4 to 6) rows for every image, or ``None`` where the file goes by image.
        by_name: image name → (N, 4 to 6) rows: left, top, right, bottom, and the detector's score and class where the file has them.
        by_number: COCO's image id → rows, for files without names: an image is found by the number in its name, a frame by its index.
        by_frame: index of a frame, from 0 → rows, for files that describe a video.
        image_ids: image name → COCO's image id, of annotations.
    """

    source: str
    shared: Rows | None
    by_name: Mapping[str, Rows]
    by_number: Mapping[int, Rows] = field(default_factory=dict)
    by_frame: Mapping[int, Rows] = field(default_factory=dict)
    image_ids: Mapping[str, int] = field(default_factory=dict)
    _names: dict[Parts, str] = field(init=False, repr=False, default_factory=dict)
    _given: dict[Key, str] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.by_name:
            parts = _split(name)
            if parts in self._names:
                raise SpecError(f"{self.source} names an image twice: {self._names[parts]!r} and {name!r}")
            self._names[parts] = name

    def for_image(self, path: str | Path) -> Rows:
        """Return the boxes (N, 4) of the people in an image: rows of other classes aren't among them.

        Raises:
            InputError: the file says nothing about the image, or the same as about another one of that name.
        """
        boxes, _, classes = split_rows(self.rows_for_image(path))
        return boxes if classes is None else boxes[classes == PERSON_CLASS]

    def rows_for_image(self, path: str | Path) -> Rows:
        """Return the rows (N, 4 to 6) of an image as the file has them.

        Raises:
            InputError: as ``for_image``.
        """
        rows = self.find(path)
        if rows is None:
            raise InputError(f"{self.source} has no boxes for the image {str(path)!r}; {self._describe(path)}")
        return rows

    def find(self, path: str | Path) -> Rows | None:
        """Return the rows of an image; ``None`` where the file says nothing about it.

        Raises:
            InputError: the file says the same about another image that was asked for, which lies in another folder.
        """
        if self.shared is not None:
            return self.shared
        key = self._match(path)
        if key is None:
            return None
        # A bare name says nothing about its folder.
        if len(Path(path).parts) > 1:
            self._refuse_second(key, self._given.setdefault(key, _place(path)), _place(path))
        return self.by_number[key] if isinstance(key, int) else self.by_name[self._names[key]]

    def rows_for_frame(self, index: int, name: str) -> Rows:
        """Return the rows (N, 4 to 6) of a frame of a video, camera or other source that moves.

        A frame is found by its index: among the frames of JSON lines; as ``image_id`` of COCO's results, where a frame without any object
        has nobody in it; or as the name ``"12"``. Boxes for every image are every frame's, as are those under the source's own name.

        Args:
            index: the frame's, from 0.
            name: the source's.

        Raises:
            InputError: the file says nothing about the frame.
        """
        if self.shared is not None:
            return self.shared
        if self.by_frame or self.by_number:
            rows = (self.by_frame or self.by_number).get(index)
            if rows is None and not self.by_frame:
                rows = np.empty((0, 4))
        else:
            rows = self.by_name.get(str(index))
            rows = self.find(name) if rows is None else rows
        if rows is None:
            known = f"it has the frames {_some(map(str, self.by_frame))}" if self.by_frame else f"it names {_some(map(repr, self.by_name))}"
            raise InputError(f"{self.source} has no boxes for frame {index}; {known}")
        return rows

    def find_image_id(self, path: str | Path) -> int | None:
        """Return COCO's id of an image, as annotations have it; ``None`` where the file doesn't know it."""
        key = self._match(path)
        return None if key is None else key if isinstance(key, int) else self.image_ids.get(self._names[key])

    def check_names(self, paths: Iterable[str | Path]) -> None:
        """Look at all images before any is used.

        Raises:
            InputError: a name in the file stands for two of them.
        """
        if self.shared is not None:
            return
        seen: dict[Key, str] = {}
        for path in paths:
            key = self._match(path)
            if key is not None:
                self._refuse_second(key, seen.setdefault(key, _place(path)), _place(path))

    def _match(self, path: str | Path) -> Key | None:
        image = _split(_place(path))
        stem = Path(image[-1]).stem if image else ""
        for name in (image, (*image[:-1], stem)):
            for start in range(len(name)):
                if name[start:] in self._names:
                    return name[start:]
        number = _COCO_NAME.fullmatch(stem)
        return int(number.group(1)) if number and int(number.group(1)) in self.by_number else None

    def _refuse_second(self, key: Key, first: str, second: str) -> None:
        if first != second:
            name = f"image_id {key}" if isinstance(key, int) else repr(self._names[key])
            raise InputError(f"{self.source}: {name} stands for both {first!r} and {second!r}: name each image with its folder")

    def _describe(self, path: str | Path) -> str:
        same = [self._names[parts] for parts in self._names if parts[-1:] == _split(Path(path).name)]
        if same:
            return f"it names {_some(map(repr, same))}, which is in another folder"
        if self.by_frame and not self.by_name:
            return "it describes the frames of a video, and this is a picture"
        if not self.by_number:
            return f"it names {_some(map(repr, self.by_name))}"
        return (
            f"it goes by image_id ({_some(map(str, self.by_number))}), and no number is in this image's name: put its file_name into each "
            "object"
        )


def _place(path: str | Path) -> str:
    """Where an image is; links aren't followed, as their names are what people go by."""
    return os.path.normpath(Path.cwd() / path)


def _split(name: str) -> Parts:
    """The parts of a path, of whatever system, without what only says where it begins."""
    parts = [part for part in unicodedata.normalize("NFC", name).replace("\\", "/").split("/") if part not in ("", ".")]
    while parts and parts[0] == "..":
        del parts[0]
    return tuple(parts)


def _some(names: Iterable[str]) -> str:
    shown = [name for _, name in zip(range(6), names, strict=False)]
    return (", ".join(shown[:5]) or "no image at all") + (" and more" if len(shown) > 5 else "")
