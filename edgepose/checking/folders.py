"""What lies in a folder, and where an annotation file's pictures are in it."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgepose.artifact.opening import FORMATS
from edgepose.checking.pictures import is_picture_file
from edgepose.checking.recognition import Recognised, recognise
from edgepose.errors import EdgePoseError
from edgepose.evaluation.coco_file import Entry
from edgepose.evaluation.picture_files import PictureFolder

__all__ = ["Content", "choose_images", "list_content", "sample_names"]

MAX_FILES = 200_000
_DEEPEST = 12
_PASSED_OVER = {"__pycache__", "__MACOSX", "node_modules", "site-packages"}
_SAMPLE, _FOLDERS = 100, 50  # names that are looked for, in how many folders with pictures
_TEXT_SUFFIXES = {".csv", ".json", ".jsonl", ".toml", ".xml", ".yaml", ".yml"}
_PICTURE_SUFFIXES = {".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_WEIGHT_SUFFIXES = {".bin", ".h5", ".mat", ".npz", ".onnx", ".pt", ".pth", ".safetensors", ".slp", ".tflite"}


@dataclass(slots=True, kw_only=True)
class Content:
    """What lies in a folder.

    Attributes:
        candidates: files and folders that a reader may know.
        pictures: by folder.
        skipped: suffix, or why → how many.
    """

    candidates: list[Path] = field(default_factory=list)
    pictures: dict[Path, list[Path]] = field(default_factory=lambda: defaultdict(list))
    skipped: Counter[str] = field(default_factory=Counter)


def list_content(folder: Path) -> Content:
    """Go through a folder and those below; links aren't followed, and what is hidden isn't looked at."""
    content = Content()
    labels: set[Path] = set()
    for number, path in enumerate(_walk(folder, content)):
        if number >= MAX_FILES:
            content.skipped[f"beyond the first {MAX_FILES} files"] += 1
            break
        suffix = path.suffix.lower()
        if path.is_dir() or suffix in _TEXT_SUFFIXES:
            content.candidates.append(path)
        elif suffix == ".bin" and path.with_suffix(".xml").is_file():
            continue  # the weights of an OpenVINO file, which is looked at
        elif suffix in _WEIGHT_SUFFIXES:
            content.candidates.append(path)
        elif suffix == ".txt":
            # One of a folder of labels stands for all.
            if path.parent in labels or not _is_foreign(path):
                content.skipped[suffix] += 1
            else:
                labels.add(path.parent)
                content.candidates.append(path)
        elif suffix in _PICTURE_SUFFIXES or is_picture_file(path):
            content.pictures[path.parent].append(path)
        else:
            content.skipped[suffix or "without a suffix"] += 1
    return content


def choose_images(names: Sequence[str], annotations: Path, root: Path, content: Content) -> Path:
    """Return the folder in which an annotation file's pictures are.

    Frames of videos and splits of a set often have the same names: the file's own folder comes first, then one whose name is in the
    file's (``val`` for ``person_keypoints_val.json``), if half of the pictures are there; then the one with most of them, then the whole.
    """
    fullest = sorted(content.pictures, key=lambda folder: (-len(content.pictures[folder]), folder))[:_FOLDERS]
    candidates = dict.fromkeys([annotations.parent, *fullest, root])
    some = names[:: max(1, len(names) // _SAMPLE)]
    found = {folder: _count(folder, some) for folder in candidates}
    stem = annotations.stem.lower()
    meant = [folder for folder in candidates if folder == annotations.parent or folder.name.lower() in stem]
    best = max(found, key=lambda folder: (2 * found[folder] >= len(some) and folder in meant, found[folder]))
    return best if found[best] else root


def sample_names(images: Sequence[Entry]) -> list[str]:
    """Return the names that are texts."""
    return [name for image in images if isinstance(name := image.get("file_name"), str)]


def _count(folder: Path, names: Sequence[str]) -> int:
    place = PictureFolder(folder)
    return sum(place.find_end(name) is not None for name in names)


def _walk(folder: Path, content: Content) -> Iterator[Path]:
    """Yield files, and folders that are one thing."""
    for place, folders, files in os.walk(folder):
        here = Path(place)
        if len(here.relative_to(folder).parts) >= _DEEPEST:
            content.skipped["deeper folders"] += len(folders)
            folders.clear()
        for name in sorted(folders):
            inner = here / name
            if name.startswith(".") or name in _PASSED_OVER or inner.is_symlink():
                content.skipped["hidden folders and links"] += 1
                folders.remove(name)
            elif _is_whole(inner):
                folders.remove(name)
                yield inner
        folders.sort()
        for name in sorted(files):
            path = here / name
            if name.startswith(".") or path.is_symlink():
                content.skipped["hidden files and links"] += 1
            elif path.is_file():
                yield path


def _is_whole(folder: Path) -> bool:
    """Tell whether a folder is a model: a Core ML package or a Hugging Face folder."""
    if any(known.matches(folder, b"") for known in FORMATS):
        return True
    return (folder / "config.json").is_file() and recognise(folder).form == "checkpoint"


def _is_foreign(path: Path) -> bool:
    try:
        found: Recognised = recognise(path)
    except EdgePoseError:
        return False
    return found.form == "foreign"
