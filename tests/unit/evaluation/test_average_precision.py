"""AP against pycocotools on whole files, against its definition, and by hand."""

import contextlib
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_like import Document, detect, find, hide_package, load, make_document, make_spec, write
from numpy.typing import NDArray
from reference_ap import average_precision

from edgepose.errors import InputError, MissingDependencyError
from edgepose.evaluation.annotations import WHOLEBODY_PARTS
from edgepose.evaluation.dataset import Annotations, People, Score
from edgepose.evaluation.detections import detected_people
from edgepose.evaluation.nms import Detections, select_people
from edgepose.evaluation.people import annotated_people
from edgepose.evaluation.protocols import PROTOCOLS
from edgepose.skeleton import Skeleton, get_skeleton


def score(protocol: str, annotations: Annotations, people: People, keypoints: NDArray[np.float64]) -> Score:
    return PROTOCOLS[protocol].score(annotations, people, keypoints, make_spec(protocol))


def selected(protocol: str, people: People, keypoints: NDArray[np.float64]) -> Detections:
    spec = make_spec(protocol)
    return select_people(people, keypoints, spec, spec.skeleton.sigmas)


def ones(annotations: Annotations) -> NDArray[np.int64]:
    return np.ones(len(annotations.picture_ids), np.int64)


def pycocotools(path: Path, annotations: Annotations, detections: Detections) -> list[float]:
    """The ten figures, from the file itself."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    results = [
        {
            "image_id": int(annotations.picture_ids[picture]),
            "category_id": int(category),
            "keypoints": keypoints.ravel().tolist(),
            "score": float(value),
        }
        for picture, category, keypoints, value in zip(
            detections.pictures, detections.categories, detections.keypoints, detections.scores, strict=True
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats]


def rows_for_reference(
    annotations: Annotations, detections: Detections, areas: NDArray[np.float64], labelled: NDArray[np.bool_]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    people = [
        {
            "picture": int(annotations.picture_ids[annotations.pictures[row]]),
            "category": int(annotations.categories[row]),
            "bbox": annotations.boxes_xywh[row].tolist(),
            "area": float(areas[row]),
            "crowd": bool(annotations.crowd[row]),
            "ignored": bool(annotations.crowd[row] or not labelled[row]),
            "points": annotations.keypoints[row].tolist(),
        }
        for row in range(len(annotations.ids))
    ]
    found = []
    for row in range(len(detections)):
        points = detections.keypoints[row].tolist()
        if not any(value > 0 for _, _, value in points):
            continue
        xs, ys = [x for x, _, _ in points[:17]], [y for _, y, _ in points[:17]]
        found.append(
            {
                "picture": int(annotations.picture_ids[detections.pictures[row]]),
                "category": int(detections.categories[row]),
                "score": float(detections.scores[row]),
                "extent": (max(xs) - min(xs)) * (max(ys) - min(ys)),
                "points": points,
            }
        )
    return people, found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("detector", [False, True])
def test_coco_equals_pycocotools(tmp_path: Path, seed: int, detector: bool) -> None:
    annotations = load(tmp_path, make_document(seed))
    people = (
        detected_people(write(tmp_path, detect(annotations, seed), "d.json"), annotations) if detector else annotated_people(annotations)
    )
    keypoints = find(annotations, people, seed)
    result = score("coco", annotations, people, keypoints)
    expected = pycocotools(tmp_path / "annotations.json", annotations, selected("coco", people, keypoints))
    assert list(result.metrics) == ["AP", "AP50", "AP75", "AP(M)", "AP(L)", "AR", "AR50", "AR75", "AR(M)", "AR(L)"]
    np.testing.assert_allclose(list(result.metrics.values()), expected, atol=1e-12, rtol=0)
    assert 0.05 < result.metrics["AP"] < 0.9
    assert result.resample(ones(annotations)) == result.metrics["AP"]


def test_more_pictures_than_are_judged_at_a_time_and_more_people_than_count(tmp_path: Path) -> None:
    document = make_document(5, pictures=300)
    annotations = load(tmp_path, document)
    # Twenty-five boxes on one picture: COCO counts the best twenty.
    crowd = [{"image_id": document["images"][0]["id"], "category_id": 1, "bbox": [n * 9, n * 7, 60, 90], "score": 0.5} for n in range(25)]
    people = detected_people(write(tmp_path, detect(annotations) + crowd, "d.json"), annotations)
    keypoints = find(annotations, people, ties=False)
    result = score("coco", annotations, people, keypoints)
    expected = pycocotools(tmp_path / "annotations.json", annotations, selected("coco", people, keypoints))
    np.testing.assert_allclose(list(result.metrics.values()), expected, atol=1e-12, rtol=0)


def test_nothing_is_written_to_standard_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    annotations = load(tmp_path, make_document())
    people = annotated_people(annotations)
    score("coco", annotations, people, find(annotations, people))
    assert capfd.readouterr() == ("", "")


def test_a_person_with_the_id_zero_can_be_found(tmp_path: Path) -> None:
    document = make_document(1)
    document["annotations"][0]["id"] = 0
    annotations = load(tmp_path, document)
    people = annotated_people(annotations)
    perfect = annotations.keypoints[people.annotations].copy()
    perfect[:, :, 2] = 1
    assert score("coco", annotations, people, perfect).metrics["AP"] == pytest.approx(1)


def make_extended(protocol: str, seed: int) -> Document:
    random = np.random.default_rng(seed)
    skeleton = get_skeleton(protocol)
    count = 17 if protocol == "wholebody" else len(skeleton.keypoints)
    categories = (1, 2, 5) if protocol == "ap10k" else (1,)
    document = make_document(
        seed, pictures=14 if protocol == "wholebody" else 40, keypoints=count, categories=categories, names=skeleton.keypoints[:count]
    )
    for number, annotation in enumerate(document["annotations"]):
        if protocol == "crowdpose" and number % 5 == 0:  # nothing of them is visible
            annotation["keypoints"][2::3] = [min(value, 1) for value in annotation["keypoints"][2::3]]
        if protocol in ("aic", "crowdpose"):
            del annotation["area"], annotation["iscrowd"]
        if protocol == "crowdpose":
            annotation["num_keypoints"] = sum(value == 2 for value in annotation["keypoints"][2::3])
        if protocol == "wholebody":
            corner, side = np.split(np.array(annotation["bbox"]), 2)
            for part, size in list(WHOLEBODY_PARTS.items())[1:]:
                points = np.concatenate([corner + side * random.uniform(0, 1, (size, 2)), np.ones((size, 1))], axis=1)
                annotation[part] = (points * (random.uniform() < 0.7)).ravel().tolist()
    if protocol == "crowdpose":
        for number, image in enumerate(document["images"]):
            image["crowdIndex"] = (0.05, 0.15, 0.2, 0.5, 0.8, 0.9)[number % 6]
    return document


def make_case(folder: Path, protocol: str, seed: int = 0) -> tuple[Annotations, People, NDArray[np.float64]]:
    annotations = load(folder, make_extended(protocol, seed), keypoints=len(get_skeleton(protocol).keypoints))
    people = annotated_people(annotations)
    keypoints = find(annotations, people, seed, noise=0.06 if protocol in ("ap10k", "crowdpose") else 0.02)
    keypoints[::7, :, 2] = 0  # of some nothing is found
    if protocol == "wholebody":
        keypoints[1::5, WHOLEBODY_PARTS["keypoints"] : 23, 2] = -0.1
    return annotations, people, keypoints


@pytest.mark.parametrize("protocol", ["aic", "crowdpose", "ap10k", "wholebody"])
def test_extended_data_sets_follow_the_definition(tmp_path: Path, protocol: str) -> None:
    annotations, people, keypoints = make_case(tmp_path, protocol)
    boxes = annotations.boxes_xywh[:, 2:].prod(axis=1) * 0.53
    areas = boxes if protocol in ("aic", "crowdpose") else annotations.areas
    labels = annotations.keypoints[:, :, 2]
    labelled = ((labels == 2) if protocol == "crowdpose" else (labels > 0)).any(axis=1)
    result = score(protocol, annotations, people, keypoints)
    rows = rows_for_reference(annotations, selected(protocol, people, keypoints), areas, labelled)
    expected = average_precision(*rows, list(get_skeleton(protocol).sigmas))
    if protocol == "crowdpose":
        del expected["AP(M)"], expected["AP(L)"]  # its levels are other ones
    assert {name: result.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert 0.02 < result.metrics["AP"] < 0.9
    assert result.resample(ones(annotations)) == result.metrics["AP"]


def test_crowdpose_levels(tmp_path: Path) -> None:
    annotations, people, keypoints = make_case(tmp_path, "crowdpose", 3)
    assert annotations.crowd_index is not None
    result = score("crowdpose", annotations, people, keypoints)
    areas = annotations.boxes_xywh[:, 2:].prod(axis=1) * 0.53
    labelled = (annotations.keypoints[:, :, 2] == 2).any(axis=1)
    rows = rows_for_reference(annotations, selected("crowdpose", people, keypoints), areas, labelled)
    index = dict(zip(annotations.picture_ids.tolist(), annotations.crowd_index.tolist(), strict=True))
    for name, low, high in (("AP(E)", 0, 0.2), ("AP(M)", 0.2, 0.8), ("AP(H)", 0.8, 2)):
        some = [[row for row in side if low <= index[row["picture"]] < high] for side in rows]
        expected = average_precision(*some, list(get_skeleton("crowdpose").sigmas))["AP"]
        assert result.metrics[name] == pytest.approx(expected, abs=1e-12)


def test_wholebody_parts(tmp_path: Path) -> None:
    annotations, people, keypoints = make_case(tmp_path, "wholebody", 1)
    result = score("wholebody", annotations, people, keypoints)
    detections = selected("wholebody", people, keypoints)
    sigmas = get_skeleton("wholebody").sigmas
    extents = np.ptp(detections.keypoints[:, :17, :2], axis=1).prod(axis=1)
    ends = np.cumsum([0, *WHOLEBODY_PARTS.values()])
    for part, start, stop in zip(("body", "foot", "face", "left hand", "right hand"), ends, ends[1:], strict=False):
        some = dataclasses.replace(annotations, keypoints=annotations.keypoints[:, start:stop])
        found = dataclasses.replace(detections, keypoints=detections.keypoints[:, start:stop])
        people_rows, found_rows = rows_for_reference(some, found, annotations.areas, (some.keypoints[:, :, 2] > 0).any(axis=1))
        seen = [row for row in range(len(found)) if (found.keypoints[row, :, 2] > 0).any()]
        found_rows = [row | {"extent": float(extents[number])} for number, row in zip(seen, found_rows, strict=True)]
        expected = average_precision(people_rows, found_rows, list(sigmas[start:stop]))
        assert result.metrics[f"AP({part})"] == pytest.approx(expected["AP"], abs=1e-12)
        assert result.metrics[f"AR({part})"] == pytest.approx(expected["AR"], abs=1e-12)
    hands = (result.metrics["AP(left hand)"] + result.metrics["AP(right hand)"]) / 2
    assert result.metrics["AP(hand)"] == hands


def one_person(folder: Path, *, size: float = 100.0) -> tuple[Annotations, People]:
    """Two pictures with one person each: a square of keypoints, all labelled."""
    points = np.stack([np.linspace(0, size, 17), np.linspace(0, size, 17), np.full(17, 2)], axis=1).ravel().tolist()
    box = [0.0, 0.0, size, size]
    annotations = load(
        folder,
        {
            "images": [{"id": number, "file_name": f"{number}.jpg", "width": 500, "height": 500} for number in (1, 2)],
            "annotations": [
                {"id": number, "image_id": number, "category_id": 1, "bbox": box, "area": size**2, "iscrowd": 0, "keypoints": points}
                for number in (1, 2)
            ],
            "categories": [{"id": 1, "name": "person", "keypoints": list(get_skeleton("coco").keypoints)}],
        },
    )
    return annotations, annotated_people(annotations)


def test_ap_by_hand(tmp_path: Path) -> None:
    annotations, people = one_person(tmp_path)
    keypoints = annotations.keypoints.copy()
    keypoints[:, :, 2] = [[0.9], [0.5]]
    assert score("coco", annotations, people, keypoints).metrics["AP"] == pytest.approx(1)
    # The better scored person is nowhere: precision is 1/2 up to recall 1/2, that is at 51 of 101 recalls.
    keypoints[0, :, :2] += 1000
    result = score("coco", annotations, people, keypoints)
    assert result.metrics["AP"] == pytest.approx(0.5 * 51 / 101)
    assert result.metrics["AR"] == pytest.approx(0.5)
    # … and the other way round it is 1 there.
    keypoints[:, :, 2] = [[0.5], [0.9]]
    assert score("coco", annotations, people, keypoints).metrics["AP"] == pytest.approx(51 / 101)


def test_people_who_were_not_run_are_not_found(tmp_path: Path) -> None:
    annotations, people = one_person(tmp_path)
    keypoints = annotations.keypoints.copy()
    keypoints[0] = np.nan
    result = score("coco", annotations, people, keypoints)
    assert result.metrics["AP"] == pytest.approx(51 / 101)
    assert result.counts["boxes not run"] == 1
    keypoints[1] = np.nan
    assert score("coco", annotations, people, keypoints).metrics["AP"] == 0


def test_moving_keypoints_costs_ap(tmp_path: Path) -> None:
    annotations = load(tmp_path, make_document(2))
    people = annotated_people(annotations)
    keypoints = annotations.keypoints[people.annotations].copy()
    keypoints[:, :, 2] = 1
    values = []
    for shift in (0, 3, 6, 12, 50):
        keypoints[:, :, :2] = annotations.keypoints[people.annotations][:, :, :2] + shift
        values.append(score("coco", annotations, people, keypoints).metrics["AP"])
    assert values[0] == pytest.approx(1)
    assert sorted(values, reverse=True) == values
    assert len(set(values)) == len(values)


def test_weights_count_pictures(tmp_path: Path) -> None:
    document = make_document(8, pictures=12)
    annotations = load(tmp_path, document)
    people = annotated_people(annotations)
    keypoints = find(annotations, people, ties=False)
    result = score("coco", annotations, people, keypoints)
    weights = np.random.default_rng(1).integers(0, 3, len(annotations.picture_ids))
    # The same data set with its pictures repeated and left out.
    rows = [(picture, copy) for picture, weight in enumerate(weights) for copy in range(weight)]
    repeated, found = [], []
    for number, (picture, _) in enumerate(rows):
        members = np.flatnonzero(annotations.pictures == picture)
        repeated += [(number, int(row)) for row in members]
        found += [(number, int(row)) for row in np.flatnonzero(people.pictures == picture)]
    ones_, members = (np.array(column) for column in zip(*repeated, strict=True))
    pictures, runs = (np.array(column) for column in zip(*found, strict=True))
    copied = dataclasses.replace(
        annotations,
        picture_ids=np.arange(len(rows)),
        pictures=ones_,
        **{
            name: getattr(annotations, name)[members]
            for name in ("ids", "categories", "boxes_xywh", "areas", "crowd", "keypoints", "stated_keypoints")
        },
    )
    again = dataclasses.replace(
        people,
        pictures=pictures,
        annotations=np.full(len(runs), -1),
        **{name: getattr(people, name)[runs] for name in ("boxes_xyxy", "scores", "categories")},
    )
    expected = score("coco", copied, again, keypoints[runs]).metrics["AP"]
    assert result.resample(weights) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(result.resample(np.zeros_like(weights)))


def test_a_skeleton_without_sigmas(tmp_path: Path) -> None:
    annotations, people = one_person(tmp_path)
    keypoints = annotations.keypoints
    unnamed = make_spec(Skeleton.unnamed(17))
    # Seventeen keypoints that nobody named are taken for COCO's; named ones without constants aren't.
    assert PROTOCOLS["coco"].score(annotations, people, keypoints, unnamed).metrics["AP"] == pytest.approx(1)
    bare = make_spec(Skeleton(name="bare", keypoints=get_skeleton("coco").keypoints))
    with pytest.raises(InputError, match="OKS constants.*'bare'.*pck"):
        PROTOCOLS["coco"].score(annotations, people, keypoints, bare)


def test_without_pycocotools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    annotations, people = one_person(tmp_path)
    hide_package(monkeypatch, "pycocotools")
    with pytest.raises(MissingDependencyError, match=r"edgepose\[evaluate\]"):
        score("coco", annotations, people, annotations.keypoints)
