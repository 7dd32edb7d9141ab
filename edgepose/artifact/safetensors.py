"""Safetensors checkpoints of edgepose itself: spec and content hash are metadata entries of the file's JSON header."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgepose.artifact.format import MAX_DOCUMENT_BYTES, SEAL_KEY, SPEC_KEY, UNSEALED, Location
from edgepose.artifact.safetensors_header import check_tensors
from edgepose.document import parse_json
from edgepose.errors import ArtifactError, SpecError
from edgepose.files import staged_file
from edgepose.spec import ModelSpec

__all__ = ["SafetensorsFormat"]

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 64 << 20
_SPEC = re.compile(rb'"edgepose\.spec":"((?:[^"\\]|\\.)*)"')
_SEAL = re.compile(rb'"edgepose\.sha256":"([0-9a-f]{64})"')


class SafetensorsFormat:
    """``.safetensors`` files."""

    name = "safetensors"
    suffix = ".safetensors"

    def matches(self, path: Path, head: bytes) -> bool:
        """A header length, then a JSON object."""
        return len(head) > _LENGTH_BYTES and head[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{" and not path.is_dir()

    def files(self, path: Path) -> tuple[Path, ...]:
        """The one file."""
        return (path,)

    def locate(self, path: Path) -> Location | None:
        """Find the metadata entries."""
        header = self._header(path)
        specs, seals = list(_SPEC.finditer(header)), list(_SEAL.finditer(header))
        if not specs and not seals:
            return None
        if len(specs) != 1 or len(seals) != 1:
            raise ArtifactError(f"{path}: holds {len(specs)} embedded specs and {len(seals)} content hashes; expected one of each")
        try:
            text = str(parse_json(b'"' + specs[0].group(1) + b'"', where="the embedded spec"))
        except SpecError:
            raise ArtifactError(f"{path}: the embedded spec is damaged") from None
        if len(text) > MAX_DOCUMENT_BYTES:
            raise ArtifactError(f"{path}: the embedded spec has {len(text)} bytes; allowed: {MAX_DOCUMENT_BYTES}")
        return Location(carrier=path, spec=text, seal=_LENGTH_BYTES + seals[0].start(1))

    def check(self, path: Path, files: Sequence[Path], spec: ModelSpec) -> None:
        """Compare names and shapes of the tensors with the network that the spec describes."""
        del files
        header = self._header(path)
        check_tensors(path, header, path.stat().st_size - _LENGTH_BYTES - len(header), spec)

    def write(self, path: Path, spec: str) -> None:
        """Replace the metadata entries; the file is rewritten beside and renamed."""
        header = self._header(path)
        try:
            content: Any = parse_json(header, where="the header")
        except SpecError:
            raise ArtifactError(f"{path}: not a safetensors file: its header isn't JSON") from None
        content["__metadata__"] = content.get("__metadata__", {}) | {SEAL_KEY: UNSEALED, SPEC_KEY: spec}
        new = json.dumps(content, separators=(",", ":")).encode("ascii")
        new += b" " * (-len(new) % 8)
        with staged_file(path) as staged, path.open("rb") as source, staged.open("wb") as target:
            source.seek(_LENGTH_BYTES + len(header))
            target.write(len(new).to_bytes(_LENGTH_BYTES, "little") + new)
            shutil.copyfileobj(source, target, 4 << 20)

    def _header(self, path: Path) -> bytes:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
            if length > min(_MAX_HEADER_BYTES, path.stat().st_size - _LENGTH_BYTES):
                raise ArtifactError(f"{path}: not a safetensors file, or cut short: its header claims {length} bytes")
            return stream.read(length)
