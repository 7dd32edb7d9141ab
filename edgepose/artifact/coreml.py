"""Core ML packages: spec and content hash are entries of ``Model.description.metadata.userDefined`` in the package's ``model.mlmodel``."""

from pathlib import Path, PurePosixPath
from typing import Any

from edgepose.artifact.format import MAX_DOCUMENT_BYTES, Location
from edgepose.artifact.protobuf_format import append_entries, locate_entries
from edgepose.document import parse_json
from edgepose.errors import ArtifactError, SpecError

__all__ = ["CoreMLFormat", "find_inside", "find_model"]

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
        return locate_entries(find_model(path), _USER_DEFINED)

    def write(self, path: Path, spec: str) -> None:
        """Append the entries."""
        append_entries(find_model(path), _USER_DEFINED, spec)


def find_model(package: Path) -> Path:
    """Return the ``model.mlmodel`` that the package's manifest names.

    Raises:
        ArtifactError: the manifest is missing or damaged, or names a file outside the package or one that isn't there.
    """
    manifest = package / "Manifest.json"
    if not manifest.is_file():
        raise ArtifactError(f"{package}: not a Core ML package: it has no Manifest.json")
    try:
        if manifest.stat().st_size > MAX_DOCUMENT_BYTES:
            raise ArtifactError(f"{manifest}: is {manifest.stat().st_size} bytes; no manifest is that large")
        content: Any = parse_json(manifest.read_bytes(), where="the manifest")
        relative = str(content["itemInfoEntries"][content["rootModelIdentifier"]]["path"])
    except (OSError, SpecError, KeyError, TypeError) as error:
        raise ArtifactError(f"{manifest}: not the manifest of a Core ML package: {error!r}") from None
    return find_inside(package / "Data", relative, manifest)


def find_inside(folder: Path, relative: str, source: Path) -> Path:
    """Return the file of a package that one of its files names.

    Args:
        folder: what the name is relative to; nothing outside of it is ever opened.
        relative: the name, with forward slashes.
        source: the file that names it, for error messages.

    Raises:
        ArtifactError: the name, or a link behind it, leads out of the folder, or there is no such file.
    """
    name = PurePosixPath(relative)
    if name.is_absolute() or ".." in name.parts or not {"\\", ":", "\0"}.isdisjoint(relative):
        raise ArtifactError(f"{source}: names {relative!r}, a file outside the package")
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ArtifactError(f"{source}: names {relative!r}, a link that leads out of the package")
        found = path.is_file()
    except (OSError, RuntimeError) as error:
        raise ArtifactError(f"{source}: names {relative!r}, which can't be opened: {error}") from None
    if not found:
        raise ArtifactError(f"{path}: no such file, though {source.name} names it: the package is incomplete")
    return path
