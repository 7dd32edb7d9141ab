"""PyTorch checkpoints: the tensors in them, without running the code that a pickle can carry."""

import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from edgepose.document import describe
from edgepose.errors import CheckpointError
from edgepose.models.pickle_scan import scan_pickle

__all__ = ["read_pickle"]

_MAX_NESTING = 16
# Trainers put their settings and logs beside the weights: values of these classes are read as empty shells of our own.
_INERT = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(f"pathlib.{name}" for name in ("Path", "PurePath", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
    *(f"pathlib._local.{name}" for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
    *(f"datetime.{name}" for name in ("datetime", "date", "timedelta")),
    *(f"omegaconf.{name}" for name in ("dictconfig.DictConfig", "listconfig.ListConfig", "base.ContainerMetadata", "base.Metadata")),
    *(f"omegaconf.nodes.{name}" for name in ("AnyNode", "StringNode", "IntegerNode", "FloatNode", "BooleanNode")),
    "typing.Any",
    "uuid.UUID",
)
_MAPPINGS = (
    "collections.defaultdict",
    "mmengine.config.config.ConfigDict",
    "mmcv.utils.config.ConfigDict",
    "easydict.EasyDict",
    "addict.addict.Dict",
    "yacs.config.CfgNode",
)
_REFUSED = re.compile(r"GLOBAL (\S+)")
# The functions that rebuild arrays and scalars, asked for rather than imported: their module is private.
_NUMPY_BUILDERS: dict[str, Callable[..., object]] = {
    "_reconstruct": cast(Callable[..., object], np.empty(0).__reduce__()[0]),
    "scalar": cast(Callable[..., object], np.float64(0).__reduce__()[0]),
}
_FLOAT_AND_INTEGER_CODES = "?" + np.typecodes["AllInteger"] + np.typecodes["AllFloat"]


class _Inert:
    """Takes the place of a value that is no weight: made of anything, holding nothing."""

    def __new__(cls, *_arguments: object) -> "_Inert":
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None:
        """Forget it."""

    def __hash__(self) -> int:
        return id(self)


class _Mapping:
    """Takes the place of a kind of dict. Making one gives an ``OrderedDict``: the only kind that PyTorch's reader also gives attributes."""

    def __new__(cls, *_arguments: object) -> "OrderedDict[object, object]":  # type: ignore[misc]  # it is the point
        return OrderedDict()


def read_pickle(path: Path, where: str) -> tuple[dict[str, Tensor], Mapping[str, object]]:
    """Read a ``.pth``, ``.pt`` or ``.bin`` file of either of PyTorch's formats.

    Args:
        path: the file.
        where: how errors name it.

    Returns:
        The tensors of the container that holds the model, by name, with the names of inner containers before theirs; and the ``meta`` entry
        that OpenMMLab's files have.

    Raises:
        CheckpointError: it is damaged, asks for code to be run or for memory that no weights need, or holds no tensors.
        OSError: it can't be read.
    """
    scan_pickle(path, where)
    try:
        with torch.serialization.safe_globals(_safe_globals()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; what matters is raised
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{where}: {_explain(str(error))}") from None
    except Exception as error:  # a damaged pickle or archive can fail in any way
        raise CheckpointError(
            f"{where}: can't be read as a PyTorch checkpoint; it may be cut short or damaged ({_first_line(error)})"
        ) from None
    state = _find_state(content, where)
    meta = content.get("meta") if isinstance(content, Mapping) else None
    return state, meta if isinstance(meta, Mapping) else {}


def _safe_globals() -> list[Callable[..., object] | tuple[Callable[..., object], str]]:
    """List what a weights file may build besides tensors: the NumPy arrays in the ``meta`` of OpenMMLab's files, and inert settings."""
    dtypes = {type(np.dtype(code)) for code in _FLOAT_AND_INTEGER_CODES}
    # NumPy 2 moved numpy.core; files name either.
    moved = [(build, f"numpy.{core}.multiarray.{name}") for name, build in _NUMPY_BUILDERS.items() for core in ("core", "_core")]
    shells = [(_Inert, name) for name in _INERT] + [(_Mapping, name) for name in _MAPPINGS]
    return [np.ndarray, np.dtype, *dtypes, *moved, *shells]


def _explain(message: str) -> str:
    found = _REFUSED.search(message)
    if found is None:
        return f"a damaged pickle, or one that holds more than tensors ({_first_line(message)})"
    return (
        f"a pickle that asks for {found.group(1)!r}; refused, because building it can run any code. Only tensors, numbers, strings and "
        "NumPy arrays are read, no whole models. If you trust the file, save its state dict alone, where it was made: "
        "torch.save({'state_dict': model.state_dict()}, 'weights.pth')"
    )


def _find_state(content: object, where: str) -> dict[str, Tensor]:
    """Return every tensor in a checkpoint, the names of the containers that it lies in before its own."""
    if not isinstance(content, Mapping | list | tuple):
        kind = "settings" if isinstance(content, _Inert) else f"a {type(content).__name__}"
        raise CheckpointError(f"{where}: holds {kind}, not a state dict (names and their tensors)")
    state: dict[str, Tensor] = {}
    _collect(content, "", state, seen=set())
    if not state:
        keys = ", ".join(map(describe, list(content)[:5])) or "nothing"
        raise CheckpointError(f"{where}: holds no tensors; its top level has {keys}")
    return state


def _collect(container: object, prefix: str, state: dict[str, Tensor], *, seen: set[int], depth: int = 0) -> None:
    """Add the tensors below ``container``; each container is looked into once, or lists of lists would never end."""
    if id(container) in seen or depth > _MAX_NESTING:
        return
    seen.add(id(container))
    items = container.items() if isinstance(container, Mapping) else enumerate(container) if isinstance(container, list | tuple) else ()
    for key, value in items:
        if isinstance(value, Tensor):
            state[f"{prefix}{key}"] = value
        elif isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.dtype.itemsize <= 8:
            # Weights that went through NumPy; torch wants its own order of bytes, and memory that it may write to.
            state[f"{prefix}{key}"] = torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
        elif isinstance(value, Mapping | list | tuple):
            _collect(value, f"{prefix}{key}.", state, seen=seen, depth=depth + 1)


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
