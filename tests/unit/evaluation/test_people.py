"""Whom a model is run on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_like import Document, load, make_document, write

from edgepose.boxes import check_boxes
from edgepose.errors import EdgePoseError, InputError, SpecError
from edgepose.evaluation.detections import detected_people
from edgepose.evaluation.people import annotated_people


def document(*people: Document) -> Document:
    made = make_document(pictures=2)
    made["images"] = [{"id": number, "file_name": f"{number}.jpg", "width": 100, "height": 80} for number in (1, 2)]
    default = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 30], "area": 300, "iscrowd": 0, "keypoints": [1, 1, 2] * 17}
    made["annotations"] = [default | {"id": number} | person for number, person in enumerate(people)]
    return made


def test_boxes_are_cleaned_as_published(tmp_path: Path) -> None:
    boxes = [[10, 10, 20, 30], [-5, -6, 20, 30], [90, 70, 50, 50], [0.5, 0.25, 10.5, 7.75]]
    people = annotated_people(load(tmp_path, document(*({"bbox": box} for box in boxes))))
    # The left end moves into the picture and takes the right one along; right and bottom lose a pixel and end at the last one.
    assert people.boxes_xyxy.tolist() == [[10, 10, 29, 39], [0, 0, 19, 29], [90, 70, 99, 79], [0.5, 0.25, 10, 7]]
    assert people.scores.tolist() == [1, 1, 1, 1]
    assert people.annotations.tolist() == [0, 1, 2, 3]


def test_who_is_left_out(tmp_path: Path) -> None:
    annotations = load(
        tmp_path,
        document(
            {"image_id": 2},
            {"iscrowd": 1},
            {"keypoints": [0] * 51},
            {"num_keypoints": 0},
            {"area": 0},
            {"bbox": [10, 10, 1, 30]},
            {"bbox": [100, 10, 20, 30]},
            {"area": None},
            {"image_id": 1},
        ),
    )
    people = annotated_people(annotations)
    assert people.annotations.tolist() == [3, 4, 7, 8, 0]  # by picture, then as in the file
    assert people.pictures.tolist() == [0, 0, 0, 0, 1]
    assert people.skipped == {"crowds": 1, "people without labelled keypoints": 1, "boxes that can't be used": 2}


def test_pictures_of_unknown_size_have_no_border(tmp_path: Path) -> None:
    made = document({"bbox": [500, 500, 20, 30]})
    for image in made["images"]:
        del image["width"], image["height"]
    assert annotated_people(load(tmp_path, made)).boxes_xyxy.tolist() == [[500, 500, 519, 529]]


def detection(**changed: Any) -> Document:
    return {"image_id": 1, "category_id": 1, "bbox": [10.5, 10, 20, 30], "score": 0.5} | changed


def test_detections(tmp_path: Path) -> None:
    annotations = load(tmp_path, document({}, {"image_id": 2}))
    found = [
        detection(image_id=2, score=0.9),
        detection(),
        detection(category_id=3),
        detection(image_id=44),
        detection(score=0.04),
        detection(score=float("nan")),
        detection(score=None),
        detection(bbox=[1, 2, -3, 4]),
        detection(bbox=[1, 2, float("nan"), 4]),
        detection(bbox=[1, 2, 0, 4]),
        detection(bbox=[100, 2, 30, 4]),
        detection(bbox=[0, -30, 30, 30]),
        detection(bbox=[90, -10, 3000, 40], score=1),
    ]
    people = detected_people(write(tmp_path, found, "d.json"), annotations, min_score=0.05)
    assert people.pictures.tolist() == [0, 0, 1]
    assert people.boxes_xyxy.tolist() == [[10.5, 10, 30.5, 40], [90, -10, 3090, 30], [10.5, 10, 30.5, 40]]
    assert people.scores.tolist() == [0.5, 1, 0.9]
    assert people.categories.tolist() == [1, 1, 1]
    assert people.annotations.tolist() == [-1, -1, -1]
    assert people.skipped == {
        "detections of other categories": 1,
        "detections of unknown pictures": 1,
        "detections below the least score": 1,
        "detections without a usable score": 2,
        "boxes that can't be used": 5,
    }
    for picture, box in zip(people.pictures, people.boxes_xyxy, strict=True):
        width, height = annotations.picture_sizes[picture]
        check_boxes(box[None], (height, width))


def test_detections_of_every_annotated_category_count(tmp_path: Path) -> None:
    made = document({"category_id": 26}, {"category_id": 3})
    made["categories"] = [made["categories"][0] | {"id": number} for number in (3, 26, 30)]
    annotations = load(tmp_path, made)
    found = [detection(category_id=number) for number in (26, 3, 30, 1)]
    people = detected_people(write(tmp_path, found, "d.json"), annotations)
    assert people.categories.tolist() == [26, 3]
    assert people.skipped == {"detections of other categories": 2}


@pytest.mark.parametrize(
    ("found", "error", "message"),
    [
        ([], InputError, "no detection at all"),
        ({"annotations": []}, SpecError, "isn't a list of objects"),
        ([[1, 2, 3, 4]], SpecError, "isn't a list of objects"),
        ([{"category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}], SpecError, "detection 0: 'image_id' is None"),
        ([detection(image_id=[1])], SpecError, "'image_id' is"),
        ([detection(), detection(category_id=None)], SpecError, "detection 1: 'category_id' is None"),
        ([detection(category_id={})], SpecError, "'category_id' is"),
        ([detection(category_id=0), detection(category_id=1)], InputError, "begin with 0, those of annotations.json are 1"),
        (
            [detection(image_id=5), detection(image_id=6)],
            InputError,
            r"none of the 2 .* begin \[5, 6\], those of annotations.json \[1, 2\]",
        ),
        (
            [detection(category_id=2)],
            InputError,
            r"none of the 1 detections .*\(1 detections of other categories\): its categories begin \[2\], .* \[1\]",
        ),
        ([detection(bbox=[0, 0, 0, 0])], InputError, "none of the 1 .*1 boxes that can't be used"),
        ([detection(score=None)], InputError, "write a score to each"),
        ({"a.jpg": [[1, 2, 3, 4]]}, SpecError, "boxes by image have no scores"),
    ],
)
def test_bad_detections(tmp_path: Path, found: object, error: type[EdgePoseError], message: str) -> None:
    annotations = load(tmp_path, document({}, {"image_id": 2}))
    path = write(tmp_path, found, "d.json")
    with pytest.raises(error, match=message) as caught:
        detected_people(path, annotations)
    assert str(path) in str(caught.value)


def test_no_detections_file(tmp_path: Path) -> None:
    annotations = load(tmp_path, document({}))
    with pytest.raises(InputError, match="can't read the detections.*No such file"):
        detected_people(tmp_path / "none.json", annotations)
    path = tmp_path / "cut.json"
    path.write_text(json.dumps([detection()])[:-5])
    with pytest.raises(SpecError, match="isn't valid JSON"):
        detected_people(path, annotations)


def test_wholebody_is_run_on_people_with_a_labelled_body(tmp_path: Path) -> None:
    face = {"foot_kpts": [0] * 18, "face_kpts": [1, 1, 1] * 68, "lefthand_kpts": [0] * 63, "righthand_kpts": [0] * 63}
    annotations = load(tmp_path, document(face, face | {"keypoints": [0] * 51}), keypoints=133)
    people = annotated_people(annotations)
    assert people.annotations.tolist() == [0]
    assert np.count_nonzero(annotations.keypoints[1]) == 68 * 3


def test_a_little_is_enough(tmp_path: Path) -> None:
    """One labelled keypoint, hidden ones, one square pixel of area: people all the same."""
    hidden, one = [1, 1, 1] * 17, [5, 5, 1, *[0] * 48]
    rows = ({"keypoints": hidden}, {"keypoints": one, "num_keypoints": 1}, {"area": 1}, {"area": 0.5})
    assert annotated_people(load(tmp_path, document(*rows))).annotations.tolist() == [0, 1, 2, 3]


def test_detections_of_the_least_score_and_of_no_size_are_taken(tmp_path: Path) -> None:
    annotations = load(tmp_path, document({}))
    rows = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "score": score} for score in (0.0, 0.299, 0.3, 0.31)]
    path = write(tmp_path, rows, "d.json")
    people = detected_people(path, annotations, min_score=0.3)
    assert people.scores.tolist() == [0.3, 0.31]
    assert people.skipped == {"detections below the least score": 2}
    assert detected_people(path, annotations).scores.tolist() == [0.0, 0.299, 0.3, 0.31]
