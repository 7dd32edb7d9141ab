"""Find the one ViTPose among a checkpoint's tensors, whatever its trainer wrapped around it.

Trainers put a prefix before every name (``module.``, ``net.``, ``student.``), keep a second set of weights beside the first (``ema.``,
``teacher.``), and add tensors of their own (``criterion.weight``). A ViTPose is told by the name of its patch embedding: what stands before
that name is the wrapper.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from edgepose.errors import CheckpointError

__all__ = ["Found", "find_vitpose", "is_bare_backbone"]

# The patch embedding's weight in each layout.
_ANCHORS = (
    "backbone.patch_embed.proj.weight",
    "backbone.patch_embed.projection.weight",
    "backbone.embeddings.patch_embeddings.projection.weight",
    "backbone.patch_embed.weight",
)
# The same in a backbone alone, as masked autoencoders and timm save it.
_BARE = ("patch_embed.proj.weight", "patch_embed.projection.weight", "embeddings.patch_embeddings.projection.weight")
_HEADS = ("keypoint_head.", "head.", "associate_keypoint_heads.")
# Which of several sets of weights is meant: the one that was trained, then its running average, then the one that it learned from.
_WORD = re.compile(r"[^a-z0-9]+")
_AVERAGES = frozenset({"ema", "averaged", "average", "swa", "shadow"})
_TEACHERS = frozenset({"teacher", "momentum", "target", "key", "old", "frozen"})
# What trainers keep beside a model at its own level; anything else there may be a part of the network, and is not dropped.
_FOREIGN = re.compile(
    r"(criterion|loss\w*|\w+_loss|metrics?|\w+_metrics?|(train|val|test)_\w+|accuracy|optimizers?|scaler|steps|n_averaged)($|\.)"
)
# State of the training that lies beside the container of the weights, not in it: not worth a word.
_TRAINING = re.compile(
    r"(optim\w*|lr_\w+|\w*sched\w*|scaler|grad_scaler|amp|callbacks|loops|message_hub|\w*rng\w*|hyper_parameters|meta|args|config)(\.|$)"
)
# Known containers, the best known first: mmengine swaps averaged weights into "state_dict" before it saves.
_CONTAINERS = ("state_dict", "model_state_dict", "model", "module", "ema_state_dict", "state_dict_ema", "model_ema")
_LISTED = 3
# What trainers put around parts of a model, inside a name: compiled, sharded, recomputed or parallel parts.
_INNER = re.compile(r"(?<![^.])(?:_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod)\.")
_INNER_PARALLEL = re.compile(r"((?:^|\.)(?:backbone|keypoint_head|head|associate_keypoint_heads\.\d+)\.)module\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A ViTPose's tensors under their own names.

    Attributes:
        tensors: by name, without the wrapper's prefix.
        notes: what was left out, and which of several models was taken.
    """

    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()


def find_vitpose(tensors: Mapping[str, Tensor], where: str) -> Found:
    """Take off what stands before the names of the one ViTPose in ``tensors``, and leave out what isn't its own.

    Args:
        tensors: all tensors of a file, by name; the names of the containers that they were in may stand before theirs.
        where: how errors name the file.

    Returns:
        The model's tensors, or those of a ViT without a head; where there is neither, all of them, without their container's name.

    Raises:
        CheckpointError: two models are equally likely to be the one that is meant.
    """
    tensors = _unwrap_parts(tensors)
    prefixes = _find_prefixes(tensors, _ANCHORS) or _find_prefixes(tensors, _BARE)
    if not prefixes:
        container = next((f"{name}." for name in _CONTAINERS if all(key.startswith(f"{name}.") for key in tensors)), "")
        return Found(tensors={name.removeprefix(container): tensor for name, tensor in tensors.items()})
    with_head = [prefix for prefix in prefixes if any(name.startswith(tuple(prefix + head for head in _HEADS)) for name in tensors)]
    chosen = _choose(with_head or prefixes, tensors, where)
    inside = {name[len(chosen) :]: tensor for name, tensor in tensors.items() if name.startswith(chosen)}
    foreign = sorted(name for name in inside if _FOREIGN.match(name))
    outside = sorted(name for name in tensors if not name.startswith(chosen))
    notes = []
    others = [prefix for prefix in prefixes if prefix != chosen]
    if others:
        listed = ", ".join(repr(prefix) for prefix in others)
        notes.append(f"several models are in the file: that under {chosen!r} was taken, not that under {listed}")
    left_out = [name for name in outside if not name.startswith(tuple(others)) and not _TRAINING.match(name)]
    if left := [*foreign, *left_out]:
        more = f", … ({len(left)} in all)" if len(left) > _LISTED else ""
        notes.append(f"left out, because the trainer keeps it beside the model: {', '.join(map(repr, left[:_LISTED]))}{more}")
    return Found(tensors={name: tensor for name, tensor in inside.items() if name not in set(foreign)}, notes=tuple(notes))


def _unwrap_parts(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Take the wrappers of a model's parts out of its names; not where two tensors would get the same name."""
    names = {name: _INNER_PARALLEL.sub(r"\1", _INNER.sub("", name)) for name in tensors}
    if len(set(names.values())) < len(names):
        return tensors
    return {names[name]: tensor for name, tensor in tensors.items()}


def _find_prefixes(tensors: Mapping[str, Tensor], anchors: tuple[str, ...]) -> list[str]:
    return sorted({name[: -len(anchor)] for name in tensors for anchor in anchors if _ends_with(name, anchor)})


def _ends_with(name: str, anchor: str) -> bool:
    return name.endswith(anchor) and (len(name) == len(anchor) or name[-len(anchor) - 1] == ".")


def _choose(prefixes: list[str], tensors: Mapping[str, Tensor], where: str) -> str:
    """Return the likeliest prefix: of the same rank, one stands for all whose weights are the same."""
    ranked = sorted(prefixes, key=_rank)
    best = [prefix for prefix in ranked if _rank(prefix) == _rank(ranked[0])]
    different = [prefix for prefix in best[1:] if not _same(tensors, best[0], prefix)]
    if different:
        names = ", ".join(repr(prefix) for prefix in (best[0], *different))
        raise CheckpointError(
            f"{where}: holds several ViTPose models, under {names}; save the one that is meant alone: "
            f"torch.save({{k.removeprefix({best[0]!r}): v for k, v in state.items() if k.startswith({best[0]!r})}}, 'weights.pth')"
        )
    return best[0]


def _rank(prefix: str) -> tuple[int, int]:
    words = set(_WORD.split(prefix.lower()))
    container = prefix.partition(".")[0]
    return (
        2 if words & _TEACHERS else 1 if words & _AVERAGES else 0,
        _CONTAINERS.index(container) if container in _CONTAINERS else len(_CONTAINERS) if container else -1,
    )


def _same(tensors: Mapping[str, Tensor], first: str, second: str) -> bool:
    names = {name[len(first) :] for name in tensors if name.startswith(first)} & {
        name[len(second) :] for name in tensors if name.startswith(second)
    }
    return all(
        tensors[first + name].shape == tensors[second + name].shape and bool((tensors[first + name] == tensors[second + name]).all())
        for name in names
    )


def is_bare_backbone(tensors: Mapping[str, Tensor]) -> bool:
    """Say whether these are the tensors of a ViT alone, under its own names."""
    return any(name in tensors for name in _BARE)
