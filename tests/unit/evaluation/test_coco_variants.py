"""COCO files as tools write them: what can mean one thing only is read as that, and said; what can't is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_like import Document, write

from edgepose.errors import EdgePoseError, InputError, SpecError
from edgepose.evaluation.annotations import load_annotations
from edgepose.evaluation.dataset import Annotations
from edgepose.evaluation.detections import detected_people
from edgepose.evaluation.people import annotated_people
from edgepose.findings import Findings
from edgepose.skeleton import get_skeleton

NAMES = get_skeleton("coco").keypoints
Change = Callable[[Document], object]


def plain() -> Document:
    """Two pictures, three people with all keypoints but the last."""
    random = np.random.default_rng(0)
    annotations = []
    for number, (picture, box) in enumerate([(1, [40, 60, 120, 300]), (2, [300, 50, 90, 200]), (2, [420, 80, 150, 310])], start=1):
        points = np.concatenate([box[:2] + random.uniform(0.02, 0.98, (17, 2)) * box[2:], np.full((17, 1), 2)], axis=1).round(1)
        points[16] = 0
        annotations.append(
            {
                "id": number,
                "image_id": picture,
                "category_id": 1,
                "bbox": box,
                "area": 0.6 * box[2] * box[3],
                "iscrowd": 0,
                "num_keypoints": 16,
                "keypoints": points.ravel().tolist(),
            }
        )
    images = [{"id": number, "file_name": f"{name}.jpg", "width": 640, "height": 480} for number, name in ((1, "a"), (2, "b"))]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person", "keypoints": list(NAMES)}]}


def read(folder: Path, document: object) -> tuple[Annotations, dict[str, int]]:
    findings = Findings()
    annotations = load_annotations(write(folder, document), keypoints=17, names=NAMES, findings=findings)
    return annotations, {finding.code: finding.count for finding in findings}


def every(key: str, value: Any) -> Change:
    """Set a value, or what a function makes of it, in every annotation; ``...`` deletes it."""

    def change(document: Document) -> None:
        for annotation in document["annotations"]:
            if value is ...:
                annotation.pop(key)
            else:
                annotation[key] = value(annotation[key]) if callable(value) else value

    return change


def pictures(write_id: Callable[[int], object], write_reference: Callable[[int], object] | None = None) -> Change:
    """Write the ids of pictures otherwise, and what refers to them."""

    def change(document: Document) -> None:
        for image in document["images"]:
            image["id"] = write_id(image["id"])
        for annotation in document["annotations"]:
            annotation["image_id"] = (write_reference or write_id)(annotation["image_id"])

    return change


def unlabelled(*values: object) -> Change:
    """Write the last keypoint, which has no label, otherwise."""
    return every("keypoints", lambda points: [*points[:-3], *values])


def category(**changed: object) -> Change:
    def change(document: Document) -> None:
        document["categories"][0] |= changed

    return change


def also(*categories: Document) -> Change:
    return lambda document: document["categories"].extend(categories)


def both(*changes: Change) -> Change:
    return lambda document: [change(document) for change in changes]


def remove(document: Document, *keys: str) -> None:
    for key in keys:
        document.pop(key)


NAN, STEM = float("nan"), {1: "a", 2: "b"}


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        (lambda document: None, {}),
        (pictures(str), {"image-id-not-integer": 2}),
        (pictures(float), {"image-id-not-integer": 2}),
        (pictures(STEM.get), {"image-id-not-integer": 2}),
        (pictures(lambda number: 17284612345678901230 + number), {"image-id-not-integer": 2}),
        (pictures(lambda number: 2**63 + number), {"image-id-not-integer": 2}),
        (pictures(lambda number: 2**53 + number), {}),
        (pictures(lambda number: number - 1), {}),
        (pictures(int, str), {"id-written-otherwise": 3}),
        (pictures(int, float), {"id-written-otherwise": 3}),
        (pictures(int, lambda number: f"{number}.0"), {"id-written-otherwise": 3}),
        (pictures(int, lambda number: f"00{number}"), {"id-written-otherwise": 3}),
        (pictures(int, STEM.get), {"image-id-is-name": 3}),
        (pictures(int, lambda number: f"{STEM[number]}.jpg"), {"image-id-is-name": 3}),
        (pictures(lambda number: None, lambda number: f"{STEM[number]}.jpg"), {"image-id-missing": 2}),
        (every("id", ...), {"annotation-id-missing": 3}),
        (every("id", None), {"annotation-id-missing": 3}),
        (every("id", float), {}),
        (every("id", lambda number: f"6f1e-{number}"), {}),
        (every("id", 0), {"annotation-id-repeated": 2}),
        (every("id", lambda number: 10**19 + number), {}),
        (every("category_id", ...), {"category-missing": 3}),
        (every("category_id", "1"), {"id-written-otherwise": 3}),
        (both(every("category_id", 0), category(id=0)), {}),
        (both(every("category_id", "person"), category(id="person")), {}),
        (lambda document: remove(document, "categories"), {"categories-missing": 0, "keypoints-unnamed": 0}),
        (lambda document: remove(document["categories"][0], "keypoints"), {"keypoints-unnamed": 0}),
        (also({"id": 2, "name": "ball"}), {}),
        (also({"id": 2, "name": "ball", "keypoints": []}), {}),
        (also({"id": 2, "name": "dog", "keypoints": ["nose", "tail"]}), {"category-of-other-keypoints": 1}),
        (also({"id": 2, "name": "person 2", "keypoints": list(NAMES)}), {}),
        (
            category(keypoints=[*NAMES, "left_little_toe", "right_little_toe", "left_finger", "right_finger"]),
            {"more-names-than-keypoints": 4},
        ),
        (every("iscrowd", ...), {}),
        (every("iscrowd", False), {}),
        (every("iscrowd", "0"), {"crowd-not-integer": 3}),
        (every("iscrowd", "False"), {"crowd-not-integer": 3}),
        (every("iscrowd", None), {"crowd-not-integer": 3}),
        (every("num_keypoints", ...), {}),
        (every("num_keypoints", None), {}),
        (every("num_keypoints", 16.0), {"num-keypoints-not-integer": 3}),
        (every("num_keypoints", "16"), {"num-keypoints-not-integer": 3}),
        (every("num_keypoints", "all"), {"num-keypoints-not-integer": 3}),
        (every("num_keypoints", -1), {"num-keypoints-not-integer": 3}),
        (every("num_keypoints", 0), {"num-keypoints-zero": 3}),
        (every("bbox", lambda box: [str(side) for side in box]), {"box-as-text": 3}),
        (every("area", str), {"area-as-text": 3}),
        (every("keypoints", lambda points: [points[k : k + 3] for k in range(0, 51, 3)]), {"keypoints-nested": 3}),
        (every("keypoints", lambda points: [str(number) for number in points]), {"keypoints-as-text": 3}),
        (every("keypoints", lambda points: [float(number) for number in points]), {}),
        (
            every("keypoints", lambda points: [bool(v) if k % 3 == 2 else v for k, v in enumerate(points)]),
            {"keypoints-as-text": 3},
        ),
        (unlabelled(None, None, 0), {"unlabelled-not-finite": 3}),
        (unlabelled(NAN, NAN, 0), {"unlabelled-not-finite": 3}),
        (unlabelled(NAN, 5, 0), {"unlabelled-not-finite": 3}),
        (unlabelled(float("inf"), 10**99, 0), {"unlabelled-not-finite": 3}),
        (unlabelled(None, None, None), {"unlabelled-not-finite": 3}),
        (unlabelled(NAN, NAN, NAN), {"unlabelled-not-finite": 3}),
        (lambda document: [image.update(width=640.0, height="480") for image in document["images"]], {"picture-size-not-integer": 4}),
        (lambda document: document["annotations"].append(document["annotations"][0]), {"annotation-repeated": 1}),
    ],
)
def test_it_is_read_as_what_it_means(tmp_path: Path, change: Change, codes: dict[str, int]) -> None:
    expected, none = read(tmp_path, plain())
    assert none == {}
    document = plain()
    change(document)
    annotations, found = read(tmp_path, document)
    assert found == codes
    for name in ("pictures", "boxes_xywh", "areas", "crowd", "keypoints", "stated_keypoints", "picture_sizes"):
        np.testing.assert_array_equal(getattr(annotations, name), getattr(expected, name), err_msg=name)
    assert len(set(annotations.ids.tolist())) == 3
    assert annotations.keypoint_names in (NAMES, ())
    assert np.argsort(annotations.picture_ids).tolist() == [0, 1], "pycocotools goes by the order of the ids"
    for number, image in enumerate(document["images"]):
        assert annotations.stated_id(number) == (image["id"] if image["id"] is not None else image["file_name"])
    stated = {annotations.stated_category(int(number)) for number in annotations.categories}
    assert stated == {document["categories"][0]["id"] if document.get("categories") else 1}
    np.testing.assert_array_equal(annotated_people(annotations).boxes_xyxy, annotated_people(expected).boxes_xyxy)


@pytest.mark.parametrize(
    ("value", "code", "outline"),
    [
        (0, "area-unusable", False),
        (-5, "area-unusable", True),
        (NAN, "area-unusable", True),
        ("big", "area-unusable", False),
        (..., "area-missing", False),
        (None, "area-missing", True),
        (None, "area-missing", False),
    ],
)
def test_areas_that_are_missing(tmp_path: Path, value: object, code: str, outline: bool) -> None:
    document = plain()
    every("area", value)(document)
    if outline:
        every("bbox", [10, 20, 40, 30])(document)
        every("segmentation", [[10, 20, 50, 20, 50, 50], [10, 20, 10, 50, 50, 50]])(document)
        every("keypoints", [12, 22, 2, 48, 22, 1, 30, 48, 1] + [0] * 42)(document)
        document["annotations"] = document["annotations"][:1]
    annotations, codes = read(tmp_path, document)
    assert codes.pop(f"{code}-{'outline' if outline else 'box'}") == len(document["annotations"])
    if outline:
        assert annotations.areas.tolist() == [1200]
    else:
        assert np.isnan(annotations.areas).all(), "0.53 of the box"
    assert len(annotated_people(annotations)) == len(document["annotations"])


def test_an_outline_that_does_not_fit_is_not_taken(tmp_path: Path) -> None:
    document = plain()
    every("area", 0)(document)
    every("segmentation", [[0, 0, 1, 0, 1, 1]])(document)
    annotations, codes = read(tmp_path, document)
    assert codes == {"area-unusable-box": 3}
    assert np.isnan(annotations.areas).all()


@pytest.mark.parametrize(
    ("point", "code"),
    [
        ([NAN, 5, 2], "labelled-not-finite"),
        ([None, None, 1], "labelled-not-finite"),
        ([1e300, 5, 2], "labelled-not-finite"),
        ([100, 200, None], "visibility-unreadable"),
        ([100, 200, NAN], "visibility-unreadable"),
    ],
)
def test_a_label_without_a_place_is_lost_visibly_and_the_person_stays(tmp_path: Path, point: list[object], code: str) -> None:
    document = plain()
    document["annotations"][0]["keypoints"][:3] = point
    findings = Findings()
    annotations = load_annotations(write(tmp_path, document), keypoints=17, findings=findings)
    assert [(finding.code, finding.severity, finding.count) for finding in findings] == [(code, "warning", 1)]
    assert len(annotations.ids) == 3
    assert annotations.keypoints[0, 0].tolist()[2] == 0
    assert np.isfinite(annotations.keypoints).all()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (every("keypoints", lambda points: [3 if k % 3 == 2 and number else number for k, number in enumerate(points)]), "visibility-odd"),
        (every("keypoints", lambda points: [0, 0, 2, *points[3:]]), "labelled-at-origin"),
        (every("num_keypoints", 5), None),
        (every("area", 100), "areas-odd"),
        (lambda document: document["annotations"].append(document["annotations"][0] | {"id": 9}), "person-repeated"),
        (lambda document: document["images"].append(document["images"][0] | {"id": 9}), "picture-repeated"),
        (lambda document: document["annotations"][0].update(image_id=99), "annotation-of-unknown-picture"),
        (lambda document: document["annotations"][0].update(category_id=5), "annotation-of-unknown-category"),
        (lambda document: document["annotations"][0].update(keypoints=[0] * 51), "num-keypoints-unlabelled"),
        (lambda document: document["annotations"][0].update(bbox=None), "box-unusable-labelled"),
        (lambda document: document["images"][0].update(width=100), "keypoints-outside-picture"),
    ],
)
def test_what_makes_figures_doubtful_is_a_warning(tmp_path: Path, change: Change, code: str | None) -> None:
    document = plain()
    change(document)
    findings = Findings()
    load_annotations(write(tmp_path, document), keypoints=17, names=NAMES, findings=findings)
    assert [finding.code for finding in findings if finding.severity == "warning"] == ([code] if code else [])


def test_a_labelled_person_without_a_box_is_expected_all_the_same(tmp_path: Path) -> None:
    document = plain()
    document["annotations"][1]["bbox"] = [10, 10, -5, 9]
    annotations, _ = read(tmp_path, document)
    assert annotations.ids.tolist() == [1, 2, 3]
    assert annotated_people(annotations).annotations.tolist() == [0, 2]


def test_crowdpose_counts_only_what_is_visible(tmp_path: Path) -> None:
    document = plain()
    every("keypoints", lambda points: [1 if k % 3 == 2 and number else number for k, number in enumerate(points)])(document)
    document["annotations"][0]["num_keypoints"] = 0
    annotations, codes = read(tmp_path, document)
    assert codes == {"num-keypoints-visible": 1}
    assert annotations.stated_keypoints is not None
    assert annotations.stated_keypoints.tolist() == [0, 16, 16]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            every("keypoints", lambda points: [number for k, number in enumerate(points) if k % 3 < 2]),
            SpecError,
            "x, y and visibility of 17",
        ),
        (pictures(lambda number: None), SpecError, "annotations of unknown pictures"),
        (lambda document: [image.pop("file_name") for image in document["images"]], SpecError, "file name is None"),
        (also({"id": 2, "keypoints": [f"p{k}" for k in range(17)]}, {"id": 3, "keypoints": ["a"]}), None, ""),
        (both(category(keypoints=["x"] * 17), also({"id": 2, "keypoints": ["y"] * 17})), SpecError, "2 different sets of keypoints"),
        (both(every("category_id", None), also({"id": 2, "keypoints": list(NAMES)})), SpecError, "'category_id' is None"),
        (category(keypoints=["k"] * 20_000), SpecError, "names 20000 keypoints; allowed: at most 10000"),
        (category(id=[1]), SpecError, "category 0: 'id' is"),
    ],
)
def test_what_may_mean_several_things_is_refused(tmp_path: Path, change: Change, error: type[EdgePoseError] | None, message: str) -> None:
    document = plain()
    change(document)
    if error is None:
        read(tmp_path, document)
        return
    with pytest.raises(error, match=message):
        read(tmp_path, document)


def test_a_file_says_itself_how_many_keypoints_there_are(tmp_path: Path) -> None:
    assert load_annotations(write(tmp_path, plain()), keypoints=None).keypoints.shape == (3, 17, 3)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(plain()), encoding)
    assert len(load_annotations(path, keypoints=17).ids) == 3


def test_a_list_of_annotations_is_no_file_of_mpii(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="is a list of 3 annotations or results"):
        read(tmp_path, plain()["annotations"])


def found(*changes: tuple[int, Document]) -> list[Document]:
    """A detection of each person."""
    detections = [
        {"image_id": annotation["image_id"], "category_id": 1, "bbox": annotation["bbox"], "score": 0.9}
        for annotation in plain()["annotations"]
    ]
    for number, change in changes:
        detections[number] |= change
    return detections


def each(**changes: Any) -> list[Document]:
    """The same, with values replaced in each detection by what functions make of it."""
    detections = found()
    for detection in detections:
        for key, make in changes.items():
            detection[key] = make(detection)
            if detection[key] is ...:
                del detection[key]
    return detections


@pytest.mark.parametrize(
    ("detections", "codes"),
    [
        (found(), {}),
        (each(image_id=lambda each: str(each["image_id"])), {"id-written-otherwise": 3}),
        (each(image_id=lambda each: float(each["image_id"])), {"id-written-otherwise": 3}),
        (each(image_id=lambda each: STEM[each["image_id"]]), {"image-id-is-name": 3}),
        (each(image_id=lambda each: f"{STEM[each['image_id']]}.jpg"), {"image-id-is-name": 3}),
        (each(category_id=lambda each: 0), {"detections-category-zero": 3}),
        (each(category_id=lambda each: ...), {"detections-without-category": 3}),
        (each(category_id=lambda each: 1.0), {}),
        (each(score=lambda each: "0.9"), {"score-not-number": 3}),
        (each(score=lambda each: [0.9]), {"score-not-number": 3}),
        (each(score=lambda each: 90), {"scores-above-one": 3}),
        (each(bbox=lambda each: [*each["bbox"], 0.9]), {"score-in-box": 3}),
        (each(bbox=lambda each: [*each["bbox"], 0.9], score=lambda each: ...), {"score-in-box": 3}),
        (each(bbox=lambda each: list(map(str, each["bbox"]))), {"box-as-text": 3}),
        (each(bbox=lambda each: dict(zip(("left", "top", "width", "height"), each["bbox"], strict=True))), {"box-as-object": 3}),
        (
            each(bbox=lambda each: {"x1": (box := each["bbox"])[0], "y1": box[1], "x2": box[0] + box[2], "y2": box[1] + box[3]}),
            {"box-as-object": 3},
        ),
        ({"annotations": found(), "images": []}, {"detections-wrapped": 0}),
        ({"predictions": found()}, {"detections-wrapped": 0}),
        (found((0, {"image_id": 44})), {"detection-of-unknown-picture": 1}),
        (found((0, {"score": NAN})), {"score-unusable": 1}),
    ],
)
def test_detections_are_read_as_what_they_mean(tmp_path: Path, detections: object, codes: dict[str, int]) -> None:
    annotations, _ = read(tmp_path, plain())
    expected = detected_people(write(tmp_path, found(), "d.json"), annotations)
    findings = Findings()
    people = detected_people(write(tmp_path, detections, "d.json"), annotations, findings=findings)
    assert {finding.code: finding.count for finding in findings} == codes
    rows = slice(len(expected) - len(people), None)
    np.testing.assert_allclose(people.boxes_xyxy, expected.boxes_xyxy[rows])
    assert people.pictures.tolist() == expected.pictures[rows].tolist()
    assert people.categories.tolist() == [1] * len(people)


def test_detections_line_by_line(tmp_path: Path) -> None:
    annotations, _ = read(tmp_path, plain())
    path = tmp_path / "d.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(json.dumps(each).encode() for each in found()) + b"\n\n")
    findings = Findings()
    assert len(detected_people(path, annotations, findings=findings)) == 3
    assert [finding.code for finding in findings] == ["detections-as-lines"]
    path.write_bytes(path.read_bytes().replace(b'"score"', b"score"))
    with pytest.raises(SpecError, match="isn't valid JSON"):
        detected_people(path, annotations)


def test_numbers_of_pictures_are_names_where_no_id_fits(tmp_path: Path) -> None:
    """Ultralytics writes 139 for 000000000139.jpg, whatever id the picture has."""
    document = plain()
    for image, number in zip(document["images"], (139, 785), strict=True):
        image["file_name"] = f"val/{number:012}.jpg"
    annotations, _ = read(tmp_path, document)
    detections = each(image_id=lambda each: {1: 139, 2: 785}[each["image_id"]])
    findings = Findings()
    people = detected_people(write(tmp_path, detections, "d.json"), annotations, findings=findings)
    assert people.pictures.tolist() == [0, 1, 1]
    assert [finding.code for finding in findings] == ["image-id-is-name"]


def test_numbers_that_are_ids_and_names(tmp_path: Path) -> None:
    """1.jpg has the id 2: whose the detections are is seen by where people are."""
    document = plain()
    for image, name in zip(document["images"], ("2.jpg", "1.jpg"), strict=True):
        image["file_name"] = name
    annotations, _ = read(tmp_path, document)
    path = write(tmp_path, found(), "d.json")
    assert detected_people(path, annotations).pictures.tolist() == [0, 1, 1]
    write(tmp_path, each(image_id=lambda each: {1: 2, 2: 1}[each["image_id"]]), "d.json")
    with pytest.raises(InputError, match="look like the numbers in file names.*3 labelled people have a box so, 0 otherwise"):
        detected_people(path, annotations)


def test_a_least_score_is_on_the_scale_of_the_scores(tmp_path: Path) -> None:
    annotations, _ = read(tmp_path, plain())
    path = write(tmp_path, each(score=lambda each: 90), "d.json")
    with pytest.raises(InputError, match="above 1.*--min-box-score isn't .the highest is 90, --min-box-score 0.5"):
        detected_people(path, annotations, min_score=0.5)
    assert len(detected_people(path, annotations, min_score=50)) == 3


def test_text_ids_of_categories(tmp_path: Path) -> None:
    document = plain()
    both(every("category_id", "person"), category(id="person"))(document)
    annotations, _ = read(tmp_path, document)
    people = detected_people(write(tmp_path, each(category_id=lambda each: "person"), "d.json"), annotations)
    assert people.categories.tolist() == annotations.categories.tolist() == [1, 1, 1]
    assert annotations.stated_category(1) == "person"
