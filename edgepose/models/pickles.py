"""PyTorch checkpoints: the tensors in them, without running the code that a pickle can carry."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from edgepose.errors import CheckpointError

__all__ = ["read_pickle"]

# Where trainers keep the weights, the best known first: mmengine swaps averaged weights into "state_dict" before it saves.
_CONTAINERS = ("state_dict", "model_state_dict", "model", "module", "ema_state_dict", "state_dict_ema", "model_ema")
_WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.", "ema_model.", "ema.")
_AVERAGING_COUNTERS = frozenset({"steps", "n_averaged"})
_REFUSED = re.compile(r"GLOBAL (\S+)")
# The functions that rebuild arrays and scalars, asked for rather than imported: their module is private.
_NUMPY_BUILDERS: dict[str, Callable[..., object]] = {
    "_reconstruct": cast(Callable[..., object], np.empty(0).__reduce__()[0]),
    "scalar": cast(Callable[..., object], np.float64(0).__reduce__()[0]),
}
_FLOAT_AND_INTEGER_CODES = "?" + np.typecodes["AllInteger"] + np.typecodes["AllFloat"]


class _TrainingLog:
    """Takes the place of mmengine's ``HistoryBuffer``, the log that an unpublished checkpoint keeps beside its weights."""


def read_pickle(path: Path, where: str) -> tuple[dict[str, Tensor], Mapping[str, object]]:
    """Read a ``.pth``, ``.pt`` or ``.bin`` file of either of PyTorch's formats.

    Args:
        path: the file.
        where: how errors name it.

    Returns:
        The state dict, with the prefixes of wrappers (``module.``) taken off, and the ``meta`` entry that OpenMMLab's files have.

    Raises:
        CheckpointError: it is damaged, asks for code to be run, or holds no tensors.
    """
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
    meta = content.get("meta")
    return _strip_prefixes(state), meta if isinstance(meta, Mapping) else {}


def _safe_globals() -> list[Callable[..., object] | tuple[Callable[..., object], str]]:
    """List what a weights file may build besides tensors: the NumPy arrays in the ``meta`` of OpenMMLab's files, and inert logs."""
    dtypes = {type(np.dtype(code)) for code in _FLOAT_AND_INTEGER_CODES}
    # NumPy 2 moved numpy.core; files name either.
    moved = [(build, f"numpy.{core}.multiarray.{name}") for name, build in _NUMPY_BUILDERS.items() for core in ("core", "_core")]
    return [np.ndarray, np.dtype, *dtypes, *moved, (_TrainingLog, "mmengine.logging.history_buffer.HistoryBuffer")]


def _explain(message: str) -> str:
    found = _REFUSED.search(message)
    if found is None:
        return f"a damaged pickle, or one that holds more than tensors ({_first_line(message)})"
    return (
        f"a pickle that asks for {found.group(1)!r}; refused, because building it can run any code. Only tensors, numbers, strings and "
        "NumPy arrays are read. If you trust the file, save its state dict alone, where it was made: "
        "torch.save({'state_dict': model.state_dict()}, 'weights.pth')"
    )


def _find_state(content: object, where: str) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{where}: holds a {type(content).__name__}, not a state dict (names and their tensors)")
    inner = [content[key] for key in _CONTAINERS if isinstance(content.get(key), Mapping)]
    candidates = [content, *inner]
    state = next((found for found in candidates if any(isinstance(value, Tensor) for value in found.values())), None)
    if state is None:
        keys = ", ".join(map(repr, list(content)[:5])) or "nothing"
        raise CheckpointError(
            f"{where}: holds no tensors; its top level has {keys}. Weights are looked for there and in {', '.join(_CONTAINERS)}"
        )
    stray = [key for key, value in state.items() if not isinstance(key, str) or not isinstance(value, Tensor)]
    if stray:
        kind = type(state[stray[0]]).__name__
        raise CheckpointError(f"{where}: its state dict has {len(stray)} entries that aren't tensors, e.g. {stray[0]!r} ({kind})")
    return dict(state)


def _strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off what DataParallel, torch.compile and weight averaging put before every name, and the counter that averaging adds."""
    state = {name: tensor for name, tensor in state.items() if name not in _AVERAGING_COUNTERS}
    while prefix := next((prefix for prefix in _WRAPPER_PREFIXES if state and all(name.startswith(prefix) for name in state)), None):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
