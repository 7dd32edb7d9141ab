"""What `edgepose check` says of files of other tools, of pictures, of two sets, and of hostile files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import label_tools
import numpy as np
import pytest
from label_tools import NAMES, make_people, plain, write_pictures

from edgepose.checking import Checked, Question, check_paths, to_report
from edgepose.checking import kinds as checking_kinds
from edgepose.evaluation import kinds as reading_kinds
from edgepose.skeleton import get_skeleton


def check(path: Path, **question: Any) -> Checked:
    (checked,) = check_paths([path], Question(**question))
    return checked


def check_document(folder: Path, document: object, name: str = "labels.json", **question: Any) -> Checked:
    path = folder / name
    path.write_text(json.dumps(document))
    return check(path, **question)


def codes(checked: Checked) -> dict[str, int]:
    return {finding.code: finding.count for finding in checked.findings}


# What every one of the small sets has: one keypoint without a label.
ALWAYS = {"keypoint-never-labelled": 1}


def test_codes_are_unique() -> None:
    assert not set(checking_kinds.KINDS) & set(reading_kinds.KINDS)


@pytest.mark.parametrize(
    ("write", "name", "writer", "expected"),
    [
        (plain, "labels.json", "", {}),
        (label_tools.cvat, "person_keypoints_default.json", "CVAT", {}),
        (label_tools.label_studio, "result.json", "Label Studio", {}),
        (label_tools.roboflow, "_annotations.coco.json", "Roboflow", {}),
        (label_tools.deeplabcut, "train.json", "DeepLabCut", {"area-missing-box": 4, "keypoints-nested": 4}),
        (label_tools.sleap, "labels.json", "SLEAP", {}),
    ],
    ids=["plain", "cvat", "label-studio", "roboflow", "deeplabcut", "sleap"],
)
def test_annotations_as_tools_write_them(
    tmp_path: Path, write: Callable[..., Any], name: str, writer: str, expected: dict[str, int]
) -> None:
    checked = check_document(tmp_path, write(make_people()), name)
    assert checked.writer == writer
    assert codes(checked) == ALWAYS | expected
    assert not checked.refused
    assert checked.summary.endswith("4 images, 4 people, 17 keypoints (coco)")
    assert ("as " + writer in checked.summary) == bool(writer)
    shares = checked.facts["labelled_share"]
    assert isinstance(shares, dict)
    assert shares["0 nose"] == 1.0
    assert shares["16 right_ankle"] == 0.0


def test_predictions_of_ultralytics_and_the_annotations_they_belong_to(tmp_path: Path) -> None:
    people = make_people()
    document = plain(people)
    for number, image in enumerate(document["images"]):
        image["file_name"] = f"frame_{number:03}.png"
    annotations = tmp_path / "val.json"
    annotations.write_text(json.dumps(document))
    alone = check_document(tmp_path, label_tools.ultralytics(people), "predictions.json")
    assert (alone.kind, alone.writer, codes(alone)) == ("results", "Ultralytics", {"form-alone": 0})
    beside = check_document(tmp_path, label_tools.ultralytics(people), "predictions.json", annotations=annotations)
    assert codes(beside) == {"image-id-is-name": 4}
    strangers = label_tools.ultralytics(people)
    for entry in strangers:
        entry["image_id"] = "of_another_set"
    lost = check_document(tmp_path, strangers, "predictions.json", annotations=annotations)
    assert codes(lost)["result-of-unknown-picture"] == 4
    assert lost.refused


def test_results_are_checked_one_by_one(tmp_path: Path) -> None:
    annotations = tmp_path / "val.json"
    annotations.write_text(json.dumps(plain(make_people())))
    good = {"image_id": 1, "category_id": 1, "keypoints": [1.0] * 51, "score": 0.5}
    wrong = [good | {"image_id": 77}, good | {"keypoints": [1.0] * 48}, good | {"score": None}, good | {"keypoints": []}]
    checked = check_document(tmp_path, [good, *wrong], "results.json", annotations=annotations)
    assert (checked.kind, checked.facts["keypoints"]) == ("results", 17)
    assert codes(checked) == {"result-of-unknown-picture": 1, "result-of-other-count": 1, "result-unusable": 2}
    other = check_document(tmp_path, [good], "results.json", skeleton=get_skeleton("crowdpose"))
    assert codes(other) == {"form-alone": 0, "result-of-another-model": 0}


def test_all_lists_of_a_whole_body_are_read(tmp_path: Path) -> None:
    document = plain(make_people())
    parts = {"foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
    for annotation in document["annotations"]:
        annotation |= {part: [40.0, 50.0, 0.9] * count for part, count in parts.items()}
    checked = check_document(tmp_path, document)
    assert checked.summary.endswith("133 keypoints (wholebody)")
    assert not checked.refused


def test_tracks_are_a_mark_of_sleap(tmp_path: Path) -> None:
    document = label_tools.sleap(make_people()) | {"info": {}}
    for number, image in enumerate(document["images"]):
        image["file_name"] = f"{number}.jpg"
    assert check_document(tmp_path, document).writer == "SLEAP"


def test_detections_are_compared_with_the_annotated_people(tmp_path: Path) -> None:
    people = make_people()
    for box, rows in people:
        box[0] += 200
        for row in rows[:-1]:
            row[0] += 200
    document = plain(people)
    for image in document["images"]:
        image["width"] = 640
    annotations = tmp_path / "val.json"
    annotations.write_text(json.dumps(document))
    good = [{"image_id": number + 1, "category_id": 1, "bbox": box, "score": 0.5} for number, (box, _) in enumerate(people)]
    corners = [entry | {"bbox": [*entry["bbox"][:2], *np.add(entry["bbox"][:2], entry["bbox"][2:]).tolist()]} for entry in good]
    assert codes(check_document(tmp_path, good, "boxes.json", annotations=annotations)) == {}
    checked = check_document(tmp_path, {"results": good}, "boxes.json", annotations=annotations)
    assert codes(checked) == {"detections-wrapped": 0}
    refused = check_document(tmp_path, corners, "boxes.json", annotations=annotations)
    assert (refused.kind, codes(refused)) == ("detections", {"detections-other-form": 0})
    assert refused.refused
    lines = tmp_path / "boxes.jsonl"
    lines.write_text("\n".join(json.dumps(entry) for entry in good))
    assert codes(check(lines, annotations=annotations)) == {"detections-as-lines": 0}


def test_what_the_reader_refuses_is_one_error_with_the_mend(tmp_path: Path) -> None:
    document = plain(make_people())
    for annotation in document["annotations"]:
        annotation["bbox"] = [value / 120 for value in annotation["bbox"]]
    checked = check_document(tmp_path, document)
    assert codes(checked) == {"boxes-normalised": 0}
    assert "multiply them by the width and height" in str(checked.findings[0])
    nothing = check_document(tmp_path, plain(make_people()) | {"annotations": []})
    assert [finding.severity for finding in nothing.findings] == ["error"]
    assert "none of its 0 annotations has a labelled keypoint" in nothing.findings[0].message
    assert str(tmp_path) not in nothing.findings[0].message


def test_nobody_to_look_for(tmp_path: Path) -> None:
    document = plain(make_people())
    for annotation in document["annotations"]:
        annotation["bbox"].append(0.9)
    checked = check_document(tmp_path, document)
    assert codes(checked) == ALWAYS | {"box-unusable-labelled": 4, "nobody-to-look-for": 0}
    for annotation in document["annotations"]:
        annotation["bbox"].pop()
        annotation["iscrowd"] = 1
    assert "nobody-to-look-for" in codes(check_document(tmp_path, document))


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ([], "refused"),
        ({"a.jpg": [[1, 2, 3, 4]]}, "refused"),
        ([{"image_id": 1, "bbox": [1, 2, 30, 40]}], "refused"),
        ({"annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5}]}, "detections-wrapped"),
    ],
)
def test_boxes_are_detections_where_annotations_are_named(tmp_path: Path, document: object, code: str) -> None:
    annotations = tmp_path / "val.json"
    annotations.write_text(json.dumps(plain(make_people())))
    checked = check_document(tmp_path, document, "boxes.json", annotations=annotations)
    assert checked.kind == "detections"
    assert code in codes(checked)
    assert "form-alone" not in codes(checked)


def test_repairs_are_told_from_warnings(tmp_path: Path) -> None:
    document = plain(make_people())
    for annotation in document["annotations"]:
        annotation |= {"image_id": str(annotation["image_id"]), "num_keypoints": 0}
    document["annotations"][0]["area"] = 0
    found = {finding.code: finding for finding in check_document(tmp_path, document).findings}
    assert found["id-written-otherwise"].repaired
    assert found["num-keypoints-zero"].repaired
    assert not found["area-unusable-box"].repaired
    assert found["area-unusable-box"].severity == "warning"


@pytest.mark.parametrize("exchanged", [False, True])
def test_left_and_right_exchanged(tmp_path: Path, exchanged: bool) -> None:
    document = plain(make_people(30))
    if exchanged:
        order = get_skeleton("coco").flip_order
        document["categories"][0]["keypoints"] = [NAMES[place] for place in order]
    found = codes(check_document(tmp_path, document))
    assert found.get("sides-exchanged") == (3 if exchanged else None)  # eyes, shoulders, hips


@pytest.mark.parametrize(("turned", "said"), [(26, True), (15, False)])
def test_some_people_are_turned_in_any_set(tmp_path: Path, turned: int, said: bool) -> None:
    people = make_people(30)
    for _, rows in people[:turned]:
        for row in rows[:-1]:
            row[0] = label_tools.WIDTH - row[0]
    document = plain(people)
    for annotation in document["annotations"]:
        annotation["bbox"] = [0, 0, label_tools.WIDTH, label_tools.HEIGHT]
    assert ("sides-exchanged" in codes(check_document(tmp_path, document))) == said


def test_labels_that_show_trouble(tmp_path: Path) -> None:
    people = make_people(6)
    for _, rows in people:
        for row in rows:
            row[2] = min(row[2], 1.0)
    people[0] = (people[0][0], [[0.0, 0.0, 0.0]] * 17)
    people[1] = ([3.0, 3.0, 10.0, 12.0], [[3 + number / 2, 4 + number / 2, 1.0] for number in range(16)] + [[0.0] * 3])
    found = codes(check_document(tmp_path, plain(people)))
    assert found == ALWAYS | {"labels-all-occluded": 0, "people-unlabelled": 1, "people-small": 1}


def test_names_are_compared_with_a_models_one_by_one(tmp_path: Path) -> None:
    document = plain(make_people())
    assert codes(check_document(tmp_path, document, skeleton=get_skeleton("coco"))) == ALWAYS
    document["categories"][0]["keypoints"][1:3] = ["right_eye", "left_eye"]
    checked = check_document(tmp_path, document, skeleton=get_skeleton("coco"))
    assert codes(checked)["keypoints-of-another-model"] == 2
    assert "keypoint 1 of the model's skeleton 'coco' is left_eye" in " ".join(finding.message for finding in checked.findings)
    wrong = check_document(tmp_path, plain(make_people()), skeleton=get_skeleton("crowdpose"))
    assert wrong.refused
    assert "annotates 17 keypoints" in wrong.findings[0].message


def test_pictures_are_looked_for_and_measured(tmp_path: Path) -> None:
    document = plain(make_people(8))
    images = document["images"]
    names = [f"{number:03}.png" for number in range(8)]
    folder = tmp_path / "images"
    write_pictures(folder, [*names[:2], names[3], *(f"{camera}/{names[4]}" for camera in "ab"), "extra.png"])
    (folder / names[5]).write_bytes(b"")
    (folder / names[6]).write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
    (folder / names[7]).write_bytes((folder / names[0]).read_bytes())
    images[1] |= {"width": 120, "height": 90}
    images[3]["file_name"] = "C:\\upload\\003.PNG"
    checked = check_document(tmp_path, document, images=folder)
    found = {finding.code: finding for finding in checked.findings}
    assert codes(checked) == ALWAYS | {
        "picture-missing": 1,
        "picture-of-other-size": 1,
        "file-name-case": 1,
        "picture-ambiguous": 1,
        "picture-unreadable": 2,
        "picture-same": 1,
    }
    assert found["picture-missing"].example == "002.png"
    assert found["picture-ambiguous"].example == "004.png"
    assert found["picture-of-other-size"].example == "001.png is 90×120, stated 120×90"
    assert found["picture-same"].example == "007.png is 000.png"


def test_a_turned_jpeg_is_measured_as_it_is_shown(tmp_path: Path) -> None:
    done, encoded = cv2.imencode(".jpg", np.zeros((120, 90, 3), np.uint8))
    assert done
    # A TIFF directory of one tag: orientation 6.
    tiff = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + b"\0\0\0\0"
    segment = b"\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\0\0" + tiff
    (tmp_path / "000.png").write_bytes(encoded.tobytes()[:2] + segment + encoded.tobytes()[2:])
    document = plain(make_people(1))
    for decode in (False, True):
        found = check_document(tmp_path, document, images=tmp_path, decode=decode).findings
        assert [each.example for each in found if each.code == "picture-of-other-size"] == ["000.png is 120×90, stated 90×120"]


def test_damage_is_found_when_pictures_are_decoded(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["000.png"])
    content = (tmp_path / "000.png").read_bytes()
    (tmp_path / "000.png").write_bytes(content[: len(content) // 2])
    document = plain(make_people(1))
    assert codes(check_document(tmp_path, document, images=tmp_path)) == ALWAYS
    assert codes(check_document(tmp_path, document, images=tmp_path, decode=True)) == ALWAYS | {"picture-unreadable": 1}
    assert codes(check_document(tmp_path, document, images=tmp_path, max_pixels=1000)) == ALWAYS | {"picture-large": 1}


def test_what_two_sets_share(tmp_path: Path) -> None:
    train, val = plain(make_people(4)), plain(make_people(4, seed=1))
    for number, image in enumerate(val["images"]):
        image["file_name"] = f"{number + 3:03}.png"
    val["annotations"][2]["keypoints"] = train["annotations"][1]["keypoints"]
    val["annotations"][2]["bbox"] = train["annotations"][1]["bbox"]
    other = tmp_path / "train.json"
    other.write_text(json.dumps(train))
    assert codes(check_document(tmp_path, val, "val.json", against=other)) == ALWAYS | {"name-in-both": 1, "person-in-both": 1}
    write_pictures(tmp_path / "train", [image["file_name"] for image in train["images"]])
    write_pictures(tmp_path / "val", [image["file_name"] for image in val["images"]], seed=1)
    (tmp_path / "val/005.png").write_bytes((tmp_path / "train/000.png").read_bytes())
    checked = check_document(tmp_path, val, "val.json", against=other, images=tmp_path / "val", against_images=tmp_path / "train")
    # 003.png is in both by its name, but is another picture.
    assert codes(checked) == ALWAYS | {"picture-in-both": 1, "person-in-both": 1}
    assert next(finding.example for finding in checked.findings if finding.code == "picture-in-both") == "005.png is 000.png"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (json.dumps([{"id": 1, "data": {"image": "a.png"}, "annotations": []}]), "Label Studio's own JSON"),
        (json.dumps([{"image": "a.png", "kp": [], "annotator": 1, "annotation_id": 2}]), "Label Studio's own JSON"),
        ("<?xml version='1.0'?>\n<annotations>\n<version>1.1</version>", "CVAT's XML"),
        ("<annotation>\n<folder>a</folder>\n<object/></annotation>", "a Pascal VOC XML file"),
        ("0 0.5 0.5 0.1 0.2 0.4 0.3 2\n0 0.25 0.5 0.1 0.2 0.4 0.3 0\n", "YOLO labels"),
        ("train: images/train\nval: images/val\nkpt_shape: [17, 3]\nnames:\n  0: person\n", "data.yaml"),
        ("scorer,me,me\nbodyparts,nose,nose\ncoords,x,y\n", "a DeepLabCut table"),
        ("Task: walk\nscorer: me\nmultianimalproject: false\n", "config.yaml"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 70000 + b"df_with_missing", "a DeepLabCut table"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 50 + b"pred_points", "SLEAP's labels"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "an HDF5 file"),
        (json.dumps({"version": "5", "shapes": [], "imagePath": "a.png"}), "LabelMe"),
        (json.dumps({"version": 1.3, "people": [{"pose_keypoints_2d": []}]}), "OpenPose"),
    ],
)
def test_other_forms_are_named_with_their_export(tmp_path: Path, content: str | bytes, says: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    checked = check(path)
    assert checked.kind == "foreign"
    assert says in checked.summary
    assert checked.refused
    assert len(checked.findings[0].done) > 20


def test_own_documents(tmp_path: Path) -> None:
    skeleton = tmp_path / "any.name"
    skeleton.write_text(json.dumps({"name": "s", "keypoints": ["a", "left_b", "right_b"]}))
    checked = check(skeleton)
    assert (checked.kind, set(codes(checked))) == ("skeleton", {"skeleton-without-sigmas", "skeleton-without-flip-pairs"})
    skeleton.write_text(json.dumps({"name": "s", "keypoints": ["a", "a"]}))
    assert "names keypoints twice" in check(skeleton).findings[0].message
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"a.jpg": [[1, 2, 30, 40]], "b.jpg": []}))
    assert check(boxes).summary == "boxes by image: 1 boxes of 2 images"
    boxes.write_text(json.dumps([[1, 2, 3]]))
    assert "box 0 is [1, 2, 3]" in check(boxes).findings[0].message
    recipe = tmp_path / "recipe"
    recipe.write_text('name = "x"\nphases = []\nstudent = 7\n')
    assert (check(recipe).kind, check(recipe).refused) == ("recipe", True)


def test_a_folder_is_checked_as_a_whole(tmp_path: Path) -> None:
    for split, seed in (("train", 0), ("val", 1)):
        document = plain(make_people(3, seed=seed))
        write_pictures(tmp_path / split, [image["file_name"] for image in document["images"]], seed=seed)
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(document))
    (tmp_path / "labels").mkdir()
    for number in range(3):
        (tmp_path / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.1 0.2\n")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes.md").write_text("hello")
    found = list(check_paths([tmp_path], Question()))
    assert [(each.kind, str(each.path.relative_to(tmp_path))) for each in found] == [
        ("foreign", "labels/0.txt"),
        ("annotations", "train/_annotations.coco.json"),
        ("annotations", "val/_annotations.coco.json"),
        ("pictures", "train"),
        ("pictures", "val"),
        ("folder", "."),
    ]
    assert not any(each.refused for each in found)
    # Each file's pictures are those beside it, though the other folder has the same names.
    assert all(codes(each) == ALWAYS for each in found if each.kind == "annotations")
    assert codes(found[-1]) == {"files-skipped": 4}
    empty = tmp_path / "empty"
    empty.mkdir()
    (checked,) = check_paths([empty], Question())
    assert codes(checked) == {"folder-without-anything": 0}


@pytest.mark.parametrize("place", ["val/labels.json", "annotations/people_val.json"])
def test_splits_with_the_same_names_keep_their_pictures(tmp_path: Path, place: str) -> None:
    document = plain(make_people(4))
    names = [image["file_name"] for image in document["images"]]
    write_pictures(tmp_path / "train", names)
    write_pictures(tmp_path / "val", names[:3], seed=1)
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))
    checked = next(each for each in check_paths([tmp_path], Question()) if each.kind == "annotations")
    assert codes(checked) == ALWAYS | {"picture-missing": 1}


def test_detections_in_a_folder_belong_to_its_annotations(tmp_path: Path) -> None:
    people = make_people()
    detections = [{"image_id": number + 1, "category_id": 0, "bbox": box, "score": 0.5} for number, (box, _) in enumerate(people)]
    (tmp_path / "boxes.json").write_text(json.dumps(detections))
    (tmp_path / "labels.json").write_text(json.dumps(plain(people)))
    boxes = next(each for each in check_paths([tmp_path], Question()) if each.kind == "detections")
    assert codes(boxes) == {"detections-category-zero": 4}
    (tmp_path / "more.json").write_text(json.dumps(plain(people)))
    boxes = next(each for each in check_paths([tmp_path], Question()) if each.kind == "detections")
    assert codes(boxes) == {"form-alone": 0}  # whose boxes are they?


DEEP = "[" * 100_000 + "]" * 100_000
ESCAPE = "\x1b]0;owned\x07\x1b[31m"
HOSTILE = [
    DEEP,
    '{"images":' + DEEP + "}",
    '{"images":[],"annotations":[],"categories":[]}',
    '{"images":[{"id":' + "9" * 400 + ',"file_name":"a"}],"annotations":[],"categories":[]}',
    '{"images":[7],"annotations":{},"categories":"x"}',
    json.dumps(
        {"images": [{"id": ESCAPE, "file_name": ESCAPE}], "annotations": [{"image_id": ESCAPE}], "categories": [{"keypoints": [ESCAPE]}]}
    ),
    json.dumps({ESCAPE: [[1, 2, 3, 4]], "b": ESCAPE}),
    json.dumps({ESCAPE: [[1, 2, 3]]}),
    json.dumps([{"image_id": ESCAPE, "keypoints": [1, 2], "score": []}]),
    json.dumps([{"image_id": [], "bbox": {}, "score": {}}]),
    json.dumps([{"image_id": 1, "keypoints": [1e308] * 51, "score": 1}]),
    json.dumps({"keypoints": [ESCAPE, {}, None]}),
    json.dumps({"people": [ESCAPE]}),
    json.dumps({"edgepose_evaluation": {}}),
    json.dumps({"edgepose_benchmark": 1, "x": 1}),
    json.dumps({"edgepose_spec": ESCAPE}),
    '{"a":1,"a":2}',
    '"text"',
    "[NaN]",
    '{"a":"\\ud800"}',
    "[table\nx = 1",
    "[table]\nx = " + "9" * 400,
    "\ufeff" + json.dumps({"images": None, "annotations": [1]}),
    "0 " * 100_000,
    "<" * 100_000,
    "<?" * 50_000,
    "<!--" * 30_000,
    "scorer," + "," * 100_000,
    "PK\x03\x04data.pkl",
    "\x80\x02" + "(" * 1000,
    "\0" * 100,
]


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_hostile_files_are_described(tmp_path: Path, content: str, encoding: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content.encode(encoding, errors="replace"))
    for question in (Question(), Question(images=tmp_path, skeleton=get_skeleton("coco"), annotations=path, against=path)):
        report = to_report(list(check_paths([path], question)))
        assert json.loads(json.dumps(report, allow_nan=False))["edgepose_check"] == 1
    list(check_paths([tmp_path], Question()))
