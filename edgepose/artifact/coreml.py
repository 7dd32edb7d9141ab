"""Core ML packages: spec and content hash are entries of ``Model.description.metadata.userDefined`` in the package's ``model.mlmodel``."""

import json
from pathlib import Path, PurePosixPath

from edgepose.artifact.format import MAX_DOCUMENT_BYTES, Location
from edgepose.artifact.protobuf_format import append_entries, locate_entries
from edgepose.errors import ArtifactError

__all__ = ["CoreMLFormat"]

_USER_DEFINED = (2, 100, 100)
_MAX_FILES = 64


class CoreMLFormat:
    """``.mlpackage`` folders."""

    name = "coreml"
    suffix = ".mlpackage"

    def matches(self, path: Path, head: bytes) -> bool:
        """A folder with a manifest."""
        return not head and path.is_dir() and (path / "Manifest.json").is_file()

    def files(self, path: Path) -> tuple[Path, ...]:
        """Every file of the package."""
        found = []
        for file in sorted(path.rglob("*")):
            if file.is_symlink():
                raise ArtifactError(f"{path}: holds the symbolic link {file.relative_to(path)}; a package is made of plain files")
            if file.is_file():
                found.append(file)
            if len(found) > _MAX_FILES:
                raise ArtifactError(f"{path}: holds more than {_MAX_FILES} files; a Core ML package that edgepose wrote has three")
        return tuple(found)

    def locate(self, path: Path) -> Location | None:
        """Find the entries of the user-defined metadata."""
        return locate_entries(self._model(path), _USER_DEFINED)

    def write(self, path: Path, spec: str) -> None:
        """Append the entries."""
        append_entries(self._model(path), _USER_DEFINED, spec)

    def _model(self, path: Path) -> Path:
        manifest = path / "Manifest.json"
        try:
            if manifest.stat().st_size > MAX_DOCUMENT_BYTES:
                raise ArtifactError(f"{manifest}: is {manifest.stat().st_size} bytes; no manifest is that large")
            content = json.loads(manifest.read_bytes())
            relative = PurePosixPath(content["itemInfoEntries"][content["rootModelIdentifier"]]["path"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ArtifactError(f"{manifest}: not the manifest of a Core ML package: {error!r}") from None
        if relative.is_absolute() or ".." in relative.parts:
            raise ArtifactError(f"{manifest}: names {str(relative)!r}, a file outside the package")
        model = path / "Data" / relative
        if not model.is_file():
            raise ArtifactError(f"{path}: lacks {model.relative_to(path)}: the package is incomplete")
        return model
