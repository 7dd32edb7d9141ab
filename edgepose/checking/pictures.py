"""Pictures: those that an annotation file names, and those of a folder."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepose.checking import kinds
from edgepose.checking.recognition import is_picture
from edgepose.checking.report import Checked, Progress, Question
from edgepose.checking.same import find_same
from edgepose.errors import InputError
from edgepose.evaluation.dataset import Annotations
from edgepose.evaluation.picture_files import PictureFolder, locate_pictures
from edgepose.findings import Findings, Kind
from edgepose.image import read_image
from edgepose.image_format import describe_foreign, find_size, is_turned
from edgepose.jpeg import START, read_jpeg

__all__ = ["check_named_pictures", "check_picture_files", "check_single_picture", "is_picture_file", "read_size"]

_HEAD_BYTES = 1 << 18
_TOLD_EVERY = 50


@dataclass(frozen=True, slots=True)
class _Size:
    """Width and height of a picture as it is shown, or why it can't be read."""

    width: int = 0
    height: int = 0
    fault: Kind | None = None
    why: str = ""


def read_size(path: Path, question: Question) -> _Size:
    """Return the size of a picture, from its header, or decoded where the question asks for that."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            size = _find_size(head)
            if size is None and len(head) == _HEAD_BYTES:
                size = _find_size(head + file.read())
    except OSError as error:
        return _Size(fault=kinds.PICTURE_UNREADABLE, why=error.strerror or str(error))
    if not head:
        return _Size(fault=kinds.PICTURE_UNREADABLE, why="the file is empty")
    foreign = describe_foreign(head, path.name)
    if foreign:
        return _Size(fault=kinds.PICTURE_UNREADABLE, why=foreign)
    if size is not None and size[0] * size[1] > question.max_pixels:
        return _Size(*size, fault=kinds.PICTURE_LARGE, why=f"{size[0]}×{size[1]}")
    if size is None or question.decode:
        # Formats whose headers aren't known here are decoded in any case.
        return _decode(path, question)
    return _Size(*size)


def _decode(path: Path, question: Question) -> _Size:
    try:
        height, width, _ = read_image(path, max_pixels=question.max_pixels).shape
    except InputError as error:
        return _Size(fault=kinds.PICTURE_UNREADABLE, why=str(error).partition(": ")[2] or str(error))
    return _Size(width, height)


def _find_size(content: bytes) -> tuple[int, int] | None:
    if not content.startswith(START):
        return find_size(content)
    jpeg = read_jpeg(content)
    if not (jpeg.width and jpeg.height):
        return None
    return (jpeg.height, jpeg.width) if is_turned(content) else (jpeg.width, jpeg.height)


def check_named_pictures(annotations: Annotations, folder: Path, question: Question, findings: Findings, progress: Progress) -> None:
    """Look for an annotation file's pictures, as ``edgepose evaluate`` does, and at their sizes."""
    if not folder.is_dir():
        findings.add(kinds.PICTURE_MISSING, f"{folder} is no folder", count=len(annotations.file_names))
        return
    wanted = np.ones(len(annotations.file_names), np.bool_)
    located, missing = locate_pictures(folder, annotations.file_names, wanted, findings)
    if question.inside and missing.all():
        findings.add(kinds.PICTURES_ABSENT, annotations.file_names[0], count=0)
        return
    peopled = np.zeros(len(located), np.bool_)
    peopled[annotations.pictures[~annotations.crowd]] = True
    place = PictureFolder(folder)
    for index in map(int, np.flatnonzero(missing)):
        kind = kinds.PICTURE_MISSING if peopled[index] else kinds.PICTURE_MISSING_EMPTY
        findings.add(kinds.PICTURE_AMBIGUOUS if place.is_ambiguous(located[index]) else kind, located[index])
    there = [int(index) for index in np.flatnonzero(~missing)]
    for done, index in enumerate(there):
        if done % _TOLD_EVERY == 0:
            progress(done, len(there), located[index])
        size = read_size(folder / located[index], question)
        if size.fault is not None:
            findings.add(size.fault, f"{located[index]}: {size.why}")
            continue
        stated = tuple(annotations.picture_sizes[index].tolist())
        if all(stated) and stated != (size.width, size.height):
            findings.add(kinds.PICTURE_OTHER_SIZE, f"{located[index]} is {size.width}×{size.height}, stated {stated[0]}×{stated[1]}")
    _report_same([folder / located[index] for index in there], folder, findings)


def check_picture_files(folder: Path, files: Sequence[Path], question: Question, progress: Progress) -> Checked:
    """Check the pictures of a folder."""
    findings = Findings()
    sizes = []
    for done, path in enumerate(files):
        if done % _TOLD_EVERY == 0:
            progress(done, len(files), str(path))
        size = read_size(path, question)
        if size.fault is None:
            sizes.append((size.width, size.height))
        else:
            findings.add(size.fault, f"{path.relative_to(folder)}: {size.why}")
    _report_same(files, folder, findings)
    low, high = (f"{width}×{height}" for width, height in (min(sizes, key=_area), max(sizes, key=_area))) if sizes else ("?", "?")
    spread = "" if not sizes else f", {low}" if low == high else f", {low} to {high}"
    looked = "decoded" if question.decode else "headers read"
    return Checked(
        path=folder,
        kind="pictures",
        summary=f"pictures: {len(files)} files{spread} ({looked})",
        facts={"pictures": len(files)},
        findings=tuple(findings),
    )


def check_single_picture(path: Path, question: Question) -> Checked:
    """Check one picture, by decoding it."""
    findings = Findings()
    size = _decode(path, question)
    if size.fault is not None:
        findings.add(size.fault, size.why, count=0)
    return Checked(
        path=path, kind="picture", summary=f"a picture: {size.width}×{size.height}" if size.width else "a picture", findings=tuple(findings)
    )


def _report_same(files: Iterable[Path], folder: Path, findings: Findings) -> None:
    for first, second in find_same(files):
        findings.add(kinds.PICTURE_SAME, f"{second.relative_to(folder)} is {first.relative_to(folder)}")


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def is_picture_file(path: Path) -> bool:
    """Tell whether a file is a picture, or another program's picture or video, by its first bytes."""
    try:
        with path.open("rb") as file:
            return is_picture(file.read(_HEAD_BYTES), path.name)
    except OSError:
        return False
