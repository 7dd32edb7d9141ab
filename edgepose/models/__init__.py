"""ViTPose in torch, and its checkpoints: host only.

Names are imported when they are first used, so that ``edgepose.models.sizes`` and ``edgepose.models.datasets`` can be read without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgepose.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from edgepose.models.fold import for_export
    from edgepose.models.vitpose import ViTPose, VitPoseConfig

__all__ = ["Checkpoint", "ViTPose", "VitPoseConfig", "for_export", "load_checkpoint", "save_checkpoint"]

_HOMES = {
    "Checkpoint": "checkpoint",
    "ViTPose": "vitpose",
    "VitPoseConfig": "vitpose",
    "for_export": "fold",
    "load_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
