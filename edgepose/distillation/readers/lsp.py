"""Leeds Sports Pose crops: an ``.npz`` of arrays, and the pictures in a ``.zip`` of the same name beside it.

Arrays: ``files`` (N,) names in the archive; ``joints14`` (N, 14, 3): x, y and 0 where there is no label; ``box_xyxy`` (N, 4); and,
optionally, what a keypoint teacher found in COCO's order (N, 17, 3): x, y, score. All in pixels of the crop.
"""

import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgepose.distillation.readers.person import Faults, People, Person, map_keypoints
from edgepose.distillation.recipe import Source
from edgepose.errors import InputError
from edgepose.image import decode_image
from edgepose.skeleton import Skeleton, get_skeleton

__all__ = ["read_lsp"]

JOINTS = (
    "right_ankle",
    "right_knee",
    "right_hip",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_wrist",
    "right_elbow",
    "right_shoulder",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "neck",
    "head_top",
)
SHAPES = {"joints14": (14, 3), "box_xyxy": (4,)}


def read_lsp(source: Source, root: Path, skeleton: Skeleton) -> People:
    """Open an LSP data set; see ``read_people``."""
    path = root / source.path
    arrays = _load(path, source.teacher_points)
    try:
        archive = zipfile.ZipFile(path.with_suffix(".zip"))
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"can't open the pictures of {str(path)!r}: {path.with_suffix('.zip').name}: {error}") from None
    faults = Faults()
    return People(count=len(arrays["files"]), each=_people(archive, arrays, source, skeleton, faults), faults=faults)


def _load(path: Path, points: str) -> dict[str, npt.NDArray[np.generic]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"can't read {str(path)!r} as an .npz of arrays: {error}") from None
    shapes = SHAPES | ({points: (17, 3)} if points else {})
    for name in ("files", *shapes):
        if name not in arrays:
            raise InputError(f"{path}: lacks the array {name!r}; it has {', '.join(arrays)}")
    for name, shape in shapes.items():
        expected = (len(arrays["files"]), *shape)
        if arrays[name].shape != expected or arrays[name].dtype.kind not in "iuf":
            raise InputError(f"{path}: {name} is {arrays[name].dtype} {arrays[name].shape}; expected numbers {expected}")
    return arrays


def _people(
    archive: zipfile.ZipFile, arrays: dict[str, npt.NDArray[np.generic]], source: Source, skeleton: Skeleton, faults: Faults
) -> Iterator[Person]:
    known = set(archive.namelist())
    coco = get_skeleton("coco").keypoints
    for index, name in enumerate(map(str, arrays["files"])):
        if name not in known:
            faults.add("missing pictures", f"{source.name}: {name}")
            continue
        joints = arrays["joints14"][index].astype(np.float32)
        joints[:, 2] = joints[:, 2] > 0
        points = arrays[source.teacher_points][index].astype(np.float32) if source.teacher_points else None
        yield Person(
            name=name,
            image=partial(_decode, archive, name),
            box_xyxy=arrays["box_xyxy"][index].astype(np.float64),
            keypoints=map_keypoints(joints, JOINTS, skeleton),
            teacher=None if points is None else map_keypoints(points, coco, skeleton),
        )


def _decode(archive: zipfile.ZipFile, name: str) -> npt.NDArray[np.uint8]:
    try:
        content = archive.read(name)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"can't read the image {name!r}: {error}") from None
    return decode_image(content, name)
