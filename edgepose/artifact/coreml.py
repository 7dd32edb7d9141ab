"""Core ML packages: spec and content hash are entries of ``Model.description.metadata.userDefined`` in the package's ``model.mlmodel``."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from edgepose.artifact.coreml_graph import check_coreml
from edgepose.artifact.format import MAX_DOCUMENT_BYTES, Location
from edgepose.artifact.protobuf_format import append_entries, locate_entries
from edgepose.document import parse_json
from edgepose.errors import ArtifactError, SpecError
from edgepose.spec import ModelSpec

__all__ = ["CoreMLFormat", "find_inside", "find_model"]

_USER_DEFINED = (2, 100, 100)
_MAX_FILES = 64
_MANIFEST = "Manifest.json"
_SHOWN_LETTERS = 200


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

    def check(self, path: Path, files: Sequence[Path], spec: ModelSpec) -> None:
        """Read manifest and program."""
        linked = [file for file in files if file.stat().st_nlink > 1]
        if linked:
            raise ArtifactError(f"{path}: {linked[0].relative_to(path)} is a hard link to a file elsewhere; copy the package")
        _check_manifest(path)
        check_coreml(path, spec)

    def write(self, path: Path, spec: str) -> None:
        """Append the entries."""
        append_entries(find_model(path), _USER_DEFINED, spec)


def find_model(package: Path) -> Path:
    """Return the ``model.mlmodel`` that the package's manifest names.

    Raises:
        ArtifactError: the manifest is missing or damaged, or names a file outside the package or one that isn't there.
    """
    items, root = _read_manifest(package)
    return find_inside(package / "Data", items[root], package / _MANIFEST)


def _read_manifest(package: Path) -> tuple[dict[str, str], str]:
    """Return the paths of the package's items, and the key of the model's."""
    manifest = package / _MANIFEST
    if not manifest.is_file():
        raise ArtifactError(f"{package}: not a Core ML package: it has no {_MANIFEST}")
    try:
        if manifest.stat().st_size > MAX_DOCUMENT_BYTES:
            raise ArtifactError(f"{manifest}: is {manifest.stat().st_size} bytes; no manifest is that large")
        content: Any = parse_json(manifest.read_bytes(), where="the manifest")
        items = {str(key): str(item["path"]) for key, item in content["itemInfoEntries"].items()}
        root = str(content["rootModelIdentifier"])
        if root not in items:
            raise KeyError(root)
    except (OSError, SpecError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{manifest}: not the manifest of a Core ML package: {error!r}") from None
    return items, root


def _check_manifest(package: Path) -> None:
    """Make sure that every item is a file or folder inside the package: Core ML opens them by these names."""
    items, root = _read_manifest(package)
    for key, relative in items.items():
        if key != root:
            find_inside(package / "Data", relative, package / _MANIFEST, folders=True)


def find_inside(folder: Path, relative: str, source: Path, *, folders: bool = False) -> Path:
    """Return the file of a package that one of its files names.

    Args:
        folder: what the name is relative to; nothing outside of it is ever opened.
        relative: the name, with forward slashes.
        source: the file that names it, for error messages.
        folders: whether it may be a folder.

    Raises:
        ArtifactError: the name, or a link behind it, leads out of the folder, or there is no such file.
    """
    name = PurePosixPath(relative)
    if name.is_absolute() or ".." in name.parts or not {"\\", ":", "\0"}.isdisjoint(relative):
        raise ArtifactError(f"{source}: names {relative[:_SHOWN_LETTERS]!r}, a file outside the package")
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ArtifactError(f"{source}: names {relative[:_SHOWN_LETTERS]!r}, a link that leads out of the package")
        found = path.is_file() or (folders and path.is_dir())
    except (OSError, RuntimeError) as error:
        raise ArtifactError(f"{source}: names {relative[:_SHOWN_LETTERS]!r}, which can't be opened: {error}") from None
    if not found:
        raise ArtifactError(f"{str(path)[: 2 * _SHOWN_LETTERS]}: no such file, though {source.name} names it: the package is incomplete")
    return path
