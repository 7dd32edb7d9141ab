"""The packages behind the runtimes: which version is installed, and importing them with an error that says how to get them."""

import importlib
import importlib.metadata
import importlib.util
from typing import Any

from edgepose.errors import DeviceError, MissingDependencyError
from edgepose.telemetry import switch_off

__all__ = ["find_version", "import_package"]


def find_version(package: str, *, extra: str, purpose: str, distributions: tuple[str, ...] = ()) -> str:
    """Return the version of an installed package, from its metadata where it has some: importing a runtime can take seconds.

    Args:
        package: the name that is imported.
        extra: the edgepose extra that brings it.
        purpose: what it is needed for, for the error.
        distributions: the names under which it is published, where they differ from ``package``.

    Raises:
        MissingDependencyError: it isn't installed.
        DeviceError: it has no metadata (a build of one's own) and can't be imported.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingDependencyError(package, extra=extra, purpose=purpose)
    for distribution in distributions or (package,):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return str(getattr(import_package(package, extra=extra, purpose=purpose), "__version__", "unknown"))


def import_package(package: str, *, extra: str, purpose: str) -> Any:
    """Import a package, or a module of one, and return it. What it would report to its maker is off: see ``edgepose.telemetry``.

    Raises:
        MissingDependencyError: it isn't installed.
        DeviceError: it is installed, but can't be imported here.
    """
    top = package.partition(".")[0]
    switch_off()
    try:
        return importlib.import_module(package)
    except (ImportError, OSError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == top:
            raise MissingDependencyError(top, extra=extra, purpose=purpose) from None
        raise DeviceError(f"{purpose} needs the package {top!r}, which is installed but can't be imported: {error}") from None
