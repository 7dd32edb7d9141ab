"""Open a model file by what it is, or put a spec into one."""

from dataclasses import dataclass
from pathlib import Path

from edgepose.artifact import seal
from edgepose.artifact.coreml import CoreMLFormat
from edgepose.artifact.format import Embeddable, Format
from edgepose.artifact.onnx import OnnxFormat
from edgepose.artifact.openvino import OpenVINOFormat
from edgepose.artifact.safetensors import SafetensorsFormat
from edgepose.artifact.tflite import TFLiteFormat
from edgepose.errors import ArtifactError, SpecError
from edgepose.spec import ModelSpec

__all__ = ["FORMATS", "Artifact", "Sealed", "embed_spec", "open_artifact", "open_sealed"]

FORMATS: tuple[Format, ...] = (TFLiteFormat(), SafetensorsFormat(), OpenVINOFormat(), OnnxFormat(), CoreMLFormat())
_HEAD_BYTES = 4096
_PICKLE_ARCHIVES = (b"PK\x03\x04", b"\x80\x02")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A model file whose bytes have been checked.

    Attributes:
        path: the file (or the package folder).
        format: ``onnx``, ``openvino``, ``litert``, ``coreml`` or ``safetensors``.
        spec: what it carries.
        files: every file that belongs to it.
        sha256: the content hash of all of them, in hex.
    """

    path: Path
    format: str
    spec: ModelSpec
    files: tuple[Path, ...]
    sha256: str

    @property
    def size_bytes(self) -> int:
        """Size of all files."""
        return sum(file.stat().st_size for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A file whose bytes are as they were sealed, whatever it holds.

    Attributes:
        path: the file (or the package folder).
        form: its format.
        files: every file that belongs to it.
        document: the JSON text in it, or ``None`` where it carries none and nothing was checked.
        sha256: the content hash of all files, in hex; empty without a document.
    """

    path: Path
    form: Format
    files: tuple[Path, ...]
    document: str | None
    sha256: str


def open_sealed(path: str | Path) -> Sealed:
    """Recognise a file by its content, and check its content hash where it has one.

    Raises:
        ArtifactError: there is no such file, it is of no known format, or can't be read.
        IntegrityError: its bytes have changed since it was sealed.
    """
    path = Path(path)
    try:
        found = _recognise(path)
        files = found.files(path)
        location = found.locate(path)
        if location is None:
            return Sealed(path=path, form=found, files=files, document=None, sha256="")
        return Sealed(path=path, form=found, files=files, document=location.spec, sha256=seal.check(path, files, location))
    except OSError as error:
        raise ArtifactError(f"{path}: can't be read: {error.strerror or error}") from None


def open_artifact(path: str | Path) -> Artifact:
    """Recognise a model file by its content, check its content hash, read its spec and compare what it holds with that.

    Raises:
        ArtifactError: there is no such file, it is of no known format, carries no spec, its spec can't be read or describes another network
            than it holds, or it names files, operators or sizes that no file of edgepose has.
        IntegrityError: its bytes have changed since it was sealed.
    """
    sealed = open_sealed(path)
    path, found = sealed.path, sealed.form
    if sealed.document is None:
        raise ArtifactError(
            f"{path}: a {found.name} file without an edgepose spec: it wasn't written by edgepose, or another tool dropped its "
            "metadata. Convert the checkpoint with: edgepose convert"
        )
    try:
        spec = ModelSpec.from_json(sealed.document, where="the embedded spec")
        found.check(path, sealed.files, spec)
    except SpecError as error:
        raise ArtifactError(f"{path}: {error}") from None
    except OSError as error:
        raise ArtifactError(f"{path}: can't be read: {error.strerror or error}") from None
    return Artifact(path=path, format=found.name, spec=spec, files=sealed.files, sha256=sealed.sha256)


def embed_spec(path: str | Path, spec: Embeddable) -> str:
    """Write ``spec`` into a model file, replacing one that is there, and seal the file with the hash of its content.

    Args:
        path: the file.
        spec: a ``ModelSpec``, or a detector's.

    Returns:
        The content hash, in hex.

    Raises:
        ArtifactError: the file is of no known format, or broken.
    """
    path = Path(path)
    found = _recognise(path)
    found.write(path, spec.to_json())
    location = found.locate(path)
    if location is None:
        raise ArtifactError(f"{path}: the spec can't be read back")
    return seal.stamp(path, found.files(path), location)


def _recognise(path: Path) -> Format:
    if path.is_dir():
        head = b""
    elif path.is_file():
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
        if not head:
            raise ArtifactError(f"{path}: the file is empty")
    else:
        raise ArtifactError(f"{path}: no such file")
    for candidate in FORMATS:
        if candidate.matches(path, head):
            return candidate
    if head.startswith(_PICKLE_ARCHIVES):
        raise ArtifactError(f"{path}: a training checkpoint, not a device file: convert it first with: edgepose convert {path}")
    if path.suffix == ".bin" and path.with_suffix(".xml").is_file():
        raise ArtifactError(f"{path}: the weights of an OpenVINO model: name {path.with_suffix('.xml').name} instead")
    known = "OpenVINO .xml, ONNX .onnx, TFLite .tflite, Core ML .mlpackage, edgepose .safetensors"
    raise ArtifactError(f"{path}: not a model file that edgepose knows (by its content); known: {known}")
