"""What a file is, by its content: names and suffixes are as people left them."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from edgepose.artifact.opening import FORMATS
from edgepose.checking import foreign
from edgepose.checking.foreign import Foreign
from edgepose.document import parse_json, parse_toml, read_bytes
from edgepose.errors import EdgePoseError, InputError, SpecError
from edgepose.evaluation.coco_file import MAX_FILE_BYTES, shown
from edgepose.image_format import describe_foreign, find_size
from edgepose.jpeg import START

__all__ = ["Form", "Recognised", "is_picture", "read_head", "recognise"]

Form = Literal[
    "annotations",
    "arrays",
    "benchmark",
    "boxes",
    "checkpoint",
    "detections",
    "evaluation",
    "folder",
    "foreign",
    "model",
    "picture",
    "quantization",
    "recipe",
    "results",
    "skeleton",
    "spec",
    "unknown",
]

_HEAD_BYTES = 1 << 16
_HDF5_BYTES = 8 << 20
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_OWN: Mapping[str, Form] = {
    "edgepose_benchmark": "benchmark",
    "edgepose_evaluation": "evaluation",
    "edgepose_quantization": "quantization",
    "edgepose_spec": "spec",
}
_RECIPE_PARTS = {"phases", "student", "teacher", "optimizer", "augmentation", "validation"}
_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe\0\0", "utf-32-le"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recognised:
    """What a file is.

    Attributes:
        form: its kind.
        why: how that was seen; of what is unknown, what was seen instead.
        document: its parsed JSON, where it is that.
        sha256: of its bytes, where it is JSON.
        foreign: the other tool's form.
    """

    form: Form
    why: str
    document: object = None
    sha256: str = ""
    foreign: Foreign | None = None


def recognise(path: Path) -> Recognised:
    """Recognise a file or folder by its content.

    Raises:
        InputError: it isn't there, or can't be read.
        SpecError: it is JSON that can't be read as such.
    """
    if path.is_dir():
        return _recognise_folder(path)
    head = read_head(path)
    if not head:
        raise InputError(f"{path}: the file is empty")
    text = _decode(head)
    if text is not None and text[:1] in ("{", "["):
        return _recognise_json(path, text)
    return _recognise_binary(path, head) or _recognise_text(path, text) or _name_unknown(path, head, text)


def read_head(path: Path) -> bytes:
    """Return the first 64 kB of a file.

    Raises:
        InputError: it can't be read.
    """
    return _read_start(path, _HEAD_BYTES)


def _read_start(path: Path, size: int) -> bytes:
    """Return the first bytes of a file.

    Raises:
        InputError: it can't be read.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path}: {'not a regular file' if path.exists() else 'no such file or folder'}")
        with path.open("rb") as file:
            return file.read(size)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from None


def is_picture(head: bytes, name: str) -> bool:
    """Tell whether a file that begins so is a picture that edgepose may read."""
    return head.startswith(START) or (find_size(head) is not None and not describe_foreign(head, name))


def _recognise_binary(path: Path, head: bytes) -> Recognised | None:
    for known in FORMATS:
        if known.matches(path, head):
            sealed = known.name != "safetensors" or b'"edgepose.spec"' in head or _is_sealed(path)
            return Recognised(form="model" if sealed else "checkpoint", why=f"a {known.name} file")
    if is_picture(head, path.name):
        return Recognised(form="picture", why="a picture")
    if head.startswith(_PICKLE) or (head.startswith(_ZIP) and b"data.pkl" in head):
        return Recognised(form="checkpoint", why="a PyTorch file")
    if re.match(rb"PK\x03\x04.{26}[\w.-]+\.npy", head, re.DOTALL):
        return Recognised(form="arrays", why="NumPy arrays in an archive (.npz)")
    other = foreign.find_binary(head, lambda: _read_start(path, _HDF5_BYTES))
    return None if other is None else Recognised(form="foreign", why=other.what, foreign=other)


def _recognise_text(path: Path, text: str | None) -> Recognised | None:
    if text is None:
        return None
    other = foreign.find_xml(text) if text.startswith("<") else foreign.find_text(text)
    return _recognise_toml(path) if other is None else Recognised(form="foreign", why=other.what, foreign=other)


def _name_unknown(path: Path, head: bytes, text: str | None) -> Recognised:
    what = (describe_foreign(head, path.name) or describe_foreign(head, path.name, failed=True)).removeprefix("it is ")
    return Recognised(form="unknown", why=what or ("text of an unknown kind" if text is not None else "bytes of an unknown kind"))


def _recognise_folder(path: Path) -> Recognised:
    for known in FORMATS:
        if known.matches(path, b""):
            return Recognised(form="model", why=f"a {known.name} package")
    weights = [*path.glob("*.safetensors"), *path.glob("pytorch_model*.bin")]
    if (path / "config.json").is_file() and weights:
        return Recognised(form="checkpoint", why="a Hugging Face folder")
    return Recognised(form="folder", why="a folder")


def _is_sealed(path: Path) -> bool:
    """The header of a large safetensors file may be longer than what was looked at."""
    known = next(each for each in FORMATS if each.name == "safetensors")
    try:
        return known.locate(path) is not None
    except EdgePoseError:
        return True  # its reader says what is wrong


def _decode(head: bytes) -> str | None:
    """The beginning of a text without blanks before it; ``None`` where it is none."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return head[len(mark) :].decode(encoding, errors="replace").lstrip()
    if b"\0" in head[:64]:
        even = head[: len(head) // 2 * 2]
        encoding = "utf-16-le" if head[1:2] == b"\0" else "utf-16-be"
        text = even.decode(encoding, errors="replace")
        return text.lstrip() if text[:1] in ("{", "[", " ", "\n") else None
    try:
        head[:-4].decode() if len(head) == _HEAD_BYTES else head.decode()
    except UnicodeDecodeError:
        return head.decode(errors="replace").lstrip() if head.lstrip()[:1] in (b"{", b"[") else None
    return head.decode(errors="replace").lstrip()


def _recognise_json(path: Path, start: str) -> Recognised:
    content = read_bytes(path, what="the file", max_bytes=MAX_FILE_BYTES)
    try:
        document = parse_json(content, where=str(path))
    except SpecError:
        if (recipe := _recognise_toml(path)) is not None:
            return recipe
        first = start.splitlines()[0].strip()
        if not (first.startswith("{") and first.endswith("}") and b"\n{" in content):
            raise
        document = [parse_json(first, where=f"{path}: line 1")]
        found = _recognise_list(document)
        return Recognised(form=found.form, why=f"{found.why}, one a line", foreign=found.foreign)
    sha256 = hashlib.sha256(content).hexdigest()
    del content
    found = _recognise_object(cast("dict[str, object]", document)) if isinstance(document, dict) else _recognise_list(document)
    return Recognised(form=found.form, why=found.why, document=document, sha256=sha256, foreign=found.foreign)


def _recognise_object(document: Mapping[str, object]) -> Recognised:
    own = next((form for name, form in _OWN.items() if name in document), None)
    if own is not None:
        return Recognised(form=own, why="JSON of edgepose")
    if other := foreign.find_document(document):
        return Recognised(form="foreign", why=other.what, foreign=other)
    annotations = document.get("annotations")
    scored = isinstance(annotations, list) and annotations and isinstance(annotations[0], dict) and {"bbox", "score"} <= set(annotations[0])
    if isinstance(document.get("images"), list) or (isinstance(annotations, list) and not scored):
        return Recognised(form="annotations", why="annotations in COCO's form")
    people = document.get("people")
    if isinstance(people, list) and (not people or (isinstance(people[0], dict) and "box_xyxy" in people[0])):
        return Recognised(form="boxes", why="people as `edgepose predict` writes them")
    if isinstance(document.get("keypoints"), list):
        return Recognised(form="skeleton", why="a skeleton: an object with keypoints")
    lists = [value for value in document.values() if isinstance(value, list)]
    for each in lists:
        if each and isinstance(each[0], dict) and "image_id" in each[0] and "bbox" in each[0]:
            return Recognised(form="detections", why="detections in COCO's form, inside an object")
    if lists and len(lists) == len(document):
        return Recognised(form="boxes", why="boxes by image")
    return Recognised(form="unknown", why=f"a JSON object of an unknown kind; its names begin {shown(list(document)[:6])}")


def _recognise_list(document: object) -> Recognised:
    if not isinstance(document, list):
        return Recognised(form="unknown", why=f"JSON that holds {shown(document)} alone")
    first = document[0] if document else []
    if isinstance(first, dict):
        names = set(first)
        if other := foreign.find_list(first):
            return Recognised(form="foreign", why=other.what, foreign=other)
        if "image_id" in names and "keypoints" in names and "score" in names:
            return Recognised(form="results", why="keypoint results in COCO's form")
        if "image_id" in names and "keypoints" in names:
            return Recognised(form="annotations", why="a list of annotations without images and categories")
        if "bbox" in names and "score" in names:
            return Recognised(form="detections", why="detections in COCO's form")
        if "image" in names and names & {"center", "joints", "scale"}:
            return Recognised(form="annotations", why="annotations in MPII's form")
        if "bbox" in names:
            return Recognised(form="boxes", why="boxes in COCO's form")
        return Recognised(form="unknown", why=f"a JSON list of an unknown kind; the names of its first object: {shown(list(first)[:6])}")
    if isinstance(first, list):
        return Recognised(form="boxes", why="boxes for every image")
    return Recognised(form="unknown", why=f"a JSON list of an unknown kind; it begins with {shown(first)}")


def _recognise_toml(path: Path) -> Recognised | None:
    try:
        content = path.read_bytes() if path.stat().st_size <= _HEAD_BYTES else b""
        document = parse_toml(content, where=str(path)) if re.search(rb"^\s*[\w.\"-]+\s*=", content, re.MULTILINE) else {}
    except (OSError, SpecError):
        return Recognised(form="recipe", why="a training recipe") if path.suffix == ".toml" else None
    if set(document) & _RECIPE_PARTS:
        return Recognised(form="recipe", why="a training recipe")
    return Recognised(form="unknown", why="TOML that isn't a training recipe") if document else None
