"""TFLite: the spec is ``edgepose.json`` in a zip appended to the flatbuffer, as TFLite's own metadata tools append files.

Interpreters ignore what follows the flatbuffer, and ``zipfile`` (or ``unzip``) reads it. The content hash is the zip's comment: the one
place in a zip that no checksum of its own covers.
"""

import mmap
import zipfile
from collections.abc import Sequence
from pathlib import Path

from edgepose.artifact.format import MAX_DOCUMENT_BYTES, SEAL_KEY, UNSEALED, Location
from edgepose.artifact.tflite_graph import check_tflite
from edgepose.errors import ArtifactError
from edgepose.spec import ModelSpec

__all__ = ["TFLiteFormat"]

_MEMBER = "edgepose.json"
_IDENTIFIER = b"TFL3"
_COMMENT = SEAL_KEY.encode("ascii") + b":"


class TFLiteFormat:
    """``.tflite`` flatbuffers."""

    name = "litert"
    suffix = ".tflite"

    def matches(self, path: Path, head: bytes) -> bool:
        """The flatbuffer's file identifier."""
        return head[4:8] == _IDENTIFIER and not path.is_dir()

    def files(self, path: Path) -> tuple[Path, ...]:
        """The one file."""
        return (path,)

    def locate(self, path: Path) -> Location | None:
        """Find the zip member."""
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
                if names != [_MEMBER]:
                    return None
                member = archive.getinfo(_MEMBER)
                if member.compress_type != zipfile.ZIP_STORED or member.file_size > MAX_DOCUMENT_BYTES:
                    raise ArtifactError(f"{path}: its {_MEMBER} is compressed, or larger than {MAX_DOCUMENT_BYTES} bytes")
                text = archive.read(member).decode("ascii")
                comment = archive.comment
        except zipfile.BadZipFile:
            if zipfile.is_zipfile(path):
                raise ArtifactError(f"{path}: the embedded spec is damaged") from None
            return None
        except (UnicodeDecodeError, NotImplementedError, RuntimeError, EOFError, OSError) as error:
            raise ArtifactError(f"{path}: the embedded spec is damaged: {error}") from None
        if not comment.startswith(_COMMENT) or len(comment) != len(_COMMENT) + len(UNSEALED):
            raise ArtifactError(f"{path}: the content hash in it is damaged")
        return Location(carrier=path, spec=text, seal=path.stat().st_size - len(UNSEALED))

    def check(self, path: Path, files: Sequence[Path], spec: ModelSpec) -> None:
        """Read the flatbuffer in front of the zip."""
        del files
        with zipfile.ZipFile(path) as archive:
            end = archive.getinfo(_MEMBER).header_offset
        with path.open("rb") as stream:
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        check_tflite(path, memoryview(content)[:end], spec)

    def write(self, path: Path, spec: str) -> None:
        """Append the zip, after cutting off one that is there."""
        if self.locate(path) is not None:
            with zipfile.ZipFile(path) as archive:
                start = archive.getinfo(_MEMBER).header_offset
            with path.open("r+b") as stream:
                stream.truncate(start)
        # A fixed date: the same model gives the same bytes.
        member = zipfile.ZipInfo(_MEMBER, date_time=(1980, 1, 1, 0, 0, 0))
        with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
            archive.writestr(member, spec)
            archive.comment = _COMMENT + UNSEALED.encode("ascii")
