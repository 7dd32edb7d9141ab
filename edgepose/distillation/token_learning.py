"""How a teacher's knowledge token is learned."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from edgepose.distillation.heatmap_teacher import HeatmapTeacher
from edgepose.distillation.losses import squared_error
from edgepose.distillation.stream import Batch
from edgepose.distillation.targets import draw_targets
from edgepose.errors import TrainingError

__all__ = ["LearnedToken", "learn_token"]

FIRST_STD = 0.02
COMPARED = 10  # batches that the teacher is measured on with and without the token


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LearnedToken:
    """The token and what it brought.

    Attributes:
        token: (1, 1, C), on the CPU.
        without: the teacher's mean loss without it, on the last batches.
        loss: its mean loss with it, on the same ones.
    """

    token: Tensor
    without: float
    loss: float


def learn_token(
    teacher: HeatmapTeacher, batches: Iterable[Batch], *, steps: int, learning_rate: float, seed: int, device: torch.device
) -> LearnedToken:
    """Learn a token on a frozen teacher with the teacher's own loss: squared error to the labels' heatmaps.

    Args:
        teacher: on ``device``.
        batches: at the teacher's input size.
        steps: number of batches.
        learning_rate: at the start; a cosine takes it to zero.
        seed: of the first token.
        device: where to compute.

    Raises:
        TrainingError: the loss isn't finite, or there is no label to learn from.
    """
    dim = teacher.model.config.dim
    first = FIRST_STD * torch.randn(1, 1, dim, generator=torch.Generator().manual_seed(seed))
    token = first.to(device).requires_grad_(True)
    optimizer = torch.optim.AdamW([token], lr=learning_rate, weight_decay=0.0)
    recent: deque[Batch] = deque(maxlen=COMPARED)
    for step, batch in enumerate(batches):
        loss = _loss(teacher, batch, token, device)
        if not math.isfinite(loss.item()) or not (batch.keypoints[..., 2] > 0).any():
            why = "no keypoint of this batch has a label" if math.isfinite(loss.item()) else f"the loss is {loss.item()}"
            raise TrainingError(f"the knowledge token can't be learned: {why}, in step {step + 1} of {steps}")
        optimizer.param_groups[0]["lr"] = learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
        (token.grad,) = torch.autograd.grad(loss, token)
        optimizer.step()
        recent.append(batch)
    with torch.no_grad():
        losses = [[_loss(teacher, batch, each, device).item() for batch in recent] for each in (None, token)]
    without, with_token = (sum(each) / len(each) for each in losses)
    return LearnedToken(token=token.detach().cpu(), without=without, loss=with_token)


def _loss(teacher: HeatmapTeacher, batch: Batch, token: Tensor | None, device: torch.device) -> Tensor:
    """The teacher's own loss: squared error to the heatmaps of the labels."""
    size = teacher.spec.input
    targets, weights = draw_targets(batch.keypoints.to(device), size.heatmap_size, teacher.size)
    return squared_error(teacher(batch.images.to(device), size.heatmap_size, token), targets, weights)
