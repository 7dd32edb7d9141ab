"""Keypoint names as checkpoints state them → skeletons."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from edgepose.models.datasets import DATASETS, Dataset
from edgepose.skeleton import Skeleton, get_skeleton, list_skeletons

__all__ = ["Labels", "datasets_of_count", "infer_flip_pairs", "match_skeleton", "sanitize"]

# Joints between the words of LeftKnee, and after the side's letter of LShoulder.
_WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=^[LR])(?=[A-Z][a-z])")
_SIDE = {"l": "left", "r": "right"}
# "left" or "l" between separators or changes of case, wherever it stands; a capital L may be glued to the word before it.
_LEFT_WORD = re.compile(r"(?<![A-Za-z])(?:left|Left|LEFT|l|L)(?![a-z])|(?<=[a-z])(?:Left|L)(?![A-Za-z])")
_MIRROR_PREFIXES = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"), ("l", "r"), ("L", "R"), ("l", "R"), ("L", "r"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What a checkpoint says about its keypoints.

    Attributes:
        name: of the keypoint set.
        keypoints: K names, in the order of the heatmaps.
        links: pairs of indices to join with a line.
        flip_pairs: pairs of indices that change places in a mirror; ``None`` where the checkpoint doesn't say.
        sigmas: K OKS constants, or empty.
    """

    name: str
    keypoints: tuple[str, ...]
    links: tuple[tuple[int, int], ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] | None = None
    sigmas: tuple[float, ...] = ()

    def to_skeleton(self) -> Skeleton:
        """Return the built-in skeleton with these names, else a new one.

        Raises:
            SpecError: the names aren't unique, or a link or pair names no keypoint.
            IndexError: a link or flip pair is beyond the names.
        """
        known = match_skeleton(self.keypoints)
        if known is not None:
            return known
        names = self.keypoints
        if self.flip_pairs is None:
            pairs = infer_flip_pairs(names)
        else:
            pairs = tuple((names[left], names[right]) for left, right in self.flip_pairs)
        return Skeleton(
            name=self.name,
            keypoints=names,
            links=tuple((names[start], names[end]) for start, end in self.links),
            flip_pairs=pairs,
            sigmas=self.sigmas,
        )


def match_skeleton(names: tuple[str, ...]) -> Skeleton | None:
    """Return the built-in skeleton with these names in this order, however they are written (``L_Eye``, ``left eye``, ``LeftEye``)."""
    wanted = tuple(map(_normalize, names))
    skeletons = map(get_skeleton, list_skeletons())
    return next((skeleton for skeleton in skeletons if tuple(map(_normalize, skeleton.keypoints)) == wanted), None)


def datasets_of_count(keypoints: int) -> tuple[Dataset, ...]:
    """Return the data sets that a head of ``keypoints`` keypoints may have been trained on, where nothing names them.

    17 are COCO's, AP-10K's or APT-36K's, 14 AI Challenger's or CrowdPose's, each with joints of its own; 16 are MPII's and 133
    COCO-WholeBody's.
    """
    return tuple(dataset for dataset in DATASETS.values() if dataset.keypoints == keypoints)


def infer_flip_pairs(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Pair names that differ in left and right alone: in front (``left_x``, ``lx``, ``L_x``), behind (``x_left``, ``x.L``) or between.

    Case counts, because there are sets in which ``L_Knee`` and ``l_knee`` are different points; a pair of the same case is preferred. A
    name without a counterpart (``lip``, ``rear``) has no pair.
    """
    free = dict.fromkeys(names)
    pairs = []
    for left_prefix, right_prefix in _MIRROR_PREFIXES:
        for left in names:
            right = right_prefix + left.removeprefix(left_prefix)
            if left.startswith(left_prefix) and left in free and right in free:
                pairs.append((left, right))
                del free[left], free[right]
    for left in names:
        for right in _mirrors(left) if left in free else ():
            if right in free:
                pairs.append((left, right))
                del free[left], free[right]
                break
    return tuple(sorted(pairs, key=lambda pair: names.index(pair[0])))


def _mirrors(name: str) -> Iterator[str]:
    """Yield the names in which one word or last letter of ``name`` that means left means right."""
    for found in _LEFT_WORD.finditer(name):
        word = found.group()
        mirrored = "right" if len(word) > 1 else "r"
        for side in (mirrored.upper() if word.isupper() else mirrored.title() if word[0].isupper() else mirrored, mirrored.swapcase()):
            yield name[: found.start()] + side + name[found.end() :]


def sanitize(name: str) -> str:
    """Return ``name`` in the letters that model and skeleton names may have."""
    return re.sub(r"[^a-z0-9_.+]+", "-", name.lower()).strip("-.") or "custom"


def _normalize(name: str) -> str:
    words = re.sub(r"[\s\-_]+", "_", _WORD_BREAK.sub("_", name.strip())).lower().split("_")
    return "_".join([_SIDE.get(words[0], words[0]), *words[1:]])
