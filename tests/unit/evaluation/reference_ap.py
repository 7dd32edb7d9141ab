"""Average precision from its definition, one detection at a time: slow, and written without a look at the package.

It follows the words of https://cocodataset.org/#keypoints-eval and, for the extended data sets, of ``xtcocotools``: people without a label
are ignored, detections are matched greedily from the highest score down, and precision at a recall is the best at that recall or beyond.
"""

import math
from typing import Any

import numpy as np

Row = dict[str, Any]
THRESHOLDS = [0.5 + 0.05 * step for step in range(10)]
RECALLS = np.linspace(0, 1, 101).tolist()  # COCO's own: 0.35 is a little more there than 7/20
RANGES = {"all": (0, 1e10), "medium": (32**2, 96**2), "large": (96**2, 1e10)}


def similarity(person: Row, detection: Row, sigmas: list[float]) -> float:
    left, top, width, height = person["bbox"]
    total, count = 0.0, 0
    labelled = any(v > 0 for _, _, v in person["points"])
    for (x, y, v), (found_x, found_y, _), sigma in zip(person["points"], detection["points"], sigmas, strict=True):
        if labelled and v <= 0:
            continue
        if labelled:
            dx, dy = found_x - x, found_y - y
        else:  # how far it is outside of a region twice around the box
            dx = max(0, left - width - found_x) + max(0, found_x - (left + 2 * width))
            dy = max(0, top - height - found_y) + max(0, found_y - (top + 2 * height))
        total += math.exp(-(dx**2 + dy**2) / (2 * sigma) ** 2 / (person["area"] + 2.0**-52) / 2)
        count += 1
    return total / count


def judge(people: list[Row], detections: list[Row], sigmas: list[float], threshold: float, area: tuple[float, float]) -> list[Any]:
    """(score, 'right' | 'wrong' | 'ignored') of each detection on one picture, and last the number of people who count."""
    ignored = [person["ignored"] or not area[0] <= person["area"] <= area[1] for person in people]
    turn = sorted(range(len(people)), key=lambda index: ignored[index])
    taken: set[int] = set()
    verdicts: list[Any] = []
    for detection in sorted(detections, key=lambda each: -each["score"])[:20]:
        best, match = min(threshold, 1 - 1e-10), None
        for index in turn:
            if index in taken and not people[index]["crowd"]:
                continue
            if match is not None and not ignored[match] and ignored[index]:
                break
            value = similarity(people[index], detection, sigmas)
            if value >= best:
                best, match = value, index
        if match is not None:
            taken.add(match)
            verdicts.append((detection["score"], "ignored" if ignored[match] else "right"))
        else:
            verdicts.append((detection["score"], "wrong" if area[0] <= detection["extent"] <= area[1] else "ignored"))
    return [*verdicts, ignored.count(False)]


def precision_and_recall(people: list[Row], detections: list[Row], sigmas: list[float], area: str) -> tuple[list[list[float]], list[float]]:
    """Precision at 101 recalls for each threshold, and the recall reached: nothing where nobody is expected."""
    precisions, recalls = [], []
    pictures = sorted({row["picture"] for row in [*people, *detections]})
    for threshold in THRESHOLDS:
        verdicts, expected = [], 0
        for picture in pictures:
            *some, count = judge(
                [person for person in people if person["picture"] == picture],
                [detection for detection in detections if detection["picture"] == picture],
                sigmas,
                threshold,
                RANGES[area],
            )
            verdicts += some
            expected += count
        if not expected:
            return [], []
        right = wrong = 0
        points = []
        for _, verdict in sorted(verdicts, key=lambda each: -each[0]):
            right += verdict == "right"
            wrong += verdict == "wrong"
            points.append((right / expected, right / (right + wrong) if right else 0.0))
        recalls.append(points[-1][0] if points else 0.0)
        precisions.append([max((p for reached, p in points if reached >= recall), default=0.0) for recall in RECALLS])
    return precisions, recalls


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def average_precision(people: list[Row], detections: list[Row], sigmas: list[float]) -> dict[str, float]:
    """AP, AP50, AP75, AP(M), AP(L), AR, over all categories."""
    curves: dict[str, list[tuple[list[list[float]], list[float]]]] = {}
    for area in RANGES:
        curves[area] = [
            precision_and_recall(
                [row for row in people if row["category"] == category],
                [row for row in detections if row["category"] == category],
                sigmas,
                area,
            )
            for category in sorted({row["category"] for row in people})
        ]

    def precision(area: str, thresholds: slice) -> float:
        return mean([value for precisions, _ in curves[area] for row in precisions[thresholds] for value in row])

    return {
        "AP": precision("all", slice(None)),
        "AP50": precision("all", slice(0, 1)),
        "AP75": precision("all", slice(5, 6)),
        "AP(M)": precision("medium", slice(None)),
        "AP(L)": precision("large", slice(None)),
        "AR": mean([value for _, recalls in curves["all"] for value in recalls]),
    }
