"""Person scores and suppression of people found twice, against the published loops."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_like import detect, find, load, make_document, make_spec, write

from edgepose.crop import pad_boxes
from edgepose.evaluation.detections import detected_people
from edgepose.evaluation.nms import person_scores, select_people, suppress
from edgepose.evaluation.oks import keypoint_similarities, oks
from edgepose.skeleton import get_skeleton

SIGMAS = get_skeleton("coco").sigmas


def literal_score(keypoint_scores: list[float], box_score: float) -> float:
    total, count = 0.0, 0
    for value in keypoint_scores:
        if value > 0.2:
            total += value
            count += 1
    return box_score * (total / count if count else 0.0)


def literal_nms(people: list[dict[str, Any]]) -> list[int]:
    """Indices of who stays: the best person left, then all those not too similar to them, and so on."""
    left = sorted(range(len(people)), key=lambda index: people[index]["score"])[::-1]
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        stay = []
        for other in left:
            area = (people[best]["area"] + people[other]["area"]) / 2
            total = 0.0
            for (x, y), (other_x, other_y), sigma in zip(people[best]["points"], people[other]["points"], SIGMAS, strict=True):
                squared = (x - other_x) ** 2 + (y - other_y) ** 2
                total += float(np.exp(-squared / (2 * sigma) ** 2 / (area + np.spacing(1)) / 2))
            if total / len(SIGMAS) <= 0.9:
                stay.append(other)
        left = stay
    return kept


def test_person_scores() -> None:
    scores = np.array([[0.2, 0.5, 0.7], [0.1, 0.2, 0.0], [0.9, 0.3, -1.0]])
    boxes = np.array([0.5, 1.0, 2.0])
    assert person_scores(scores, boxes) == pytest.approx([0.3, 0.0, 1.2])
    random = np.random.default_rng(0)
    many, some = random.uniform(-0.1, 1, (200, 17)), random.uniform(0, 1, 200)
    assert person_scores(many, some) == pytest.approx([literal_score(row.tolist(), box) for row, box in zip(many, some, strict=True)])


@pytest.mark.parametrize("seed", range(6))
def test_suppression_equals_the_published_loops(seed: int) -> None:
    random = np.random.default_rng(seed)
    people = random.integers(1, 25)
    points = random.uniform(0, 200, (4, 17, 2))[random.integers(0, 4, people)] + random.normal(0, 3, (people, 17, 2))
    scores, areas = random.choice([0.1, 0.2, 0.3, 0.5], people), random.uniform(2000, 40000, people)
    kept = suppress(points, scores, areas, SIGMAS)
    rows = [{"points": points[row].tolist(), "score": scores[row], "area": areas[row]} for row in range(people)]
    assert kept.tolist() == literal_nms(rows)
    assert (np.diff(scores[kept]) <= 0).all()


def test_selection_is_by_picture_and_by_padded_box(tmp_path: Path) -> None:
    annotations = load(tmp_path, make_document(3))
    people = detected_people(write(tmp_path, detect(annotations, per_picture=5), "d.json"), annotations)
    keypoints = find(annotations, people, ties=False)
    again = np.flatnonzero(np.diff(people.pictures) == 0)[::2] + 1  # many are found near the one before
    keypoints[again, :, :2] = keypoints[again - 1, :, :2] + np.random.default_rng(0).normal(0, 3, (len(again), 17, 2))
    keypoints[::9] = np.nan
    spec = make_spec()
    detections = select_people(people, keypoints, spec, SIGMAS)
    areas = pad_boxes(people.boxes_xyxy, spec.input, spec.codec)[1].prod(axis=1)
    expected = []
    for picture in range(len(annotations.picture_ids)):
        rows = [row for row in np.flatnonzero(people.pictures == picture) if not np.isnan(keypoints[row]).any()]
        some = [
            {
                "points": keypoints[row, :, :2].tolist(),
                "score": literal_score(keypoints[row, :, 2].tolist(), people.scores[row]),
                "area": areas[row],
            }
            for row in rows
        ]
        expected += [rows[index] for index in literal_nms(some)]
    assert len(detections) == len(expected)
    np.testing.assert_array_equal(detections.keypoints, keypoints[expected])
    np.testing.assert_array_equal(detections.pictures, people.pictures[expected])
    assert detections.not_run == len(keypoints[::9])
    assert detections.suppressed == len(people) - detections.not_run - len(expected) > 20


def test_nobody(tmp_path: Path) -> None:
    annotations = load(tmp_path, make_document(3))
    people = detected_people(write(tmp_path, detect(annotations), "d.json"), annotations)
    detections = select_people(people, np.full((len(people), 17, 3), np.nan), make_spec(), SIGMAS)
    assert (len(detections), detections.not_run, detections.suppressed) == (0, len(people), 0)


def test_oks_by_hand() -> None:
    squared = np.array([[0.0, 100.0, 9e9], [1.0, 1.0, 1.0]])
    similarities = keypoint_similarities(squared, [2500.0, 0.0], [0.1, 0.1, 0.1])
    assert similarities == pytest.approx(np.array([[1, np.exp(-100 / (2 * 0.04 * 2500)), 0], [0, 0, 0]]))
    mean = oks(similarities, np.array([[True, True, False], [False, False, False]]))
    assert mean[0] == pytest.approx((1 + np.exp(-0.5)) / 2)
    assert np.isnan(mean[1])


def test_one_sure_keypoint_makes_the_score() -> None:
    assert person_scores(np.array([[0.1, 0.9, 0.2]]), np.array([0.5])) == pytest.approx([0.45])


def test_people_are_compared_by_where_their_keypoints_are(tmp_path: Path) -> None:
    """Scores are no coordinates, and two people at one place are the same however sure the model is of each."""
    annotations = load(tmp_path, make_document(3))
    people = detected_people(write(tmp_path, detect(annotations, per_picture=5), "d.json"), annotations)
    keypoints = find(annotations, people, ties=False)
    again = int(np.flatnonzero(np.diff(people.pictures) == 0)[0])
    keypoints[again + 1] = keypoints[again]
    keypoints[again + 1, :, 2] = 1e4
    alone = np.flatnonzero(people.pictures == people.pictures[again])
    detections = select_people(people, keypoints, make_spec(), SIGMAS)
    kept = detections.keypoints[detections.pictures == people.pictures[again]]
    assert len(alone) > len(kept)
    assert (kept[:, 0, 2] == 1e4).sum() == 1


def test_a_person_with_one_keypoint_that_is_no_number_was_not_run(tmp_path: Path) -> None:
    annotations = load(tmp_path, make_document(3))
    people = detected_people(write(tmp_path, detect(annotations), "d.json"), annotations)
    keypoints = find(annotations, people, ties=False)
    keypoints[2, 3, 1] = np.nan
    assert select_people(people, keypoints, make_spec(), SIGMAS).not_run == 1
