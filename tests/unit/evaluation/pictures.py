"""A folder of drawn pictures, and the tables that say who is in them."""

from pathlib import Path

import cv2
import numpy as np

from edgepose.evaluation.dataset import Annotations, People


def draw_pictures(folder: Path, counts: list[int], seed: int = 0) -> tuple[Annotations, People]:
    """Write one picture for each of ``counts`` with so many people, and return annotations (17 keypoints) and their boxes."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    names, sizes, pictures, boxes = [], [], [], []
    for number, count in enumerate(counts):
        height, width = 90 + 10 * (number % 3), 120
        cv2.imwrite(str(folder / f"{number}.png"), random.integers(0, 255, (height, width, 3), np.uint8))
        names.append(f"{number}.png")
        sizes.append((width, height))
        for _ in range(count):
            left, top = random.uniform(0, (width - 40, height - 50))
            boxes.append((left, top, left + random.uniform(20, 40), top + random.uniform(25, 50)))
            pictures.append(number)
    table = np.array(boxes).reshape(-1, 4)
    people = len(table)
    shares = random.uniform(0.1, 0.9, (people, 17, 2))
    points = table[:, None, :2] + shares * (table[:, None, 2:] - table[:, None, :2])
    annotations = Annotations(
        source="drawn.json",
        sha256="0" * 64,
        keypoint_names=(),
        picture_ids=np.arange(len(counts)) + 100,
        file_names=tuple(names),
        picture_sizes=np.array(sizes, np.int64).reshape(-1, 2),
        ids=np.arange(people) + 1,
        pictures=np.array(pictures, np.int64),
        categories=np.ones(people, np.int64),
        boxes_xywh=np.concatenate([table[:, :2], table[:, 2:] - table[:, :2]], axis=1),
        areas=0.5 * np.prod(table[:, 2:] - table[:, :2], axis=1),
        crowd=np.zeros(people, np.bool_),
        keypoints=np.concatenate([points, np.full((people, 17, 1), 2.0)], axis=2),
        skipped={},
    )
    boxed = People(
        pictures=annotations.pictures,
        boxes_xyxy=table,
        scores=np.ones(people),
        categories=annotations.categories,
        annotations=np.arange(people),
        skipped={},
    )
    return annotations, boxed
