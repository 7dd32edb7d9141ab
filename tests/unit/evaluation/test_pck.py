"""PCK and PCKh, by hand and against the published loops."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from coco_like import detect, load, make_document, make_spec, write
from numpy.typing import NDArray

from edgepose.errors import InputError
from edgepose.evaluation.dataset import Annotations, People
from edgepose.evaluation.detections import detected_people
from edgepose.evaluation.people import annotated_people
from edgepose.evaluation.protocols import PROTOCOLS
from edgepose.evaluation.protocols.pck import pck
from edgepose.skeleton import Skeleton, get_skeleton

MPII = get_skeleton("mpii").keypoints


def make_mpii(people: int = 30, seed: int = 0) -> tuple[Annotations, People, NDArray[np.float64]]:
    """People on half as many pictures, and found keypoints at up to a head's length."""
    random = np.random.default_rng(seed)
    truth = np.concatenate([random.uniform(0, 300, (people, 16, 2)), random.choice([0, 2, 2], (people, 16, 1))], axis=2)
    pictures = np.sort(random.integers(0, people // 2, people))
    heads = random.uniform(20, 60, people)
    annotations = Annotations(
        source="mpii_val.json",
        sha256="",
        keypoint_names=(),
        picture_ids=np.arange(people // 2),
        file_names=tuple(f"{number}.jpg" for number in range(people // 2)),
        picture_sizes=np.zeros((people // 2, 2), np.int64),
        ids=np.arange(people),
        pictures=pictures,
        categories=np.ones(people, np.int64),
        boxes_xywh=np.tile([0.0, 0, 200, 200], (people, 1)),
        areas=np.full(people, np.nan),
        crowd=np.zeros(people, np.bool_),
        keypoints=truth,
        head_sizes=heads,
        skipped={},
    )
    angle, distance = random.uniform(0, 6.3, (people, 16)), random.uniform(0, 1, (people, 16)) * heads[:, None]
    found = np.concatenate(
        [truth[:, :, :2] + np.stack([np.cos(angle), np.sin(angle)], axis=2) * distance[..., None], np.ones((people, 16, 1))], 2
    )
    return annotations, annotated_people(annotations), found


def literal_pckh(annotations: Annotations, found: NDArray[np.float64], share: float) -> tuple[dict[str, float], float]:
    """Percentage by keypoint, and the mean weighted by how often each is labelled, without pelvis and thorax."""
    assert annotations.head_sizes is not None
    right, count = dict.fromkeys(MPII, 0), dict.fromkeys(MPII, 0)
    for truth, points, head in zip(annotations.keypoints, found, annotations.head_sizes, strict=True):
        for name, (x, y, label), (found_x, found_y, _) in zip(MPII, truth, points, strict=True):
            if label:
                count[name] += 1
                right[name] += ((x - found_x) ** 2 + (y - found_y) ** 2) ** 0.5 / head <= share
    each = {name: right[name] / count[name] for name in MPII}
    names = [name for name in MPII if name not in ("pelvis", "thorax")]
    total = sum(count[name] for name in names)
    return each, sum(each[name] * count[name] / total for name in names)


def test_pckh_equals_the_published_loops() -> None:
    annotations, people, found = make_mpii()
    result = PROTOCOLS["mpii"].score(annotations, people, found[people.annotations], make_spec("mpii"))
    each, mean = literal_pckh(annotations, found, 0.5)
    expected = {"Head": each["head_top"]} | {
        joint.capitalize(): (each[f"left_{joint}"] + each[f"right_{joint}"]) / 2
        for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    }
    expected |= {"PCKh@0.5": mean, "PCKh@0.1": literal_pckh(annotations, found, 0.1)[1]}
    assert list(result.metrics) == list(expected)
    assert result.metrics == pytest.approx(expected, abs=1e-12)
    assert result.primary == "PCKh@0.5"
    assert result.resample(np.ones(len(annotations.picture_ids), np.int64)) == result.metrics["PCKh@0.5"]
    only = np.zeros(len(annotations.picture_ids), np.int64)
    only[annotations.pictures[4]] = 3
    rows = annotations.pictures == annotations.pictures[4]
    some = dataclasses.replace(annotations, keypoints=np.where(rows[:, None, None], annotations.keypoints, 0))
    # Whoever isn't on that picture has no label now; a keypoint that nobody has there counts as none.
    part = PROTOCOLS["mpii"].score(some, people, found[people.annotations], make_spec("mpii"))
    assert result.resample(only) == pytest.approx(part.metrics["PCKh@0.5"])


def test_pckh_of_people_who_were_not_run() -> None:
    annotations, people, _ = make_mpii()
    perfect = annotations.keypoints[people.annotations].copy()
    perfect[::2] = np.nan
    result = PROTOCOLS["mpii"].score(annotations, people, perfect, make_spec("mpii"))
    assert result.counts["boxes not run"] == len(perfect[::2])
    assert 0.3 < result.metrics["PCKh@0.5"] < 0.7


def test_pckh_needs_heads_and_annotated_people() -> None:
    annotations, people, found = make_mpii()
    with pytest.raises(InputError, match="sizes of the heads"):
        PROTOCOLS["mpii"].score(dataclasses.replace(annotations, head_sizes=None), people, found, make_spec("mpii"))
    strangers = dataclasses.replace(people, annotations=np.full(len(people), -1))
    with pytest.raises(InputError, match="PCKh compares each annotated person"):
        PROTOCOLS["mpii"].score(annotations, strangers, found, make_spec("mpii"))


def test_pck_protocol(tmp_path: Path) -> None:
    annotations = load(tmp_path, make_document(4))
    people = annotated_people(annotations)
    random = np.random.default_rng(0)
    truth = annotations.keypoints[people.annotations]
    found = truth.copy()
    found[:, :, :2] += random.normal(0, 2, (*found.shape[:2], 2))
    coco = get_skeleton("coco")
    result = PROTOCOLS["pck"].score(annotations, people, found, make_spec())
    for share in (0.05, 0.1, 0.2):
        assert result.metrics[f"PCK@{share}"] == pck(found[:, :, :2], truth, coco, within=share)[0]
        sides = annotations.boxes_xywh[people.annotations, 2:].max(axis=1)
        right = [
            float(np.hypot(*(found[row, k, :2] - truth[row, k, :2]))) < share * sides[row]
            for row, k in zip(*np.nonzero(truth[:, :, 2]), strict=True)
        ]
        assert result.metrics[f"PCK@{share}(box)"] == pytest.approx(sum(right) / len(right))
    assert result.primary == "PCK@0.2"
    assert 0.1 < result.metrics["PCK@0.05"] < result.metrics["PCK@0.2"] < 1
    assert result.resample(np.ones(len(annotations.picture_ids), np.int64)) == result.metrics["PCK@0.2"]
    assert np.isnan(result.resample(np.zeros(len(annotations.picture_ids), np.int64)))
    found[0] = np.nan
    assert PROTOCOLS["pck"].score(annotations, people, found, make_spec()).counts["boxes not run"] == 1


def test_pck_without_a_torso_goes_by_the_box(tmp_path: Path) -> None:
    annotations = load(tmp_path, make_document(4))
    people = annotated_people(annotations)
    result = PROTOCOLS["pck"].score(annotations, people, annotations.keypoints[people.annotations], make_spec(Skeleton.unnamed(17)))
    assert result.primary == "PCK@0.2(box)"
    assert set(result.metrics) == {"PCK@0.05(box)", "PCK@0.1(box)", "PCK@0.2(box)"}
    assert result.metrics["PCK@0.05(box)"] == 1


def test_pck_needs_annotated_people(tmp_path: Path) -> None:
    annotations = load(tmp_path, make_document(4))
    people = detected_people(write(tmp_path, detect(annotations), "d.json"), annotations)
    with pytest.raises(InputError, match="can't be used with detections"):
        PROTOCOLS["pck"].score(annotations, people, np.zeros((len(people), 17, 3)), make_spec())


def literal_pck(truth: NDArray[np.float64], found: NDArray[np.float64], share: float) -> dict[str, list[bool]]:
    """Whether each labelled limb keypoint is right, by name, of people whose torso is labelled and longer than a pixel."""
    coco = get_skeleton("coco").keypoints
    shoulder, hip = coco.index("left_shoulder"), coco.index("right_hip")
    right: dict[str, list[bool]] = {}
    for person, points in zip(truth.tolist(), found.tolist(), strict=True):
        torso = ((person[shoulder][0] - person[hip][0]) ** 2 + (person[shoulder][1] - person[hip][1]) ** 2) ** 0.5
        if not person[shoulder][2] or not person[hip][2] or torso <= 1:
            continue
        for name, (x, y, label), (found_x, found_y, _) in zip(coco, person, points, strict=True):
            if label and name.split("_")[-1] in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
                right.setdefault(name, []).append(((x - found_x) ** 2 + (y - found_y) ** 2) ** 0.5 < share * torso)
    return right


def test_pck_equals_loops(tmp_path: Path) -> None:
    annotations = load(tmp_path, make_document(6))
    people = annotated_people(annotations)
    coco = get_skeleton("coco")
    random = np.random.default_rng(3)
    truth = annotations.keypoints[people.annotations].copy()
    # A torso of less than a pixel, and one of a little more.
    for row, length in ((0, 0.9), (1, 1.5)):
        truth[row, [5, 12]] = [[50, 60, 2], [50 + length, 60, 1]]
    annotations.keypoints[people.annotations] = truth
    found = truth.copy()
    found[:, :, :2] += random.normal(0, 4, (*found.shape[:2], 2)) * random.uniform(0, 2, (len(found), 1, 1))
    for share in (0.05, 0.1, 0.2, 0.5):
        right = literal_pck(truth, found, share)
        everything = [value for values in right.values() for value in values]
        total, each = pck(found[:, :, :2], truth, coco, within=share)
        assert total == pytest.approx(np.mean(everything), abs=1e-12)
        assert each == pytest.approx({name: np.mean(values) for name, values in right.items()}, abs=1e-12)
    result = PROTOCOLS["pck"].score(annotations, people, found, make_spec())
    assert list(result.metrics) == [f"PCK@{share}{suffix}" for suffix in ("", "(box)") for share in (0.05, 0.1, 0.2)]
    assert result.metrics["PCK@0.1"] == pytest.approx(np.mean([v for values in literal_pck(truth, found, 0.1).values() for v in values]))
    assert result.counts["keypoints"] == sum(map(len, literal_pck(truth, found, 0.2).values()))
    picture = int(people.pictures[2])
    only = np.zeros(len(annotations.picture_ids), np.int64)
    only[picture] = 2
    there = people.pictures == picture
    expected = [value for values in literal_pck(truth[there], found[there], 0.2).values() for value in values]
    assert expected
    assert result.resample(only) == pytest.approx(np.mean(expected))


def test_pck_counts_who_was_not_run(tmp_path: Path) -> None:
    annotations = load(tmp_path, make_document(4))
    people = annotated_people(annotations)
    found = annotations.keypoints[people.annotations].copy()
    found[1::3] = np.nan
    result = PROTOCOLS["pck"].score(annotations, people, found, make_spec())
    assert result.counts["boxes not run"] == len(found[1::3]) < result.counts["boxes"] == len(people)
    assert result.counts["pictures"] == 40
    assert pck(found[:, :, :2] * np.nan, annotations.keypoints[people.annotations], get_skeleton("coco"))[0] == 0
    nobody = np.zeros((2, 17, 3))
    assert pck(nobody[:, :, :2], nobody, get_skeleton("coco")) == (0.0, {})


def test_pck_needs_both_ends_of_the_torso() -> None:
    ends = Skeleton(name="ends", keypoints=("left_shoulder", "right_hip"))
    truth = np.array([[[0.0, 0.0, 1.0], [30.0, 40.0, 1.0]]])
    assert pck(truth[:, :, :2] + [[[0.0, 9.9], [0.0, 10.1]]], truth, ends) == (0.5, {"left_shoulder": 1.0, "right_hip": 0.0})
    skeleton = Skeleton(name="half", keypoints=("left_shoulder", "left_hip"))
    with pytest.raises(InputError, match="left_shoulder and right_hip, which 'half' lacks"):
        pck(np.zeros((1, 2, 2)), np.ones((1, 2, 3)), skeleton)


def test_pckh_at_the_border_is_right() -> None:
    annotations, people, _ = make_mpii(4)
    assert annotations.head_sizes is not None
    annotations.head_sizes[:] = 40.0
    annotations.keypoints[:] = [100.0, 100.0, 1.0]
    found = annotations.keypoints.copy()
    found[:, :, 0] += 20.0
    result = PROTOCOLS["mpii"].score(annotations, people, found, make_spec("mpii"))
    assert (result.metrics["PCKh@0.5"], result.metrics["PCKh@0.1"], result.metrics["Knee"]) == (1, 0, 1)
    found[:, :, 0] -= 16.0
    assert PROTOCOLS["mpii"].score(annotations, people, found, make_spec("mpii")).metrics["PCKh@0.1"] == 1
    assert result.counts["keypoints"] == 4 * 14
    found[:, :, 0] += 16.01
    assert PROTOCOLS["mpii"].score(annotations, people, found, make_spec("mpii")).metrics["PCKh@0.5"] == 0


def test_mpiis_squares_are_taken_as_they_are() -> None:
    annotations, _, _ = make_mpii(2)
    annotations.boxes_xywh[:] = [[10, 20, 30, 40], [-5, 7, 50, 60]]
    people = annotated_people(annotations)
    assert sorted(people.boxes_xyxy.tolist()) == [[-5, 7, 45, 67], [10, 20, 40, 60]]


def test_pck_at_the_border_is_wrong_and_unlabelled_places_do_not_count(tmp_path: Path) -> None:
    annotations = load(tmp_path, make_document(4))
    people = annotated_people(annotations)
    coco = get_skeleton("coco")
    truth = annotations.keypoints
    # Torsos of 50 pixels and boxes of 100; every second keypoint has a place, but no label.
    truth[:] = [100.0, 100.0, 2.0]
    truth[:, 12] = [130.0, 140.0, 2.0]
    truth[:, 2::2, 2] = 0
    truth[:, 12, 2] = 1
    annotations.boxes_xywh[:, 2:] = [100.0, 30.0]
    found = truth[people.annotations].copy()
    found[:, 7, 0] += 10.0
    found[:, 9, 1] -= 9.99
    found[:, 1, 0] += 20.0
    found[:, 3, 0] += 19.99
    result = PROTOCOLS["pck"].score(annotations, people, found, make_spec())
    # Labelled limbs: left shoulder, elbow, wrist, hip, knee and ankle on the odd numbers that they have, and the right hip.
    names = [name for index, name in enumerate(coco.keypoints) if (index % 2 or index == 12) and index > 4]
    assert result.metrics["PCK@0.2"] == pytest.approx(1 - 1 / len(names))
    assert pck(found[:, :, :2], truth[people.annotations], coco)[1] == {name: float(name != "left_elbow") for name in names}
    assert result.counts["keypoints"] == len(names) * len(people)
    total = int((truth[0, :, 2] > 0).sum())
    assert total == 10  # nose, left eye, left ear, six of the left side's limbs, and the right hip
    assert result.metrics["PCK@0.2(box)"] == pytest.approx(1 - 1 / total)
    some = dataclasses.replace(people, annotations=np.where(np.arange(len(people)) == 1, -1, people.annotations))
    with pytest.raises(InputError, match="can't be used with detections"):
        PROTOCOLS["pck"].score(annotations, some, found, make_spec())
