"""The formats by name."""

from pathlib import Path

from edgepose.distillation.readers.coco import read_coco
from edgepose.distillation.readers.lsp import read_lsp
from edgepose.distillation.readers.person import People
from edgepose.distillation.readers.photos import read_photos
from edgepose.distillation.recipe import Source
from edgepose.errors import InputError
from edgepose.skeleton import Skeleton

__all__ = ["find_format", "read_people"]

FORMATS = {"coco": read_coco, "lsp": read_lsp, "photos": read_photos}


def find_format(path: Path) -> str:
    """Tell the format by what ``path`` is: ``.json`` is COCO's, ``.npz`` LSP's, a folder holds photos.

    Raises:
        InputError: it is nothing of that, or doesn't exist.
    """
    if path.is_dir():
        return "photos"
    known = {".json": "coco", ".npz": "lsp"}
    if path.is_file() and path.suffix in known:
        return known[path.suffix]
    what = "there is no such file or folder" if not path.exists() else f"the suffix is {path.suffix!r}"
    raise InputError(f"can't read training data from {str(path)!r}: {what}; allowed: COCO .json, LSP .npz, or a folder of photos")


def read_people(source: Source, root: Path, skeleton: Skeleton) -> People:
    """Open a data source.

    Args:
        source: what to read.
        root: the folder that its paths are relative to.
        skeleton: the keypoints of the student, which labels are mapped to by name.

    Raises:
        InputError: the source as a whole can't be read. Single pictures and people that can't are counted, and left out.
    """
    path = root / source.path
    kind = find_format(path) if source.format == "auto" else source.format
    return FORMATS[kind](source, root, skeleton)
