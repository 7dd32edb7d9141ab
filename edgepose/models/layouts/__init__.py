"""Checkpoint layouts: one file for each way of naming ViTPose's tensors; the tensors' names tell which, never the file's."""

from edgepose.errors import CheckpointError
from edgepose.models.layouts.edgepose import EdgePoseLayout
from edgepose.models.layouts.huggingface import HuggingFaceLayout
from edgepose.models.layouts.layout import Layout, Reading
from edgepose.models.layouts.mmpose import MMPoseLayout
from edgepose.models.layouts.vitpose import VitPoseLayout
from edgepose.models.unwrapping import is_bare_backbone
from edgepose.models.weights import WeightFile

__all__ = ["LAYOUTS", "Layout", "Reading", "recognise"]

LAYOUTS: tuple[Layout, ...] = (HuggingFaceLayout(), MMPoseLayout(), VitPoseLayout(), EdgePoseLayout())


def recognise(file: WeightFile) -> Layout:
    """Return the layout of ``file``.

    Raises:
        CheckpointError: it is of none that is known.
    """
    for layout in LAYOUTS:
        if layout.matches(file):
            return layout
    if is_bare_backbone(file.tensors):
        raise CheckpointError(
            f"{file.where}: holds a ViT's backbone alone, without a head that makes heatmaps: training can start from it "
            "(edgepose distill, student.init), but there is nothing to convert"
        )
    names = list(file.tensors)
    raise CheckpointError(
        f"{file.where}: not a ViTPose of a known layout; it has {len(names)} tensors, e.g. {', '.join(map(repr, names[:3])) or 'none'}. "
        f"Known layouts: {', '.join(layout.name for layout in LAYOUTS)}"
    )
