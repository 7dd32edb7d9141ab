"""The people of a run: who is trained on, in which order, and who is measured on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepose.distillation.augmentation import Body
from edgepose.distillation.holdout import Split, split_people
from edgepose.distillation.order import Order, resolve_shares
from edgepose.distillation.packing import Pack, Point, open_pack
from edgepose.distillation.recipe import Labels, Phase, Recipe, Source
from edgepose.distillation.stream import Batches
from edgepose.errors import InputError
from edgepose.skeleton import Skeleton, get_skeleton

__all__ = ["TrainingSet", "open_training_set"]

SPARED = 0.2  # of the people, at most, are held out where the recipe doesn't name the data


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingSet:
    """Everything about the data of a run.

    Attributes:
        pack: everybody's pixels and labels.
        sources: the recipe's, or the one made of ``--data``.
        split: who is trained and who is measured on.
        order: of the training samples.
        skeleton: the student's keypoints.
    """

    pack: Pack
    sources: tuple[Source, ...]
    split: Split
    order: Order
    skeleton: Skeleton

    def batches(self, recipe: Recipe, phase: Phase, *, first: int, part: tuple[int, int]) -> Batches:
        """Return the batches of a phase; see ``Batches``."""
        return Batches(
            self.pack,
            self.order,
            phase,
            first=first,
            augmentation=recipe.augmentation,
            body=Body.of(self.skeleton),
            seed=recipe.seed,
            part=part,
        )

    def describe(self) -> list[str]:
        """One line per source, then what was held out."""
        lines = [f"{name}: {text}" for name, text in self.pack.report.sources.items()]
        if len(self.split.validation):
            lines.append(
                f"validation: {len(self.split.validation)} people held out, and {self.split.duplicates} who look like one of them left out"
            )
        return lines


def open_training_set(
    recipe: Recipe,
    root: Path,
    cache: Path,
    *,
    point: Point | None = None,
    teacher_id: str = "",
    progress: Callable[[str, int, int], None] = lambda _what, _done, _all: None,
) -> TrainingSet:
    """Read, pack, split and order the data of a run; see ``open_pack``.

    Raises:
        InputError: the data can't be used.
    """
    sources = recipe.data or (_whole(root, recipe, point),)
    root = root if recipe.data else root.resolve().parent
    if point is None:
        _check_labels(sources)
    pack = open_pack(recipe, sources, root, cache, point=point, teacher_id=teacher_id, progress=progress)
    wanted = recipe.validation
    names = [source.name for source in sources]
    # A recipe without sources validates on part of the one that it gets.
    measured = names.index(wanted.source) if wanted.source in names else (0 if not recipe.data and wanted.source else None)
    # A recipe that wasn't written for these data may ask for more people than they can spare.
    most = 1.0 if recipe.data else SPARED
    split = split_people(pack, source=measured, count=wanted.count, most=most, near_duplicate=wanted.near_duplicate, seed=recipe.seed)
    groups = [split.train[pack.sources[split.train] == number] for number in range(len(sources))]
    used = [number for number, group in enumerate(groups) if len(group) and sources[number].share != 0]
    if not used:
        raise InputError(f"nobody is left to train on: {len(split.validation)} people are held out for validation; lower validation.count")
    shares = resolve_shares([sources[number].share for number in used], [len(groups[number]) for number in used])
    order = Order([np.asarray(groups[number]) for number in used], shares, recipe.seed)
    return TrainingSet(pack=pack, sources=sources, split=split, order=order, skeleton=get_skeleton(recipe.student.skeleton))


def _whole(root: Path, recipe: Recipe, point: Point | None) -> Source:
    """Make a source of what ``--data`` names."""
    root = root.resolve()
    # Photos have no labels of their own; other data may have gaps that a keypoint teacher fills.
    labels: Labels = "teacher" if root.is_dir() else "fill" if point else "own"
    return Source(name=recipe.validation.source or "data", path=root.name, labels=labels)


def _check_labels(sources: tuple[Source, ...]) -> None:
    for source in sources:
        if source.labels in ("fill", "merge") and not source.teacher_points:
            raise InputError(
                f"source {source.name!r} has labels = {source.labels!r}, which need a keypoint teacher: give one with --teacher FILE.onnx, "
                f"or set data.{source.name}.labels=own"
            )
