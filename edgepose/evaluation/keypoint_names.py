"""Whether two lists of keypoint names mean the same keypoints in the same order."""

import re
from collections.abc import Sequence
from functools import lru_cache

from edgepose.errors import InputError
from edgepose.evaluation import kinds
from edgepose.findings import Findings
from edgepose.printable import printable
from edgepose.skeleton import Skeleton

__all__ = ["agreement", "check_names", "is_unnamed", "same_keypoint"]

_SHOWN = 40
_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_a-zA-Z]+")
_SIDES = {"l": "left", "left": "left", "r": "right", "right": "right"}

# Spellings of the data sets' own files and of mmpose's descriptions of them, which the built-in skeletons follow.
_SHORT = {"f": "front", "b": "back"}  # AP-10K's paws
_PUBLISHED = frozenset({frozenset({"head", "tophead"})})  # CrowdPose's


def same_keypoint(name: str, other: str) -> bool:
    """Tell whether two names mean one keypoint.

    Harmless differences: case, blanks, underscores, hyphens and points (``Left Eye``, ``left-eye``, ``leftEye``), ``l`` and ``r`` for the
    sides (``L_Eye``, ``leye``), the side at the end (``eye_left``), the order of words (``head_top``, ``top head``), and a few published
    spellings.
    """
    if name == other:
        return True
    (side, words), (other_side, other_words) = _split(name), _split(other)
    joined, other_joined = "".join(words), "".join(other_words)
    if not joined or not other_joined:
        return False
    if side == other_side:
        return joined == other_joined or sorted(words) == sorted(other_words) or frozenset({joined, other_joined}) in _PUBLISHED
    # lshoulder: a letter is a side only beside a name that has that side.
    if not side:
        return joined in (other_side[0] + other_joined, other_joined + other_side[0])
    return not other_side and other_joined in (side[0] + joined, joined + side[0])


def agreement(names: Sequence[str], others: Sequence[str]) -> int:
    """Return how many names mean the same keypoint at the same place."""
    return sum(same_keypoint(name, other) for name, other in zip(names, others, strict=False))


def is_unnamed(skeleton: Skeleton) -> bool:
    """Tell whether nobody stated the skeleton's names."""
    return skeleton.keypoints == Skeleton.unnamed(len(skeleton.keypoints)).keypoints


def check_names(skeleton: Skeleton, names: Sequence[str], whose: str, *, as_listed: bool = False, findings: Findings | None = None) -> None:
    """Refuse a skeleton whose keypoints aren't those of ``names``, one by one: its figures would look right, or merely bad.

    Args:
        skeleton: the model's.
        names: of the other side; empty where it has none, which compares nothing.
        whose: of them, for messages.
        as_listed: somebody vouches for names that differ: they are taken to mean the same. A keypoint that stands at another place, or
            on the other side, is refused all the same.
        findings: is told what was taken on trust.

    Raises:
        InputError: another number of keypoints, or a keypoint is another one.
    """
    if not names:
        return
    if len(names) != len(skeleton.keypoints):
        raise InputError(f"{whose} has {len(names)} keypoints, the model's skeleton {skeleton.name!r} {len(skeleton.keypoints)}")
    if is_unnamed(skeleton):
        return
    places = {_key(name): place for place, name in enumerate(names)}
    other = [place for place, name in enumerate(skeleton.keypoints) if not same_keypoint(name, names[place])]
    for place in other:
        name = skeleton.keypoints[place]
        if places.get(_key(name), place) != place or {_split(name)[0], _split(names[place])[0]} == {"left", "right"}:
            raise InputError(f"{_difference(skeleton, names, whose, place)}: take a model and annotations of the same data set")
    if not other:
        return
    if as_listed:
        if findings is not None:
            example = f"keypoint {other[0]}: {_shown(names[other[0]])} for {skeleton.keypoints[other[0]]}"
            findings.add(kinds.NAMES_ON_TRUST, example, count=len(other))
        return
    if len(other) < len(names):
        raise InputError(
            f"{_difference(skeleton, names, whose, other[0])}: take a model and annotations of the same data set; if the keypoints are the "
            "same under other names, say so with --keypoints-as-listed"
        )
    listed, own = (", ".join(_shown(name) for name in some[:3]) for some in (names, skeleton.keypoints))
    raise InputError(
        f"the keypoint names of {whose} ({listed} …) can't be compared with those of the model's skeleton {skeleton.name!r} ({own} …): "
        "write the model's names into the file; if the keypoints are the same in the same order, say so with --keypoints-as-listed"
    )


def _difference(skeleton: Skeleton, names: Sequence[str], whose: str, place: int) -> str:
    return (
        f"keypoint {place} of the model's skeleton {skeleton.name!r} is {skeleton.keypoints[place]}, but of {whose} it is "
        f"{_shown(names[place])}"
    )


def _shown(name: str) -> str:
    """A name from a file, short."""
    return printable(name[:_SHOWN]) or "''"


def _key(name: str) -> tuple[str, tuple[str, ...]]:
    side, words = _split(name)
    return side, tuple(sorted(words))


@lru_cache(maxsize=4096)
def _split(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the side (``left``, ``right`` or empty) and the other words."""
    words = [word.lower() for word in _WORDS.findall(name[:200])]
    sides = [word for word in words if word in _SIDES]
    if len(sides) == 1 and len(words) > 1:
        rest = [_SHORT.get(word, word) for word in words if word not in _SIDES]
        return _SIDES[sides[0]], tuple(rest)
    if len(words) == 1:
        for side in ("left", "right"):
            rest = [words[0].removeprefix(side), words[0].removesuffix(side)]
            for word in rest:
                if word and word != words[0]:
                    return side, (word,)
    return "", tuple(_SHORT.get(word, word) for word in words)
