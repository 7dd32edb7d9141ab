"""A ViTPose as teacher: its heatmaps are what the student is to give, on every batch anew."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgepose.distillation.knowledge import forward_with_token
from edgepose.distillation.mapping import map_names
from edgepose.distillation.photometric import normalize
from edgepose.distillation.targets import SIGMA
from edgepose.errors import InputError
from edgepose.models import Checkpoint
from edgepose.skeleton import Skeleton

__all__ = ["HeatmapTeacher"]


class HeatmapTeacher(nn.Module):
    """A frozen ViTPose with its keypoints in the student's order.

    Args:
        checkpoint: the teacher.
        skeleton: the student's keypoints.

    Raises:
        InputError: it lacks keypoints that the student has, or its heatmaps mean other places.
    """

    def __init__(self, checkpoint: Checkpoint, skeleton: Skeleton) -> None:
        super().__init__()
        spec = checkpoint.spec
        self._rows = list(map_names(spec.skeleton, skeleton, who=f"the teacher {spec.name!r}"))
        if spec.codec.kind != "udp":
            raise InputError(
                f"the teacher {spec.name!r} was trained with the codec {spec.codec.kind!r}; its heatmaps lie up to a pixel beside those of "
                "the student, which are 'udp'. Take a head trained with UDP, e.g. COCO's"
            )
        self.spec = spec
        self.model = checkpoint.model.eval().requires_grad_(False)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its input."""
        return self.spec.input.height, self.spec.input.width

    def forward(self, images: Tensor, heatmap_size: tuple[int, int], token: Tensor | None = None) -> Tensor:
        """Return heatmaps (N, K, height, width) for the student.

        Args:
            images: (N, H, W, 3) in 0…255, of any size.
            heatmap_size: height and width of the student's heatmaps.
            token: (1, 1, C) appended to the teacher's own tokens.
        """
        x = _resample(normalize(images, self.spec.input), self.size)
        heatmaps = self.model(x) if token is None else forward_with_token(self.model, x, token)
        heatmaps = heatmaps[:, self._rows].float()
        return _resample(_widen(heatmaps, (heatmaps.shape[-2] - 1) / (heatmap_size[0] - 1)), heatmap_size)


def _widen(heatmaps: Tensor, shrink: float) -> Tensor:
    """Blur heatmaps that are to be made ``shrink`` times smaller, so that peaks are then as wide and high as targets drawn at that size.

    A Gaussian of variance v, blurred with variance w, has variance v + w and v / (v + w) of its height.
    """
    if shrink <= 1:
        return heatmaps
    sigma = SIGMA * math.sqrt(shrink**2 - 1)
    reach = math.ceil(3 * sigma)
    offsets = torch.arange(-reach, reach + 1, device=heatmaps.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(heatmaps.dtype)
    single = heatmaps.reshape(-1, 1, *heatmaps.shape[-2:])
    single = F.conv2d(single, kernel.reshape(1, 1, -1, 1), padding=(reach, 0))
    single = F.conv2d(single, kernel.reshape(1, 1, 1, -1), padding=(0, reach))
    return single.reshape(heatmaps.shape) * shrink**2


def _resample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (N, C, H, W). UDP puts the centres of the corner pixels on the corners of the box, in crops and heatmaps of any size."""
    if tuple(x.shape[-2:]) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)
