"""Weights by name: which there are, and where they lie.

They travel in a distribution of their own, ``edgepose-weights``, so that what a device installs stays small. A checkout of edgepose uses
the files in it. Which file a name means is pinned here, by its SHA-256.
"""

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from edgepose.errors import InputError, IntegrityError

__all__ = ["WEIGHTS", "Weights", "find_weights", "has_weights"]

_PACKAGE = "edgepose_weights"
_CHECKOUT = Path(__file__).parents[1] / "weights" / _PACKAGE


_OTHER = (
    "it isn't the file that this edgepose knows, but damaged or of another version. Install it again: "
    "pip install --force-reinstall edgepose-weights"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A file of the distribution.

    Attributes:
        file: its path in the package.
        sha256: of its bytes, in hex.
        size_bytes: how many they are.
        kind: what it is for: ``detector``.
        title: what it is, in words.
        licence: of the weights: an SPDX id, or in words.
        source: the project that published it.
    """

    file: str
    sha256: str
    size_bytes: int
    kind: str
    title: str
    licence: str
    source: str


WEIGHTS: Mapping[str, Weights] = MappingProxyType(
    {
        "rtmdet-nano": Weights(
            file="detectors/rtmdet-nano.onnx",
            sha256="4720eda18a18402e7b76d85827d4bc60fba18111fc0b74b559e4d24da9ddc3d2",
            size_bytes=4_038_157,
            kind="detector",
            title="RTMDet-nano for people (OpenMMLab)",
            licence="Apache-2.0",
            source="https://github.com/open-mmlab/mmpose",
        ),
        "yolox-nano": Weights(
            file="detectors/yolox-nano.onnx",
            sha256="c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d",
            size_bytes=3_659_407,
            kind="detector",
            title="YOLOX-nano (Megvii), of whose classes people are taken",
            licence="Apache-2.0",
            source="https://github.com/Megvii-BaseDetection/YOLOX",
        ),
    }
)


def find_weights(name: str) -> Path:
    """Return the file that a name means, whole and unchanged.

    Raises:
        InputError: no such name, or the distribution isn't installed.
        IntegrityError: the file isn't the one that is meant.
    """
    if name not in WEIGHTS:
        raise InputError(f"there are no weights called {name!r}; known: {', '.join(WEIGHTS)}")
    weights = WEIGHTS[name]
    path = _locate(weights)
    if path is None:
        raise InputError(
            f"the weights {name!r} ({weights.title}) aren't here: they come with the distribution edgepose-weights: "
            "pip install edgepose-weights, or from a checkout of edgepose: pip install ./weights"
        )
    _check(path, weights)
    return path


def has_weights(name: str) -> bool:
    """Say whether the file that a name means is on this machine; whether it is whole, ``find_weights`` looks."""
    return _locate(WEIGHTS[name]) is not None


def _locate(weights: Weights) -> Path | None:
    return next((folder / weights.file for folder in _list_folders() if (folder / weights.file).is_file()), None)


def _list_folders() -> list[Path]:
    """The checkout's, then the installed distribution's."""
    found = importlib.util.find_spec(_PACKAGE)
    installed = [Path(place) for place in found.submodule_search_locations or ()] if found else []
    return [_CHECKOUT, *installed]


@cache
def _check(path: Path, weights: Weights) -> None:
    """Once for each file and process."""
    size = path.stat().st_size
    if size != weights.size_bytes:
        raise IntegrityError(f"{path}: has {size} bytes, not {weights.size_bytes}: {_OTHER}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != weights.sha256:
        raise IntegrityError(f"{path}: its SHA-256 is {found[:12]}…, not {weights.sha256[:12]}…: {_OTHER}")
