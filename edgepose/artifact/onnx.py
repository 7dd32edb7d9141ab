"""ONNX: spec and content hash are entries of ``ModelProto.metadata_props``; weights above 2 GiB stand beside, in ``NAME.onnx.data``."""

from pathlib import Path

from edgepose.artifact.format import Location
from edgepose.artifact.protobuf_format import append_entries, locate_entries

__all__ = ["OnnxFormat"]

_METADATA_PROPS = (14,)
_IR_VERSION_TAG = 0x08
_NEWEST_IR_VERSION = 64


class OnnxFormat:
    """ONNX files."""

    name = "onnx"
    suffix = ".onnx"

    def matches(self, path: Path, head: bytes) -> bool:
        """A message that begins with a small ``ir_version``."""
        return len(head) > 2 and head[0] == _IR_VERSION_TAG and 0 < head[1] < _NEWEST_IR_VERSION and not path.is_dir()

    def files(self, path: Path) -> tuple[Path, ...]:
        """The file, and its external data where it has some."""
        data = path.with_name(path.name + ".data")
        return (path, data) if data.is_file() else (path,)

    def locate(self, path: Path) -> Location | None:
        """Find the entries of ``metadata_props``."""
        return locate_entries(path, _METADATA_PROPS)

    def write(self, path: Path, spec: str) -> None:
        """Append the entries."""
        append_entries(path, _METADATA_PROPS, spec)
