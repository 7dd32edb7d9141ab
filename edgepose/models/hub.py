"""Checkpoints on the Hugging Face hub."""

import re
from pathlib import Path

from edgepose.errors import CheckpointError
from edgepose.runtime.packages import import_package

__all__ = ["download", "is_hub_id"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*")
# A path that doesn't exist is more likely a typing error than a model with a file's name.
_FILE_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".onnx", ".xml", ".tflite", ".mlpackage", ".tar", ".zip")
_SAFE_FILES = ["config.json", "preprocessor_config.json", "model*.safetensors", "model*.safetensors.index.json"]
_PICKLED_FILES = ["pytorch_model*.bin", "pytorch_model*.bin.index.json"]


def is_hub_id(text: str) -> bool:
    """Say whether ``text`` has the form ``organisation/name``, and no file's suffix."""
    return _HUB_ID.fullmatch(text) is not None and not text.lower().endswith(_FILE_SUFFIXES)


def download(hub_id: str) -> Path:
    """Download a model, or find it in the local cache, and return its folder.

    Raises:
        CheckpointError: there is no network, no such model, or no right to read it.
        MissingDependencyError: ``huggingface_hub`` isn't installed.
    """
    huggingface_hub = import_package("huggingface_hub", extra="convert", purpose=f"downloading {hub_id!r}")
    try:
        folder = Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=_SAFE_FILES))
        if not any(folder.glob("*.safetensors")):
            folder = Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=[*_SAFE_FILES, *_PICKLED_FILES]))
    except Exception as error:  # whatever the network stack raises: its cause is named
        cause = str(error).strip().splitlines()
        raise CheckpointError(
            f"{hub_id!r} is no local path, and can't be had from the hub ({type(error).__name__}: {cause[0] if cause else 'no details'}). "
            "Check the spelling and the network, or name a local file or folder"
        ) from None
    return folder
