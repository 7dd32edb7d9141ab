"""Pictures and people that two annotation files share: a model that was trained on one of them knows those of the other."""

from pathlib import Path, PurePosixPath

import numpy as np

from edgepose.checking import kinds
from edgepose.checking.same import pair_same
from edgepose.evaluation.dataset import Annotations
from edgepose.evaluation.picture_files import locate_pictures
from edgepose.findings import Findings

__all__ = ["compare_sets"]

_LEAST_LABELS = 3


def compare_sets(one: Annotations, other: Annotations, images: Path | None, other_images: Path | None, findings: Findings) -> None:
    """Find what two sets share.

    Pictures are compared by their bytes where the folders of both are known, else by their names.

    Args:
        one: of the file that is checked.
        other: of the file that should share nothing with it.
        images: folder of the pictures of ``one``.
        other_images: folder of the pictures of ``other``.
        findings: is told what they share.
    """
    files, others = _locate(one, images), _locate(other, other_images)
    if files and others:
        for path, same in pair_same(files, others).items():
            findings.add(kinds.SHARED_PICTURE, path.name if path.name == same.name else f"{path.name} is {same.name}")
    else:
        names = {_plain(name) for name in other.file_names}
        for name in one.file_names:
            if _plain(name) in names:
                findings.add(kinds.SHARED_NAME, name)
    known = {key for row in range(len(other.ids)) if (key := _key(other, row))}
    for row in range(len(one.ids)):
        key = _key(one, row)
        if key and key in known:
            findings.add(kinds.SHARED_PERSON, f"annotation id {one.ids[row]} in {one.file_names[one.pictures[row]]}")


def _locate(annotations: Annotations, folder: Path | None) -> list[Path]:
    if folder is None or not folder.is_dir():
        return []
    names = annotations.file_names
    located, missing = locate_pictures(folder, names, np.ones(len(names), np.bool_), Findings())
    return [folder / name for name, gone in zip(located, missing, strict=True) if not gone]


def _plain(name: str) -> str:
    return str(PurePosixPath(name.replace("\\", "/")))


def _key(annotations: Annotations, row: int) -> bytes:
    """A person's labelled keypoints; empty where there are too few to know somebody by."""
    points = annotations.keypoints[row]
    return points.tobytes() if (points[:, 2] > 0).sum() >= _LEAST_LABELS else b""
