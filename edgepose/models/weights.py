"""Weight files and folders: recognised by their first bytes, opened without running anything in them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from edgepose import document
from edgepose.artifact.format import SPEC_KEY
from edgepose.artifact.opening import FORMATS
from edgepose.errors import CheckpointError, InputError, SpecError
from edgepose.models.pickles import read_pickle
from edgepose.models.unwrapping import Found, find_vitpose

__all__ = ["WeightFile", "read_json", "read_weights"]

_HEAD_BYTES = 4096
_CHUNK_BYTES = 4 << 20
_MAX_JSON_BYTES = 64 << 20
_FOLDER_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_FOREIGN = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"\x89HDF", "an HDF5 file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file it stands for: run git lfs pull"),
    (b"<", "a web page or an XML document, perhaps of a download that failed"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFile:
    """Tensors as they are in a checkpoint, and what stands beside them.

    Attributes:
        where: how errors name the checkpoint.
        source: file name, folder name or hub id, for the provenance.
        files: the weight files, in the order of their names.
        folder: where ``config.json`` would be.
        tensors: by name; they may be mapped from the files.
        meta: the ``meta`` entry of OpenMMLab's files, else empty.
        sealed: whether it is a file of edgepose, with a spec inside.
        notes: what was left out of the file's tensors.
    """

    where: str
    source: str
    files: tuple[Path, ...]
    folder: Path
    tensors: Mapping[str, Tensor]
    meta: Mapping[str, object] = field(default_factory=dict)
    sealed: bool = False
    notes: tuple[str, ...] = ()

    def sha256(self) -> str:
        """Hash the bytes of all files, one after the other; in hex."""
        total = hashlib.sha256()
        for file in self.files:
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    total.update(chunk)
        return total.hexdigest()


def read_weights(path: Path, *, where: str, source: str) -> WeightFile:
    """Open a weight file, or a folder in the form of Hugging Face.

    Raises:
        CheckpointError: it doesn't exist, can't be read, or holds no weights.
    """
    try:
        if path.is_dir():
            return _read_folder(path, where, source)
        if not path.is_file():
            raise CheckpointError(f"{where}: no such file or folder")
        tensors, meta, sealed = _read_file(path, where)
    except OSError as error:
        raise CheckpointError(f"{where}: can't be read: {error.strerror or error}") from None
    found = Found(tensors=tensors) if sealed else find_vitpose(tensors, where)
    return WeightFile(
        where=where,
        source=source,
        files=(path,),
        folder=path.parent,
        tensors=found.tensors,
        meta=meta,
        sealed=sealed,
        notes=found.notes,
    )


def read_json(path: Path, where: str) -> dict[str, object]:
    """Read a JSON file that holds an object.

    Raises:
        CheckpointError: it can't be read, or holds something else.
    """
    try:
        content = document.read_json(path, what="the file", max_bytes=_MAX_JSON_BYTES)
    except (InputError, SpecError) as error:
        raise CheckpointError(f"{where}: {path.name} can't be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{where}: {path.name} holds a {type(content).__name__}; expected an object")
    return content


def _read_folder(folder: Path, where: str, source: str) -> WeightFile:
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{where}: a folder without config.json; name a weight file, or a folder that transformers saved")
    main = next((folder / name for name in _FOLDER_FILES if (folder / name).is_file()), None)
    if main is None:
        raise CheckpointError(f"{where}: a folder without weights; looked for {', '.join(_FOLDER_FILES)}")
    files = _shards(main, where) if main.suffix == ".json" else (main,)
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= _read_file(file, f"{where}/{file.name}")[0]
    found = find_vitpose(tensors, where)
    return WeightFile(where=where, source=source, files=files, folder=folder, tensors=found.tensors, notes=found.notes)


def _shards(index: Path, where: str) -> tuple[Path, ...]:
    places = read_json(index, where).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f"{where}: {index.name} has no weight_map")
    names = sorted({str(name) for name in places.values()})
    # An index comes from outside: it may name files beside it, not paths.
    stray = [name for name in names if Path(name).name != name or "\\" in name]
    if stray:
        raise CheckpointError(f"{where}: {index.name} names a file outside the folder: {stray[0]!r}")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise CheckpointError(f"{where}: {len(missing)} of {len(names)} weight files are missing, e.g. {missing[0]!r}; download them again")
    return tuple(index.parent / name for name in names)


def _read_file(path: Path, where: str) -> tuple[Mapping[str, Tensor], Mapping[str, object], bool]:
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if not head:
        raise CheckpointError(f"{where}: the file is empty")
    # Safetensors first: the eight bytes before its header are a length, which may begin as a pickle does.
    if head[8:9] == b"{":
        return _read_safetensors(path, where)
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return *read_pickle(path, where), False
    raise CheckpointError(
        f"{where}: {_describe(path, head)}. Read are PyTorch checkpoints (.pth, .pt, .bin), .safetensors and Hugging Face folders"
    )


def _read_safetensors(path: Path, where: str) -> tuple[Mapping[str, Tensor], Mapping[str, object], bool]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, {}, SPEC_KEY in metadata  # noqa: SIM118  not a dict
    except SafetensorError as error:
        raise CheckpointError(f"{where}: a damaged safetensors file, or one that was cut short ({error})") from None


def _describe(path: Path, head: bytes) -> str:
    for known in FORMATS:
        if known.matches(path, head):
            return f"a model file in the format {known.name}, not a checkpoint"
    for magic, name in _FOREIGN:
        if head.lstrip().startswith(magic):
            return name
    try:
        head.decode("utf-8")
    except UnicodeDecodeError:
        return "neither a PyTorch checkpoint nor a safetensors file"
    return "a text file"
