"""The knowledge token of ViTPose (arXiv 2204.12484, section 3.4; there is no public code of it).

A learnable token is appended to the visual tokens of the frozen, trained teacher and optimised for the teacher's own loss:
``t* = argmin_t MSE(T({t; X}), labels)``. Frozen, it is appended to the student's tokens while that trains. Two things that the paper leaves
open are decided here. A teacher's token is wider than a student's: a linear map, trained with the student, fits it. And an exported network
is to stay a plain ViTPose: the last phases of a recipe train without the token (``token = false``), so that nothing is missing when it is
gone; the log holds the scores with and without it.
"""

import torch
from torch import Tensor, nn

from edgepose.models import ViTPose

__all__ = ["Knowledge", "TokenStudent", "forward_with_token"]


def forward_with_token(model: ViTPose, images: Tensor, token: Tensor) -> Tensor:
    """Run a ViTPose with one more token behind the visual ones; the head sees the visual ones alone.

    Args:
        model: the network.
        images: (N, 3, H, W) normalized.
        token: (1, 1, C).

    Returns:
        Heatmaps (N, K, H/4, W/4).
    """
    backbone = model.backbone
    visual = backbone.embed(images)
    tokens = torch.cat([visual, token.to(visual.dtype).expand(len(visual), -1, -1)], dim=1)
    for block in backbone.blocks:
        tokens = block(tokens)
    heatmaps: Tensor = model.head(backbone.unembed(tokens[:, :-1]))
    return heatmaps


class Knowledge(nn.Module):
    """A teacher's frozen token, and the map that fits it to the student's width.

    Args:
        token: (1, 1, C) of the teacher.
        dim: channels of the student.
    """

    token: Tensor

    def __init__(self, token: Tensor, dim: int) -> None:
        super().__init__()
        self.register_buffer("token", token.detach().clone())
        self.fit = nn.Linear(token.shape[-1], dim, bias=False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            nn.init.orthogonal_(self.fit.weight)

    def forward(self) -> Tensor:
        """Return the student's token (1, 1, dim)."""
        fitted: Tensor = self.fit(self.token)
        return fitted


class TokenStudent(nn.Module):
    """A student with the token, as one network.

    Args:
        student: a plain ViTPose.
        knowledge: the token.
    """

    def __init__(self, student: ViTPose, knowledge: Knowledge) -> None:
        super().__init__()
        self.student = student
        self.knowledge = knowledge

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized crops (N, 3, H, W) to heatmaps (N, K, H/4, W/4)."""
        return forward_with_token(self.student, images, self.knowledge())
