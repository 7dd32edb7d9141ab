"""ONNX: spec and content hash are entries of ``ModelProto.metadata_props``; weights above 2 GiB stand beside, in ``NAME.onnx.data``."""

from collections.abc import Sequence
from pathlib import Path

from edgepose.artifact.format import Location
from edgepose.artifact.onnx_graph import check_onnx
from edgepose.artifact.protobuf_format import append_entries, locate_entries
from edgepose.errors import ArtifactError
from edgepose.spec import ModelSpec

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
        if not data.is_file() and not data.is_symlink():
            return (path,)
        # The graph names this file. A link would let it stand, or be changed, elsewhere; ONNX Runtime follows neither kind.
        if data.is_symlink() or data.stat().st_nlink > 1:
            raise ArtifactError(f"{data}: a link, symbolic or hard, to a file elsewhere; copy the weights of {path.name} to their place")
        return path, data

    def locate(self, path: Path) -> Location | None:
        """Find the entries of ``metadata_props``."""
        return locate_entries(path, _METADATA_PROPS)

    def check(self, path: Path, files: Sequence[Path], spec: ModelSpec) -> None:
        """Read the graph."""
        check_onnx(path, files, spec)

    def write(self, path: Path, spec: str) -> None:
        """Append the entries."""
        append_entries(path, _METADATA_PROPS, spec)
