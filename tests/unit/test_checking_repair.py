"""The repaired copy: nothing is left to repair, and it means what the file meant."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_tools import NAMES, Document, cvat, deeplabcut, label_studio, make_people, plain, roboflow, sleap, write_pictures

from edgepose.checking import Question, check_paths
from edgepose.checking.repair import write_repaired
from edgepose.errors import EdgePoseError
from edgepose.evaluation.annotations import load_annotations
from edgepose.findings import Findings
from edgepose.skeleton import get_skeleton


def every(key: str, change: Callable[[Any], object]) -> Callable[[Document], None]:
    def apply(document: Document) -> None:
        for annotation in document["annotations"]:
            annotation[key] = change(annotation.get(key))

    return apply


def ids(change: Callable[[int], object]) -> Callable[[Document], None]:
    def apply(document: Document) -> None:
        for image in document["images"]:
            image["id"] = change(image["id"])
        for annotation in document["annotations"]:
            annotation["image_id"] = change(annotation["image_id"])

    return apply


def nothing_at_unlabelled(points: list[float]) -> list[object]:
    return [*points[:48], None, float("nan"), 0]


CHANGES: dict[str, Callable[[Document], object]] = {
    "text ids": ids(lambda number: f"picture {number}"),
    "20 digits": ids(lambda number: 10**20 + number),
    "float ids": ids(float),
    "ids otherwise": every("image_id", str),
    "ids by name": every("image_id", lambda number: f"{number - 1:03}.png"),
    "no annotation ids": every("id", lambda _: None),
    "one annotation id": every("id", lambda _: 7),
    "no category": every("category_id", lambda _: None),
    "category as text": every("category_id", str),
    "crowd as text": every("iscrowd", lambda _: "false"),
    "box as text": every("bbox", lambda box: [str(side) for side in box]),
    "area as text": every("area", str),
    "count as float": every("num_keypoints", float),
    "count of zero": every("num_keypoints", lambda _: 0),
    "nested": every("keypoints", lambda points: [points[start : start + 3] for start in range(0, 51, 3)]),
    "points as text": every("keypoints", lambda points: [str(value) for value in points]),
    "nothing at unlabelled": every("keypoints", nothing_at_unlabelled),
    "sizes": lambda document: document["images"][0].update(width="90", height=120.0),
    "address": lambda document: (document["images"][0].pop("file_name"), document["images"][0].update(coco_url="http://x/y/000.png")),
    "folders": lambda document: document["images"][1].update(file_name="D:\\sets\\001.PNG"),
    "more names": lambda document: document["categories"][0].update(keypoints=[*NAMES, "left_toe", "right_toe"]),
    "a dog": lambda document: document["categories"].append({"id": 2, "name": "dog", "keypoints": ["nose", "tail"]}),
}


def unchanged(_document: Document) -> None:
    """As the tool wrote it."""


CASES = [(plain, name, change) for name, change in CHANGES.items()]
CASES += [(write, write.__name__, unchanged) for write in (cvat, label_studio, roboflow, deeplabcut, sleap)]


@pytest.mark.parametrize(("write", "name", "change"), CASES, ids=[name for _, name, _ in CASES])
def test_nothing_is_left_to_repair(tmp_path: Path, write: Callable[..., Document], name: str, change: Callable[[Document], object]) -> None:
    document = write(make_people())
    if write is plain:
        write_pictures(tmp_path, ["000.png", "001.png", "002.png", "003.png"])
    change(document)
    path, out = tmp_path / "labels.json", tmp_path / "repaired.json"
    path.write_text(json.dumps(document))
    question = Question(images=tmp_path if write is plain else None, skeleton=get_skeleton("coco"))
    write_repaired(path, out, question)
    before, after = check_paths([path, out], question)
    assert any(finding.repaired for finding in before.findings) == (write in (plain, deeplabcut))
    assert [finding.code for finding in after.findings if finding.repaired] == []
    # Everything that wasn't repaired is said of the copy as well.
    assert {each.code for each in after.findings} == {each.code for each in before.findings if not each.repaired}
    old, new = (load_annotations(file, keypoints=17, names=NAMES, findings=Findings()) for file in (path, out))
    for column in ("boxes_xywh", "areas", "crowd", "keypoints", "pictures", "stated_keypoints", "picture_sizes"):
        np.testing.assert_array_equal(getattr(old, column), getattr(new, column))
    assert set(document) == set(json.loads(out.read_text()))


def test_what_isnt_certain_stays(tmp_path: Path) -> None:
    document = plain(make_people())
    first, second, third, fourth = document["annotations"]
    first["keypoints"] = [[None, None, 2], *[[1, 2, 2]] * 16]
    second["area"] = 0
    third["image_id"] = 99
    fourth |= {"comment": "kept", "bbox": None}
    path, out = tmp_path / "labels.json", tmp_path / "repaired.json"
    path.write_text(json.dumps(document))
    write_repaired(path, out, Question())
    written = json.loads(out.read_text())["annotations"]
    assert written[0]["keypoints"] == [None, None, 2.0, *[1.0, 2.0, 2.0] * 16]
    assert written[1:] == [second, third, fourth]


def test_an_annotation_of_an_unknown_picture_doesnt_get_one(tmp_path: Path) -> None:
    document = plain(make_people())
    ids(lambda number: f"picture {number}")(document)
    document["annotations"][0]["image_id"] = 1
    path, out = tmp_path / "labels.json", tmp_path / "repaired.json"
    path.write_text(json.dumps(document))
    write_repaired(path, out, Question())
    written = json.loads(out.read_text())["annotations"]
    assert [annotation["image_id"] for annotation in written] == [2, 3, 4]


def test_names_that_are_none_lose_nobody(tmp_path: Path) -> None:
    document = plain(make_people())
    document["categories"][0]["keypoints"] = "nose"
    path, out = tmp_path / "labels.json", tmp_path / "repaired.json"
    path.write_text(json.dumps(document))
    write_repaired(path, out, Question())
    assert len(json.loads(out.read_text())["annotations"]) == 4


def test_a_repeated_annotation_doesnt_become_a_second_person(tmp_path: Path) -> None:
    document = plain(make_people())
    document["annotations"] += [dict(document["annotations"][0]), dict(document["annotations"][1], id=1)]
    path, out = tmp_path / "labels.json", tmp_path / "repaired.json"
    path.write_text(json.dumps(document))
    write_repaired(path, out, Question())
    assert [annotation["id"] for annotation in json.loads(out.read_text())["annotations"]] == [1, 2, 3, 4, 5]
    people = [load_annotations(file, keypoints=17, findings=Findings()).keypoints for file in (path, out)]
    np.testing.assert_array_equal(*people)


def test_what_is_refused_is_written_nowhere(tmp_path: Path) -> None:
    path, out = tmp_path / "labels.json", tmp_path / "repaired.json"
    for document in (plain(make_people()) | {"annotations": []}, [[1, 2, 3, 4]], {"name": "s", "keypoints": ["a"]}):
        path.write_text(json.dumps(document))
        with pytest.raises(EdgePoseError):
            write_repaired(path, out, Question())
        assert not out.exists()
    path.write_text(json.dumps(plain(make_people())))
    with pytest.raises(EdgePoseError, match="another one"):
        write_repaired(path, path, Question())
