"""What the text of a training configuration says, which OpenMMLab's trainers keep in ``meta`` beside the weights.

mmpose 1.x stores it as ``cfg``, mmpose 0.x, and so the original, as ``config``. It is Python code: a few plain facts are looked for in it,
nothing is run.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgepose.models.vitpose import PATCH

__all__ = ["TrainingConfig", "read_training_config"]

_MAX_CHARACTERS = 1 << 20
# Width first, as OpenMMLab writes sizes.
_SIZE = re.compile(r"\b(?:input_size|image_size)\s*=\s*[\[(]\s*(\d{2,4})\s*,\s*(\d{2,4})\s*[\])]")
_DATASETS = (
    ("wholebody", re.compile(r"type\s*=\s*['\"](?:TopDown)?CocoWholeBodyDataset['\"]")),
    ("coco", re.compile(r"type\s*=\s*['\"](?:TopDown)?CocoDataset['\"]")),
    ("aic", re.compile(r"type\s*=\s*['\"](?:TopDown)?AicDataset['\"]")),
    ("mpii", re.compile(r"type\s*=\s*['\"](?:TopDown)?MpiiDataset['\"]")),
    ("crowdpose", re.compile(r"type\s*=\s*['\"](?:TopDown)?CrowdPoseDataset['\"]")),
    ("ap10k", re.compile(r"type\s*=\s*['\"](?:Animal)?AP10KDataset['\"]")),
    ("apt36k", re.compile(r"type\s*=\s*['\"](?:Animal)?APT36KDataset['\"]")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """What a configuration says.

    Attributes:
        grid: rows and columns of the input's patches, or ``None``.
        codec: ``udp`` or ``standard``, or ``None``.
        dataset: the one data set that it trains on, or empty.
    """

    grid: tuple[int, int] | None = None
    codec: Literal["udp", "standard"] | None = None
    dataset: str = ""


def read_training_config(meta: Mapping[str, object]) -> TrainingConfig:
    """Look for input size, codec and data set; what is stated in two ways counts as not stated."""
    text = next((value for key in ("cfg", "config") if isinstance(value := meta.get(key), str)), "")[:_MAX_CHARACTERS]
    sizes = {(int(height), int(width)) for width, height in _SIZE.findall(text)}
    sizes = {size for size in sizes if not (size[0] % PATCH or size[1] % PATCH)}
    datasets = [name for name, pattern in _DATASETS if pattern.search(text)]
    return TrainingConfig(
        grid=next(((height // PATCH, width // PATCH) for height, width in sizes), None) if len(sizes) == 1 else None,
        codec=_read_codec(text),
        dataset=datasets[0] if len(datasets) == 1 else "",
    )


def _read_codec(text: str) -> Literal["udp", "standard"] | None:
    if "UDPHeatmap" in text or re.search(r"use_udp\s*=\s*True", text):
        return "udp"
    if "MSRAHeatmap" in text or re.search(r"use_udp\s*=\s*False", text):
        return "standard"
    return None
