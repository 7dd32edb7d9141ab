"""OpenVINO IR: spec and content hash are ``rt_info/edgepose/…`` of the ``.xml``; the weights are the ``.bin`` of the same name."""

import html
import re
from collections.abc import Sequence
from pathlib import Path

from edgepose.artifact.format import MAX_DOCUMENT_BYTES, UNSEALED, Location
from edgepose.artifact.openvino_graph import check_openvino
from edgepose.errors import ArtifactError
from edgepose.spec import ModelSpec

__all__ = ["OpenVINOFormat"]

_ENTRY = re.compile(rb'<edgepose>\s*<sha256 value="([0-9a-f]{64})"\s*/>\s*<spec value="([^"<]*)"\s*/>\s*</edgepose>\s*')
_MODEL_RT_INFO_END = re.compile(rb"</rt_info>\s*</net>\s*$")
_NET_END = re.compile(rb"</net>\s*$")
_MAX_XML_BYTES = 32 << 20


class OpenVINOFormat:
    """``.xml`` + ``.bin`` pairs."""

    name = "openvino"
    suffix = ".xml"

    def matches(self, path: Path, head: bytes) -> bool:
        """XML with a ``net`` element."""
        return head.lstrip()[:5] in (b"<?xml", b"<net ") and b"<net " in head and not path.is_dir()

    def files(self, path: Path) -> tuple[Path, ...]:
        """The graph and its weights."""
        weights = path.with_suffix(".bin")
        if not weights.is_file():
            raise ArtifactError(f"{path}: its weights {weights.name} are missing: an OpenVINO model is two files, keep them together")
        return path, weights

    def locate(self, path: Path) -> Location | None:
        """Find the attributes' values."""
        found = list(_ENTRY.finditer(self._read(path)))
        if not found:
            return None
        spec = found[0].group(2)
        if len(found) > 1 or len(spec) > MAX_DOCUMENT_BYTES:
            raise ArtifactError(f"{path}: holds {len(found)} embedded specs, the first of {len(spec)} bytes; expected one")
        try:
            text = html.unescape(spec.decode("ascii"))
        except UnicodeDecodeError:
            raise ArtifactError(f"{path}: the embedded spec is damaged") from None
        return Location(carrier=path, spec=text, seal=found[0].start(1))

    def check(self, path: Path, files: Sequence[Path], spec: ModelSpec) -> None:
        """Read the graph."""
        check_openvino(path, self._read(path), files[1], spec)

    def write(self, path: Path, spec: str) -> None:
        """Put the entries at the end of the model's ``rt_info``."""
        content = _ENTRY.sub(b"", self._read(path))
        entry = f'<edgepose><sha256 value="{UNSEALED}"/><spec value="{html.escape(spec)}"/></edgepose>'.encode("ascii")
        end = _MODEL_RT_INFO_END.search(content)
        if end is None:
            end = _NET_END.search(content)
            entry = b"<rt_info>" + entry + b"</rt_info>"
        if end is None:
            raise ArtifactError(f"{path}: not an OpenVINO model: it doesn't end with </net>")
        path.write_bytes(content[: end.start()] + entry + content[end.start() :])

    def _read(self, path: Path) -> bytes:
        size = path.stat().st_size
        if size > _MAX_XML_BYTES:
            raise ArtifactError(f"{path}: is {size} bytes; an OpenVINO graph of at most {_MAX_XML_BYTES} is read")
        return path.read_bytes()
