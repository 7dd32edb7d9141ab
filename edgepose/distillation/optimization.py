"""AdamW's parameter groups, the learning rate, averaged weights, stochastic depth."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from edgepose.distillation.recipe import Optimizer, Phase
from edgepose.models.vitpose import Block, ViTPose

__all__ = ["add_drop_path", "average_weights", "learning_rate", "make_optimizer", "memory"]


def make_optimizer(model: ViTPose, extra: Iterable[nn.Parameter], settings: Optimizer) -> torch.optim.AdamW:
    """Make AdamW with layer-wise learning rates; each group's ``scale`` is what its rate is multiplied by.

    Layers are counted as ViTPose's own training does (mmpose's ``LayerDecayOptimizerConstructor``, Apache-2.0): embeddings 0, blocks from
    1 on, last norm and head after them.

    Args:
        model: the student.
        extra: parameters that train with it at the full rate.
        settings: of the recipe.
    """
    depth = model.config.depth
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        decays = parameter.ndim > 1 and not name.endswith("pos_embed")
        groups.setdefault((_layer(name, depth), decays), []).append(parameter)
    settings_of = [
        {
            "params": parameters,
            "weight_decay": settings.weight_decay if decays else 0.0,
            "scale": settings.layer_decay ** (depth + 1 - layer),
        }
        for (layer, decays), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]
    others = list(extra)
    if others:
        settings_of.append({"params": others, "weight_decay": settings.weight_decay, "scale": 1.0})
    return torch.optim.AdamW(settings_of, lr=0.0, betas=settings.betas, fused=True)


def _layer(name: str, depth: int) -> int:
    if name.startswith(("backbone.patch_embed", "backbone.pos_embed")):
        return 0
    if name.startswith("backbone.blocks."):
        return int(name.split(".")[2]) + 1
    return depth + 1


def learning_rate(phase: Phase, done: int) -> float:
    """Return the learning rate when ``done`` images of the phase have been seen."""
    last = phase.learning_rate if phase.final_learning_rate is None else phase.final_learning_rate
    share = min(1.0, max(0, done - phase.warmup) / max(1, phase.images - phase.warmup))
    if phase.curve == "cosine":
        share = (1 - math.cos(math.pi * share)) / 2
    rise = min(1.0, (done + phase.batch) / phase.warmup) if phase.warmup else 1.0
    return rise * (phase.learning_rate + (last - phase.learning_rate) * share)


def memory(half_life: int, *, batch: int, seen: int) -> float:
    """Return what the averaged weights keep of themselves in one step.

    Args:
        half_life: images after which an old weight counts half.
        batch: images of this step.
        seen: images of the run so far; an average is never longer than a tenth of them, or it would remember the first weights.
    """
    return float(0.5 ** (batch / max(1.0, min(half_life, seen / 10))))


@torch.no_grad()
def average_weights(average: nn.Module, current: nn.Module, *, keep: float) -> None:
    """Move averaged weights towards the current ones, keeping the share ``keep`` of themselves."""
    old_floats: list[Tensor] = []
    new_floats: list[Tensor] = []
    for old, new in zip(average.state_dict().values(), current.state_dict().values(), strict=True):
        if old.is_floating_point():
            old_floats.append(old)
            new_floats.append(new)
        else:
            old.copy_(new)
    torch._foreach_lerp_(old_floats, new_floats, 1 - keep)


def add_drop_path(model: ViTPose, largest: float) -> None:
    """Drop residual branches at random in training (stochastic depth, arXiv 1603.09382), per sample, more of them towards the end."""
    if largest <= 0:
        return
    blocks = [block for block in model.backbone.blocks if isinstance(block, Block)]
    for index, block in enumerate(blocks):
        rate = largest * index / max(1, len(blocks) - 1)
        for branch in (block.attn, block.mlp):
            branch.register_forward_hook(_dropping(rate))


def _dropping(rate: float) -> Callable[[nn.Module, object, Tensor], Tensor]:
    def drop(module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        if not module.training or rate == 0:
            return output
        kept = torch.rand(len(output), *(1,) * (output.ndim - 1), device=output.device, dtype=output.dtype) >= rate
        return output * kept / (1 - rate)

    return drop
