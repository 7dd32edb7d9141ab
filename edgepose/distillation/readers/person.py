"""What every reader yields: one person, and what it had to leave out."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgepose.findings import Findings
from edgepose.skeleton import Skeleton

__all__ = ["Faults", "People", "Person", "map_keypoints"]

LISTED = 1000  # faults named one by one; the rest is only counted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Person:
    """One person on one picture.

    Attributes:
        name: of the picture, and where it has several people the number of this one.
        image: a function that decodes the picture: (H, W, 3) uint8, RGB. Raises ``InputError`` where it can't.
        box_xyxy: (4,) float64 in image pixels; it may reach beyond the picture. ``None``: the whole picture.
        keypoints: (K, 3) float32 in the student's order: x and y in image pixels, and a weight, 0 where there is no label.
        teacher: (K, 3), x, y and score of a keypoint teacher, where the data set holds them.
    """

    name: str
    image: Callable[[], npt.NDArray[np.uint8]]
    box_xyxy: npt.NDArray[np.float64] | None
    keypoints: npt.NDArray[np.float32]
    teacher: npt.NDArray[np.float32] | None = None


@dataclass(slots=True)
class Faults:
    """What was left out or changed, counted by kind, and named."""

    counts: Counter[str] = field(default_factory=Counter)
    named: list[tuple[str, str]] = field(default_factory=list)

    def add(self, kind: str, what: str) -> None:
        """Count a fault of a kind; ``what`` names it."""
        self.counts[kind] += 1
        if len(self.named) < LISTED:
            self.named.append((kind, what))

    def __str__(self) -> str:
        return ", ".join(f"{count} {kind}" for kind, count in sorted(self.counts.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The people of a data set.

    Attributes:
        count: of them, before any is left out.
        each: yields them, in an order that is always the same.
        faults: grows while ``each`` is read.
        findings: what is odd about the file, and was mended; grows while ``each`` is read.
    """

    count: int
    each: Iterator[Person]
    faults: Faults
    findings: Findings = field(default_factory=Findings)


def map_keypoints(points: npt.NDArray[np.float32], names: tuple[str, ...], skeleton: Skeleton) -> npt.NDArray[np.float32]:
    """Move rows of ``points`` (J, 3) to the places that their names have in ``skeleton``: (K, 3), zeros where it has other names."""
    mapped = np.zeros((len(skeleton.keypoints), 3), np.float32)
    for place, name in enumerate(skeleton.keypoints):
        if name in names:
            mapped[place] = points[names.index(name)]
    return mapped
