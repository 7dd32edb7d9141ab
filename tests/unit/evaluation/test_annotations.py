"""Annotation files: what is read, what is counted, and what is refused."""

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_like import Document, hide_package, load, make_document, write

from edgepose.errors import EdgePoseError, InputError, MissingDependencyError, SpecError
from edgepose.evaluation.annotations import WHOLEBODY_PARTS, load_annotations
from edgepose.evaluation.dataset import Annotations
from edgepose.evaluation.people import annotated_people


def small() -> Document:
    """Two pictures, two people on the second; ids out of order."""
    points = [value for k in range(17) for value in (10.0 * k, 5.0 * k, 2)]
    return {
        "images": [
            {"id": 9, "file_name": "b/nine.jpg", "width": 640, "height": 480},
            {"id": 4, "file_name": "four.jpg", "width": 320, "height": 240},
        ],
        "annotations": [
            {"id": 7, "image_id": 4, "category_id": 1, "bbox": [1, 2, 30, 40], "area": 600.5, "iscrowd": 0, "keypoints": points},
            {"id": 5, "image_id": 4, "category_id": 1, "bbox": [3, 4, 50, 60], "iscrowd": 1, "keypoints": [0] * 51, "num_keypoints": 0},
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": [f"k{k}" for k in range(17)]}],
    }


def test_columns(tmp_path: Path) -> None:
    path = write(tmp_path, small())
    annotations = load_annotations(path, keypoints=17)
    assert annotations.source == "annotations.json"
    assert annotations.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert annotations.keypoint_names[:2] == ("k0", "k1")
    assert annotations.picture_ids.tolist() == [9, 4]
    assert annotations.file_names == ("b/nine.jpg", "four.jpg")
    assert annotations.picture_sizes.tolist() == [[640, 480], [320, 240]]
    assert annotations.ids.tolist() == [7, 5]
    assert annotations.pictures.tolist() == [1, 1]
    assert annotations.boxes_xywh.tolist() == [[1, 2, 30, 40], [3, 4, 50, 60]]
    assert annotations.areas[0] == 600.5
    assert np.isnan(annotations.areas[1])
    assert annotations.crowd.tolist() == [False, True]
    assert annotations.keypoints[0, 3].tolist() == [30, 15, 2]
    assert annotations.stated_keypoints is not None
    assert annotations.stated_keypoints.tolist() == [17, 0]
    assert annotations.crowd_index is None
    assert annotations.skipped == {}


def test_what_the_file_does_not_say(tmp_path: Path) -> None:
    document = small()
    for image in document["images"]:
        del image["width"], image["height"]
    for category in document["categories"]:
        del category["keypoints"]
    del document["annotations"][1]["keypoints"], document["annotations"][1]["num_keypoints"]
    annotations = load(tmp_path, document)
    assert annotations.keypoint_names == ()
    assert annotations.picture_sizes.tolist() == [[0, 0], [0, 0]]
    assert not annotations.keypoints[1].any()
    assert annotations.stated_keypoints is not None
    assert annotations.stated_keypoints.tolist() == [17, 0]


def test_crowd_index(tmp_path: Path) -> None:
    document = small()
    for image in document["images"]:
        image["crowdIndex"] = 0.25
    assert load(tmp_path, document).crowd_index == pytest.approx([0.25, 0.25])
    del document["images"][0]["crowdIndex"]
    with pytest.raises(SpecError, match="crowdIndex.*1 of 2"):
        load(tmp_path, document)


def test_wholebody_joins_its_lists(tmp_path: Path) -> None:
    document = small()
    start = 17
    for part, count in list(WHOLEBODY_PARTS.items())[1:]:
        document["annotations"][0][part] = [value for k in range(start, start + count) for value in (k, -k, 1)]
        start += count
    annotations = load(tmp_path, document, keypoints=133)
    assert annotations.keypoints.shape == (2, 133, 3)
    assert annotations.keypoints[0, 17:, 0].tolist() == list(range(17, 133))
    assert not annotations.keypoints[1].any()
    assert annotations.keypoint_names == tuple(f"k{k}" for k in range(17)), "the file names the body alone"
    # The same file serves a model of the body alone.
    assert load(tmp_path, document).keypoints.shape == (2, 17, 3)


def _set(where: str, value: object) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        document["annotations"][1][where] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set("image_id", 77), "annotations of unknown pictures"),
        (_set("category_id", 3), "annotations of categories that the file doesn't list"),
        (_set("bbox", [1, 2, 3]), "annotations without a usable box"),
        (_set("bbox", [1, 2, -3, 4]), "annotations without a usable box"),
        (_set("bbox", [1, 2, float("nan"), 4]), "annotations without a usable box"),
        (_set("bbox", None), "annotations without a usable box"),
        (_set("keypoints", [True] * 51), "annotations with keypoints that aren't finite numbers"),
        (_set("keypoints", "none"), "annotations with keypoints that aren't finite numbers"),
        (_set("keypoints", [1] * 48), "annotations with another number of keypoints than the others"),
    ],
)
def test_unusable_people_are_counted(tmp_path: Path, change: Callable[[Document], None], reason: str) -> None:
    document = small()
    change(document)
    for order in (1, -1):  # what an unusable one leaves behind doesn't show in the next
        document["annotations"] = document["annotations"][::order]
        annotations = load(tmp_path, document)
        assert annotations.skipped == {reason: 1}
        assert annotations.ids.tolist() == [7]
        assert annotations.keypoints[0, 3].tolist() == [30, 15, 2]
        assert annotations.areas.tolist() == [600.5]


def test_an_unusable_person_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    document = small()
    first, last = document["annotations"]
    del last["keypoints"]
    broken = first | {"id": 1, "face_kpts": ["no"] * 204}
    document["annotations"] = [broken, last, first]
    annotations = load(tmp_path, document, keypoints=133)
    assert annotations.ids.tolist() == [5, 7]
    assert not annotations.keypoints[0].any()
    assert np.isnan(annotations.areas[0])


def _change(path: str, value: object) -> Callable[[Document], object]:
    """Set or, for ``...``, delete ``a.0.b`` in the document."""

    def change(document: Document) -> object:
        *way, last = path.split(".")
        at: Any = document
        for step in way:
            at = at[int(step) if step.isdigit() else step]
        if value is ...:
            del at[last]
        else:
            at[last] = value
        return document

    return change


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (_change("images", ...), SpecError, "no list of objects 'images'"),
        (_change("images", []), SpecError, "'images' is empty"),
        (_change("annotations", []), SpecError, "none of its 0 annotations has a labelled keypoint"),
        (_change("categories", {}), SpecError, "no list of objects 'categories'"),
        (_change("images.0.id", 4), SpecError, "two images have the id 4"),
        (_change("images.0.id", 4.0), SpecError, "two images have the id 4"),
        (_change("images.0.id", [9]), SpecError, "'id' is .* expected a whole number or text"),
        (_change("images.0.id", True), SpecError, "'id' is True"),
        (_change("images.0.id", float("nan")), SpecError, "'id' is nan"),
        (_change("images.0.width", -1), SpecError, "'width' is -1"),
        (_change("images.0.width", 10**12), SpecError, "'width' is 1000000000000; expected pixels"),
        (_change("images.0.width", 10**99), SpecError, "'width' is a number of more than 60 digits"),
        (_change("images.0.file_name", ""), SpecError, "expected text"),
        (_change("images.0.file_name", ...), SpecError, "file name is None"),
        (_change("annotations.0.image_id", [4]), SpecError, "'image_id' is"),
        (_change("annotations.0.category_id", 1.5), SpecError, "'category_id' is 1.5"),
        (_change("annotations.0.iscrowd", "maybe"), SpecError, "'iscrowd' is 'maybe'"),
        (_change("annotations.0.iscrowd", 2), SpecError, "'iscrowd' is 2"),
        (_change("annotations.0.keypoints", [0] * 51), SpecError, "none of its 2 annotations has a labelled keypoint"),
        (_change("annotations.0.image_id", 1), SpecError, "left out: 1 annotations of unknown pictures"),
        (_change("annotations.0.keypoints", [1.5, 2.5] * 17), SpecError, "expected a keypoint file: x, y and visibility of 17"),
        (_change("categories.0.keypoints", ["a", "b"]), InputError, r"annotates 2 keypoints \(a, b …\), but the model finds 17"),
        (_change("categories", [{"id": 1, "keypoints": ["a"]}, {"id": 2, "keypoints": ["b"]}]), SpecError, "2 different sets"),
        (lambda document: "text", SpecError, "no list of objects 'images'"),
        (lambda document: [1, 2], InputError, "annotates 16 keypoints .* mpii"),
    ],
)
def test_bad_files(tmp_path: Path, change: Callable[[Document], object], error: type[EdgePoseError], message: str) -> None:
    path = write(tmp_path, change(small()))
    with pytest.raises(error, match=message) as caught:
        load_annotations(path, keypoints=17)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_count_names_who_has_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="annotates 17 .*finds 14.*whose skeleton is ap10k or coco"):
        load(tmp_path, small(), keypoints=14)
    with pytest.raises(InputError, match="annotates 17 .*finds 133"):  # no lists of hands and faces
        load(tmp_path, small(), keypoints=133)
    document = small()
    del document["categories"][0]["keypoints"], document["annotations"][0]["keypoints"], document["annotations"][1]["keypoints"]
    with pytest.raises(SpecError, match="neither its categories nor its annotations have keypoints"):
        load(tmp_path, document)


@pytest.mark.parametrize("content", [b"", b"{", b'{"images": [', b"\xff\xfe\x00", b"[" * 100_000])
def test_not_json(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(SpecError, match="isn't valid JSON"):
        load_annotations(path, keypoints=17)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't read the annotations.*No such file"):
        load_annotations(tmp_path / "none.json", keypoints=17)
    with pytest.raises(InputError, match="can't read the annotations"):
        load_annotations(tmp_path, keypoints=17)


MPII = [
    {"image": "a.jpg", "center": [101.0, 51.0], "scale": 1.0, "joints": [], "joints_vis": []},
    {"image": "b.jpg", "center": [-1.0, -1.0], "scale": 2.0},
    {"image": "a.jpg", "center": [301.0, 201.0], "scale": 0.5},
]


def write_mpii(folder: Path, people: list[Document] = MPII, **changed: Any) -> Path:
    from scipy.io import savemat

    count = len(people)
    places = np.arange(16 * 2 * count, dtype=np.float64).reshape(16, 2, count)
    missing = np.zeros((16, count))
    missing[3, 0] = 1
    heads = np.zeros((2, 2, count))
    heads[1] = [[30.0] * count, [40.0] * count]
    content = {"pos_gt_src": places, "jnt_missing": missing, "headboxes_src": heads} | changed
    savemat(folder / "mpii_gt_val.mat", {key: value for key, value in content.items() if value is not None})
    return write(folder, people, "mpii_val.json")


def test_mpii(tmp_path: Path) -> None:
    annotations = load_annotations(write_mpii(tmp_path), keypoints=16)
    assert annotations.file_names == ("a.jpg", "b.jpg")
    assert annotations.pictures.tolist() == [0, 1, 0]
    # 200 pixels x scale around the centre, which moves down by 15 x scale unless nobody marked it; MATLAB counts from 1.
    assert annotations.boxes_xywh.tolist() == [[0, -35, 200, 200], [-202, -202, 400, 400], [250, 157.5, 100, 100]]
    assert annotations.head_sizes == pytest.approx([30, 30, 30])
    assert annotations.keypoints[1, 2].tolist() == [2 * 6 + 1 - 1, 2 * 6 + 3 + 1 - 1, 2]
    assert annotations.keypoints[0, 3, 2] == 0
    people = annotated_people(annotations)
    assert people.annotations.tolist() == [0, 2, 1]
    assert people.pictures.tolist() == [0, 0, 1]
    assert people.boxes_xyxy[0].tolist() == [0, -35, 200, 165]


def _people(**changed: object) -> list[Document]:
    people = copy.deepcopy(MPII)
    people[1] |= changed
    return people


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda folder: write_mpii(folder, _people(scale=0)), SpecError, "person 1: center is .* scale 0"),
        (lambda folder: write_mpii(folder, _people(center=[1])), SpecError, "person 1: center is"),
        (lambda folder: write_mpii(folder, _people(center=[1, float("nan")])), SpecError, "person 1: center is"),
        (lambda folder: write_mpii(folder, _people(image=7)), SpecError, "file name is 7"),
        (lambda folder: write_mpii(folder, pos_gt_src=np.zeros((16, 2, 5))), SpecError, r"pos_gt_src has shape \(16, 2, 5\)"),
        (lambda folder: write_mpii(folder, jnt_missing=None), SpecError, "no numbers 'jnt_missing'"),
        (lambda folder: write_mpii(folder, pos_gt_src=np.full((16, 2, 3), np.nan)), SpecError, "aren't finite"),
        (lambda folder: write_mpii(folder, headboxes_src=np.zeros((2, 2, 3))), SpecError, "head of person 0 has no size"),
        (lambda folder: write(folder, []), SpecError, "its list is empty"),
        (lambda folder: write(folder, MPII), InputError, "no file '.*mpii_gt_val.mat'"),
        (lambda folder: ((folder / "mpii_gt_val.mat").write_bytes(b"no"), write(folder, MPII))[1], SpecError, "isn't a MATLAB file"),
    ],
)
def test_bad_mpii(tmp_path: Path, make: Callable[[Path], Path], error: type[EdgePoseError], message: str) -> None:
    path = make(tmp_path)
    with pytest.raises(error, match=message):
        load_annotations(path, keypoints=16)


def test_mpii_without_scipy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_mpii(tmp_path)
    hide_package(monkeypatch, "scipy")
    with pytest.raises(MissingDependencyError, match=r"edgepose\[evaluate\]"):
        load_annotations(path, keypoints=16)


def test_arrays_are_compact(tmp_path: Path) -> None:
    document = make_document(pictures=5)
    document["annotations"] += [annotation | {"id": 10_000 + n, "image_id": 0} for n, annotation in enumerate(document["annotations"])]
    annotations = load(tmp_path, document)
    assert isinstance(annotations, Annotations)
    assert annotations.keypoints.base is None
    assert json.dumps(dict(annotations.skipped)) == json.dumps({"annotations of unknown pictures": len(annotations.ids)})
