"""Keypoint names as checkpoints state them → skeletons."""

import re
from dataclasses import dataclass

from edgepose.models.datasets import DATASETS, Dataset
from edgepose.skeleton import Skeleton, get_skeleton, list_skeletons

__all__ = ["Labels", "dataset_of_count", "infer_flip_pairs", "match_skeleton", "sanitize"]

# Joints between the words of LeftKnee, and after the side's letter of LShoulder.
_WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=^[LR])(?=[A-Z][a-z])")
_SIDE = {"l": "left", "r": "right"}
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


def dataset_of_count(keypoints: int) -> Dataset | None:
    """Return the data set that ``keypoints`` keypoints stand for where nothing names them.

    17 are COCO's (AP-10K's are as many, but a model for animals is the exception), 16 MPII's and 133 COCO-WholeBody's. 14 may be AI
    Challenger's or CrowdPose's, in different orders: no guess, since a wrong one would name every joint wrongly.
    """
    names = {17: "coco", 16: "mpii", 133: "wholebody"}
    return DATASETS[names[keypoints]] if keypoints in names else None


def infer_flip_pairs(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Pair names that differ in a left or right prefix alone: ``left_x`` and ``right_x``, ``lx`` and ``rx``, ``L_x`` and ``r_x``.

    Case counts, because there are sets in which ``L_Knee`` and ``l_knee`` are different points; a pair of the same case is preferred.
    """
    free = dict.fromkeys(names)
    pairs = []
    for left_prefix, right_prefix in _MIRROR_PREFIXES:
        for left in names:
            right = right_prefix + left.removeprefix(left_prefix)
            if left.startswith(left_prefix) and left in free and right in free:
                pairs.append((left, right))
                del free[left], free[right]
    return tuple(sorted(pairs, key=lambda pair: names.index(pair[0])))


def sanitize(name: str) -> str:
    """Return ``name`` in the letters that model and skeleton names may have."""
    return re.sub(r"[^a-z0-9_.+]+", "-", name.lower()).strip("-.") or "custom"


def _normalize(name: str) -> str:
    words = re.sub(r"[\s\-_]+", "_", _WORD_BREAK.sub("_", name.strip())).lower().split("_")
    return "_".join([_SIDE.get(words[0], words[0]), *words[1:]])
