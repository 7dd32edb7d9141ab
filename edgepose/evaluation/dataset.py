"""The types that travel through an evaluation: what is annotated, whom to look for, and what was found."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Annotations", "People", "Score", "select_pictures"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Annotations:
    """An annotation file: I pictures, N annotated people (or animals), K keypoints.

    Attributes:
        source: the file's name, for messages and records.
        sha256: of its bytes, in hex.
        keypoint_names: the K names that the file itself states (COCO-WholeBody's: those of the body), or empty.
        picture_ids: int64 (I,).
        file_names: I names, relative to the folder of the pictures.
        ids: int64 (N,), unique.
        pictures: int64 (N,), index of each person's picture.
        categories: int64 (N,).
        boxes_xywh: float64 (N, 4), as annotated: left, top, width, height, in pixels.
        picture_sizes: int64 (I, 2), width and height as annotated; 0 where the file doesn't say.
        areas: float64 (N,), of the segment in square pixels; NaN where the file has none.
        crowd: bool (N,): a region of many people, which nobody is expected to find.
        keypoints: float64 (N, K, 3): x, y in pixels and COCO's visibility, 0 without a label, 1 occluded, 2 visible.
        crowd_index: float64 (I,), CrowdPose's measure of how crowded a picture is, or ``None``.
        head_sizes: float64 (N,), MPII's length of the head in pixels, or ``None``.
        stated_keypoints: int64 (N,), number of labelled keypoints: as the file says where it does, else counted. CrowdPose's files count
            only visible ones. ``None``: counted.
        skipped: reason → how many annotations could not be used.
        stated_ids: I ids as the file states them, where ``picture_ids`` had to number them; else empty.
        stated_categories: number in ``categories`` → the id as the file states it, where they had to be numbered; else empty.
    """

    source: str
    sha256: str
    keypoint_names: tuple[str, ...]
    picture_ids: NDArray[np.int64]
    file_names: tuple[str, ...]
    picture_sizes: NDArray[np.int64]
    ids: NDArray[np.int64]
    pictures: NDArray[np.int64]
    categories: NDArray[np.int64]
    boxes_xywh: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    keypoints: NDArray[np.float64]
    crowd_index: NDArray[np.float64] | None = None
    head_sizes: NDArray[np.float64] | None = None
    stated_keypoints: NDArray[np.int64] | None = None
    skipped: Mapping[str, int]
    stated_ids: tuple[object, ...] = ()
    stated_categories: Mapping[int, object] = field(default_factory=dict)

    def stated_id(self, picture: int) -> object:
        """Return a picture's id as the file states it."""
        return self.stated_ids[picture] if self.stated_ids else int(self.picture_ids[picture])

    def stated_category(self, category: int) -> object:
        """Return a category's id as the file states it."""
        return self.stated_categories.get(category, category)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class People:
    """The M boxes that a model is run on, in the order of their pictures.

    Attributes:
        pictures: int64 (M,), index of the picture in ``Annotations``.
        boxes_xyxy: float64 (M, 4), tight boxes in image pixels.
        scores: float64 (M,), of the detector; 1 for annotated boxes.
        categories: int64 (M,).
        annotations: int64 (M,), index of the person in ``Annotations``, or -1 for detections.
        skipped: reason → how many boxes were left out.
    """

    pictures: NDArray[np.int64]
    boxes_xyxy: NDArray[np.float64]
    scores: NDArray[np.float64]
    categories: NDArray[np.int64]
    annotations: NDArray[np.int64]
    skipped: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Score:
    """What a protocol says of a model's keypoints.

    Attributes:
        metrics: name as in the papers, e.g. ``AP``, ``AP50``, ``PCKh@0.5`` → 0 to 1; NaN where nothing could be measured.
        primary: name of the metric that models are compared by.
        resample: the primary metric when picture i counts ``weights[i]`` times (int64 (I,)): for bootstrap intervals. Equal to
            ``metrics[primary]`` for weights of one.
        counts: how much was counted: people, ignored people, detections …
    """

    metrics: Mapping[str, float]
    primary: str
    resample: Callable[[NDArray[np.int64]], float]
    counts: Mapping[str, int]


def select_pictures(
    annotations: Annotations, people: People, keypoints: NDArray[np.float64], kept: NDArray[np.bool_]
) -> tuple[Annotations, People, NDArray[np.float64]]:
    """Return the part of a data set that lies in some pictures, renumbered: the others aren't expected to be found.

    Args:
        annotations: of all pictures.
        people: of all pictures.
        keypoints: (M, K, 3), of all people.
        kept: bool (I,).
    """
    number = np.cumsum(kept) - 1
    rows, runs = kept[annotations.pictures], kept[people.pictures]
    row_number = np.append(np.where(rows, np.cumsum(rows) - 1, -1), -1)  # detections have -1 and keep it
    fewer = dataclasses.replace(
        annotations,
        picture_ids=annotations.picture_ids[kept],
        file_names=tuple(name for name, stays in zip(annotations.file_names, kept, strict=True) if stays),
        picture_sizes=annotations.picture_sizes[kept],
        stated_ids=tuple(identity for identity, stays in zip(annotations.stated_ids, kept, strict=False) if stays),
        ids=annotations.ids[rows],
        pictures=number[annotations.pictures[rows]],
        categories=annotations.categories[rows],
        boxes_xywh=annotations.boxes_xywh[rows],
        areas=annotations.areas[rows],
        crowd=annotations.crowd[rows],
        keypoints=annotations.keypoints[rows],
        crowd_index=None if annotations.crowd_index is None else annotations.crowd_index[kept],
        head_sizes=None if annotations.head_sizes is None else annotations.head_sizes[rows],
        stated_keypoints=None if annotations.stated_keypoints is None else annotations.stated_keypoints[rows],
    )
    chosen = dataclasses.replace(
        people,
        pictures=number[people.pictures[runs]],
        boxes_xyxy=people.boxes_xyxy[runs],
        scores=people.scores[runs],
        categories=people.categories[runs],
        annotations=row_number[people.annotations[runs]],
    )
    return fewer, chosen, keypoints[runs]
