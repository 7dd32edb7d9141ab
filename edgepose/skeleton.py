"""Keypoint sets: names, links to draw, left/right pairs and OKS sigmas.

The built-in sets live as JSON in ``edgepose/skeletons``; a file of the same form describes any other head (``--skeleton FILE``).
Names, order, links and sigmas are those of the data sets' own publications, as mmpose's data set descriptions state them.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgepose.document import from_document, read_json
from edgepose.errors import InputError, SpecError

__all__ = ["Skeleton", "get_skeleton", "list_skeletons", "load_skeleton"]

MAX_KEYPOINTS = 10_000
MAX_BYTES = 4 << 20
MIN_SIGMA, MAX_SIGMA = 1e-4, 1.0  # outside, OKS is 0 or 1 wherever a keypoint lies
BUILT_IN = Path(__file__).parent / "skeletons"


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """A named, ordered set of keypoints.

    Attributes:
        name: short lower-case name, e.g. ``coco``.
        keypoints: K unique keypoint names, in the order of the model's heatmaps.
        links: pairs of names to join with a line.
        flip_pairs: pairs of names that change places when the image is mirrored.
        sigmas: K per-keypoint OKS constants, 0.0001 to 1, or empty where the data set defines none.
    """

    name: str
    keypoints: tuple[str, ...]
    links: tuple[tuple[str, str], ...] = ()
    flip_pairs: tuple[tuple[str, str], ...] = ()
    sigmas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        known = set(self.keypoints)
        if not 1 <= len(self.keypoints) <= MAX_KEYPOINTS:
            raise SpecError(f"skeleton {self.name!r} has {len(self.keypoints)} keypoints; allowed: 1 to {MAX_KEYPOINTS}")
        if len(known) != len(self.keypoints):
            twice = sorted({name for name in self.keypoints if self.keypoints.count(name) > 1})
            raise SpecError(f"skeleton {self.name!r} names keypoints twice: {', '.join(twice)}")
        stray = sorted({name for pair in (*self.links, *self.flip_pairs) for name in pair} - known)
        if stray:
            raise SpecError(f"skeleton {self.name!r} links or flips keypoints that it doesn't have: {', '.join(stray)}")
        flipped = [name for pair in self.flip_pairs for name in pair]
        if len(set(flipped)) != len(flipped):
            raise SpecError(f"skeleton {self.name!r} has a keypoint in two flip pairs")
        if self.sigmas and len(self.sigmas) != len(self.keypoints):
            raise SpecError(f"skeleton {self.name!r} has {len(self.sigmas)} sigmas for {len(self.keypoints)} keypoints")
        for keypoint, sigma in zip(self.keypoints, self.sigmas, strict=False):
            if not MIN_SIGMA <= sigma <= MAX_SIGMA:  # false for NaN, too
                raise SpecError(
                    f"skeleton {self.name!r}: the sigma of {keypoint!r} is {sigma!r}; allowed: {MIN_SIGMA} to {MAX_SIGMA}, a share of the "
                    "person's size (COCO's lie between 0.025 and 0.107); leave sigmas out where the data set defines none"
                )

    @property
    def flip_order(self) -> tuple[int, ...]:
        """For each keypoint, the index of its mirror image (itself where it has none)."""
        index = {name: position for position, name in enumerate(self.keypoints)}
        order = list(range(len(self.keypoints)))
        for left, right in self.flip_pairs:
            order[index[left]], order[index[right]] = index[right], index[left]
        return tuple(order)

    @property
    def link_indices(self) -> tuple[tuple[int, int], ...]:
        """``links`` as pairs of keypoint indices."""
        index = {name: position for position, name in enumerate(self.keypoints)}
        return tuple((index[start], index[end]) for start, end in self.links)

    @classmethod
    def unnamed(cls, keypoints: int) -> "Skeleton":
        """A skeleton for a head whose names nobody stated: ``keypoint_0`` …, no links, no flip pairs."""
        return cls(name=f"unnamed-{keypoints}", keypoints=tuple(f"keypoint_{index}" for index in range(keypoints)))


def list_skeletons() -> tuple[str, ...]:
    """Names of the built-in skeletons."""
    return tuple(sorted(file.stem for file in BUILT_IN.glob("*.json")))


@cache
def get_skeleton(name: str) -> Skeleton:
    """Return a built-in skeleton.

    Raises:
        InputError: there is none of that name.
    """
    if name not in list_skeletons():
        raise InputError(f"no skeleton is called {name!r}; built in: {', '.join(list_skeletons())}")
    return load_skeleton(BUILT_IN / f"{name}.json")


def load_skeleton(path: str | Path) -> Skeleton:
    """Read a skeleton from a JSON file of the form of ``edgepose/skeletons/coco.json``.

    Raises:
        InputError: the file can't be read.
        SpecError: its content isn't a skeleton.
    """
    return from_document(Skeleton, read_json(path, what="the skeleton file", max_bytes=MAX_BYTES), where=str(path))
