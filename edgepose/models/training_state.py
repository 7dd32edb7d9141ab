"""States of training runs: tensors in PyTorch's own format, on the disk whole or not at all."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edgepose.errors import TrainingError
from edgepose.files import staged_file
from edgepose.models.pickle_scan import scan_pickle

__all__ = ["load_training_state", "save_training_state"]


def save_training_state(content: Mapping[str, object], path: Path, *, what: str) -> None:
    """Write tensors and plain values so that ``torch.load(weights_only=True)`` reads them.

    Args:
        content: by name.
        path: where to; an existing file is replaced when the new one is on the disk.
        what: how errors name it.

    Raises:
        TrainingError: it can't be written.
    """
    try:
        with staged_file(path) as staged, staged.open("wb") as stream:
            torch.save(dict(content), stream)
            stream.flush()
            os.fsync(stream.fileno())
    except (OSError, RuntimeError) as error:
        kept = f"; the {what} before it is untouched" if path.exists() else ""
        raise TrainingError(f"can't write the {what} {str(path)!r}: {error}{kept}") from None


def load_training_state(path: Path) -> dict[str, Any]:
    """Read what ``save_training_state`` wrote. The file is looked through before anything is built from it.

    Raises:
        CheckpointError: it asks for what no state needs, or is damaged.
        Exception: PyTorch has no common base for what a damaged file makes it raise.
    """
    scan_pickle(path, str(path))
    content = torch.load(path, map_location="cpu", weights_only=True)
    return dict(content)
