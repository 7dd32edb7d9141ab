import copy
import json
import random

import numpy as np
import pytest
from documents import damage

from edgepose.boxes import BoxStatus, check_boxes, judge_boxes, load_boxes
from edgepose.errors import InputError, SpecError

SHAPE = (100, 200, 3)
GOOD = [10, 20, 30, 40]


@pytest.mark.parametrize("boxes", [[GOOD], [[-50, -50, 10, 10]], [[190, 90, 500, 500]], [[-100, -100, 400, 400]], [[199.5, 0, 300, 50]]])
def test_boxes_that_touch_the_image_are_fine(boxes):
    checked = check_boxes(boxes, SHAPE)
    assert checked.dtype == np.float64
    np.testing.assert_array_equal(checked, boxes)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([np.nan, 0, 10, 10], "every number must be finite"),
        ([0, 0, np.inf, 10], "every number must be finite"),
        ([30, 20, 10, 40], "left must be less than right"),
        ([10, 40, 30, 20], "top less than bottom"),
        ([10, 20, 10, 40], "at least 0.1 pixels"),
        ([10, 20, 30, 20], "at least 0.1 pixels"),
        ([10, 20, 10.05, 40], "at least 0.1 pixels"),
        ([0, 0, 1e6, 10], "between ±100000"),
        ([200, 0, 300, 50], "outside the image of 200×100 pixels"),
        ([-50, 0, 0, 50], "outside the image"),
        ([0, 100, 50, 150], "outside the image"),
        ([0, -50, 50, 0], "outside the image"),
    ],
)
def test_a_bad_box_is_named_with_its_value(box, message):
    with pytest.raises(InputError, match=message) as caught:
        check_boxes([GOOD, GOOD, box], SHAPE)
    assert "box 2 is [" in str(caught.value)
    assert f", {float(box[2])}, " in str(caught.value)


@pytest.mark.parametrize(
    "boxes",
    [
        [],
        np.empty((0, 4)),
        np.empty((0, 4), np.int64),
        np.empty((0, 5)),
        np.empty((0, 6), np.float32),
        [[]],
        np.array([[]]),
        np.empty((0, 0)),
    ],
)
def test_no_boxes(boxes):
    assert check_boxes(boxes, SHAPE).shape == (0, 4)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (GOOD, r"shape \(4,\)"),
        ([[1, 2, 3]], r"shape \(1, 3\)"),
        (np.ones((2, 3, 4)), r"shape \(2, 3, 4\)"),
        ([[1, 2, 3, 4, 5, 6, 7]], r"shape \(1, 7\)"),
        ([GOOD, [1, 2]], "don't make an array"),
        ([["a", "b", "c", "d"]], "dtype <U1"),
        ([[True, True, True, True]], "dtype bool"),
        ([[None, 0, 1, 1]], "dtype object"),
    ],
)
def test_what_is_not_an_array_of_boxes_is_refused(boxes, message):
    with pytest.raises(InputError, match=message):
        check_boxes(boxes, SHAPE)


def write(folder, content):
    path = folder / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_list_is_for_every_image(tmp_path):
    boxes = load_boxes(write(tmp_path, [GOOD, [0, 0, 5.5, 6]]))
    np.testing.assert_array_equal(boxes.for_image("a.jpg"), [GOOD, [0, 0, 5.5, 6]])
    np.testing.assert_array_equal(boxes.for_image("b.jpg"), boxes.for_image("a.jpg"))


def test_people_are_for_every_image(tmp_path):
    boxes = load_boxes(write(tmp_path, {"licence": "CC0", "people": [{"box_xyxy": GOOD, "score": 1}]}))
    np.testing.assert_array_equal(boxes.for_image("a.jpg"), [GOOD])


def test_an_object_is_by_file_name(tmp_path):
    boxes = load_boxes(write(tmp_path, {"a.jpg": [GOOD], "b.jpg": []}))
    np.testing.assert_array_equal(boxes.for_image(tmp_path / "a.jpg"), [GOOD])
    assert boxes.for_image("b.jpg").shape == (0, 4)
    with pytest.raises(InputError, match=r"boxes\.json has no boxes for the image 'c\.jpg'; it names 'a\.jpg', 'b\.jpg'"):
        boxes.for_image("c.jpg")


def test_nulls_are_boxes_that_cannot_be_used(tmp_path):
    # JSON has no NaN: JavaScript and pandas write null.
    for document in ([GOOD, [None] * 4], {"a.jpg": [GOOD, [None] * 4]}, [detection(1, 10), detection(1, 10) | {"bbox": [None] * 4}]):
        boxes = load_boxes(write(tmp_path, document))
        rows = boxes.rows_for_image("a.jpg" if isinstance(document, dict) else "000001.jpg")
        assert judge_boxes(rows[:, :4], SHAPE).status == (BoxStatus.USABLE, BoxStatus.NOT_FINITE)


def test_an_empty_list_is_no_boxes(tmp_path):
    assert load_boxes(write(tmp_path, [])).for_image("a.jpg").shape == (0, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "isn't valid JSON"),
        ("[1, 2", "isn't valid JSON"),
        ("17", "holds 17; allowed"),
        ([1, 2, 3, 4], "box 0 is 1; expected four numbers"),
        ([GOOD, [1, 2, 3]], r"box 1 is \[1, 2, 3\]"),
        ([[1, 2, 3, "4"]], "box 0 is"),
        ([[1, 2, 3, True]], "box 0 is"),
        ([GOOD, None], "box 1 is None"),
        ({"a.jpg": {"x": 1}}, r"a\.jpg holds"),
        ({"a.jpg": [GOOD, 5]}, r"a\.jpg: box 1 is 5"),
        ({"people": [{"name": "x"}]}, "people: box 0 is None"),
        ("[[1, 2, 3, 1" + "0" * 400 + "]]", "more than 308 digits"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, content, message):
    with pytest.raises(SpecError, match=message) as caught:
        load_boxes(write(tmp_path, content))
    assert "boxes.json" in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(InputError, match="can't read the boxes file"):
            load_boxes(path)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match=r"binary\.json isn't valid JSON"):
        load_boxes(tmp_path / "binary.json")


def test_each_box_is_judged_on_its_own():
    boxes = [
        GOOD,
        [np.nan, 0, 10, 10],
        [-np.inf, 0, np.inf, 9],
        [30, 20, 10, 40],
        [200, 20, 200, 40],
        [-499734, -499825, 878000, 1170611],
        [250, 20, 260, 40],
        [-50, -50, 500, 500],
    ]
    judged = judge_boxes(boxes, SHAPE)
    assert judged.status == (
        BoxStatus.USABLE,
        BoxStatus.NOT_FINITE,
        BoxStatus.NOT_FINITE,
        BoxStatus.INVERTED,
        BoxStatus.TOO_SMALL,
        BoxStatus.TOO_FAR,
        BoxStatus.OUTSIDE,
        BoxStatus.USABLE,
    )
    np.testing.assert_array_equal(judged.boxes_xyxy, boxes)
    np.testing.assert_array_equal(judged.usable, [True, *[False] * 6, True])
    assert judged.scores is None
    assert [bool(reason) for reason in judged.reasons] == [not usable for usable in judged.usable]
    assert (
        judged.reasons[6] == "box 6 is [250.0, 20.0, 260.0, 40.0]: it lies outside the image of 200×100 pixels; a part of it must be inside"
    )


def test_boxes_that_are_all_bad_are_rows_too():
    judged = judge_boxes([[np.nan] * 4, [1e308, -1e308, -1e308, 1e308]], SHAPE)
    assert judged.status == (BoxStatus.NOT_FINITE, BoxStatus.INVERTED)


def test_scores_of_a_detector_are_kept():
    judged = judge_boxes(np.array([[*GOOD, 0.9], [*GOOD, 0]], np.float32), SHAPE)
    np.testing.assert_array_equal(judged.boxes_xyxy, [GOOD, GOOD])
    np.testing.assert_array_equal(judged.scores, np.array([0.9, 0], np.float32).astype(float))


def test_of_the_classes_zero_are_people():
    judged = judge_boxes([[*GOOD, 0.9, 0], [*GOOD, 0.8, 2], [500, 0, 510, 10, 0.7, 2]], SHAPE)
    assert judged.status == (BoxStatus.USABLE, BoxStatus.NOT_A_PERSON, BoxStatus.OUTSIDE)
    np.testing.assert_array_equal(judged.scores, [0.9, 0.8, 0.7])
    with pytest.raises(InputError, match="box 1 is .*: its class isn't 0"):
        check_boxes([[*GOOD, 0.9, 0], [*GOOD, 0.8, 2]], SHAPE)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, *GOOD]], "five?.*the fifth isn't a score: it holds 40"),  # torchvision's regions: the image's number first
        ([[*GOOD, np.nan]], "isn't a score: it holds nan"),
        ([[*GOOD, -0.5, 0]], "isn't a score: it holds -0.5"),
        ([[*GOOD, 0, 0.9]], "the last isn't a class: it holds 0.9"),
        ([[*GOOD, 0.9, -1]], "the last isn't a class: it holds -1"),
        ([GOOD, [*GOOD, 0.5]], "don't make an array"),
        (np.empty((3, 0)), r"shape \(3, 0\)"),
        (np.array([GOOD], dtype=complex), "dtype complex"),
        (np.array([[10**400, 0, 1, 1]], dtype=object), "too large"),
        (np.array([["10", 0, 1, 1]], dtype=object), "dtype object"),
    ],
)
def test_columns_that_are_no_score_and_class_are_refused(rows, message):
    with pytest.raises(InputError, match=message.replace("five?", "5")):
        judge_boxes(rows, SHAPE)


@pytest.mark.parametrize(
    "boxes",
    [[[0.1, 0.2, 0.5, 0.9]], [[0, 0, 1, 1]], [[0.1, 0.2, 0.5, 0.9], [-0.01, 0.3, 1.02, 1]], [[0.1, 0.2, 0.5, 0.9], [np.nan] * 4]],
)
def test_shares_of_the_sides_are_no_pixels(boxes):
    with pytest.raises(InputError, match=r"shares of its width and height; give pixels: multiply by \(200, 100, 200, 100\)"):
        judge_boxes(boxes, SHAPE)
    assert judge_boxes(boxes, (1, 1, 3)).usable[0], "a picture of one pixel"
    assert judge_boxes(boxes, SHAPE, form_is_known=True).usable[0], "a data set's own box"
    assert judge_boxes([*boxes, GOOD], SHAPE).usable[-1], "among others, a small box is a small box"


def test_left_top_width_height_is_another_form():
    xywh = [[120, 50, 60, 40], [100, 60, 30, 30], [20, 10, 100, 80]]
    with pytest.raises(InputError, match="seem to be left, top, width, height"):
        judge_boxes(xywh, SHAPE)
    with pytest.raises(InputError, match="seem to be left, top, width, height"):
        judge_boxes(xywh[:1], SHAPE)
    # As width and height these would reach beyond the image: they are just wrong.
    assert judge_boxes([[150, 80, 100, 70]], SHAPE).status == (BoxStatus.INVERTED,)
    judged = judge_boxes([GOOD, xywh[0]], SHAPE)
    assert judged.status == (BoxStatus.USABLE, BoxStatus.INVERTED)
    assert "(not x, y, width, height)" in judged.reasons[1]


def test_tensors_and_other_numbers():
    torch = pytest.importorskip("torch")
    rows = [[*map(float, GOOD)]]
    for given in (
        torch.tensor(rows),
        torch.tensor(rows, requires_grad=True),
        torch.tensor(rows, dtype=torch.bfloat16),
        torch.tensor([GOOD]),
        [torch.tensor(rows[0], requires_grad=True)],
        (torch.tensor(GOOD),),
        np.array([GOOD], dtype=object),
        np.array([GOOD], dtype=np.float16),
        np.array([GOOD], dtype=np.uint64),
        [tuple(GOOD)],
    ):
        np.testing.assert_array_equal(check_boxes(given, SHAPE), [GOOD])
    for nobody in (torch.empty(0, 4), torch.empty(0, 6)):
        assert check_boxes(nobody, SHAPE).shape == (0, 4)


ELSE = [50, 60, 70, 80]


@pytest.mark.parametrize(
    ("names", "image", "expected"),
    [
        ({"cam1/0001.jpg": GOOD, "cam2/0001.jpg": ELSE}, "data/cam2/0001.jpg", ELSE),
        ({"cam1/0001.jpg": GOOD, "cam2/0001.jpg": ELSE}, "cam3/0001.jpg", None),
        ({"cam1/0001.jpg": GOOD}, "0001.jpg", None),
        ({"cam1\\0001.jpg": GOOD, "0001.jpg": ELSE}, "cam1/0001.jpg", GOOD),
        ({"cam1/0001.jpg": GOOD, "0001.jpg": ELSE}, "cam2/0001.jpg", ELSE),
        ({"./cam1//0001.jpg": GOOD}, "cam1/0001.jpg", GOOD),
        ({"../cam1/0001.jpg": GOOD}, "cam2/../cam1/0001.jpg", GOOD),
        ({"m1/0001.jpg": GOOD}, "cam1/0001.jpg", None),
        ({"0001": GOOD}, "cam1/0001.jpg", GOOD),
        ({"0001": GOOD, "0001.jpg": ELSE}, "cam1/0001.jpg", ELSE),
        ({"cam1/0001": GOOD}, "cam1/0001.jpg", GOOD),
        ({"0001.png": GOOD}, "cam1/0001.jpg", None),
        ({"a.b": GOOD}, "a.b.jpg", GOOD),
        ({"caf\u00e9.jpg": GOOD}, "cafe\u0301.jpg", GOOD),  # as macOS writes names
    ],
)
def test_a_name_stands_for_the_image_whose_path_ends_with_it(tmp_path, monkeypatch, names, image, expected):
    monkeypatch.chdir(tmp_path)
    boxes = load_boxes(write(tmp_path, {name: [box] for name, box in names.items()}))
    boxes.check_names([image])
    if expected is None:
        elsewhere = any(name.rpartition("/")[2] == "0001.jpg" for name in names)
        with pytest.raises(InputError, match="has no boxes for the image .*" + ("which is in another folder" if elsewhere else "it names")):
            boxes.for_image(image)
    else:
        np.testing.assert_array_equal(boxes.for_image(image), [expected])
        np.testing.assert_array_equal(boxes.for_image(tmp_path / image), [expected])


def test_the_images_own_folder_counts_where_the_name_is_given_without(tmp_path, monkeypatch):
    (tmp_path / "cam1").mkdir()
    boxes = load_boxes(write(tmp_path, {"cam1/0001.jpg": [GOOD]}))
    monkeypatch.chdir(tmp_path / "cam1")
    np.testing.assert_array_equal(boxes.for_image("0001.jpg"), [GOOD])


@pytest.mark.parametrize(
    ("name", "others"), [("0001.jpg", ("cam1/0001.jpg", "cam2/0001.jpg")), ("0001", ("cam1/0001.jpg", "cam1/0001.png"))]
)
def test_a_name_that_stands_for_two_images_is_refused(tmp_path, name, others):
    boxes = load_boxes(write(tmp_path, {name: [GOOD]}))
    with pytest.raises(InputError, match=f"'{name}' stands for both .*: name each image with its folder"):
        boxes.check_names(others)
    # Nor one after the other, for whoever doesn't know all images before.
    boxes.for_image(others[0])
    boxes.for_image(others[0])
    with pytest.raises(InputError, match="stands for both"):
        boxes.for_image(others[1])


def test_a_name_that_is_there_twice_is_refused(tmp_path):
    with pytest.raises(SpecError, match="names an image twice: 'cam1/a.jpg' and 'cam1"):
        load_boxes(write(tmp_path, {"cam1/a.jpg": [GOOD], "cam1\\a.jpg": [GOOD]}))


def test_files_with_rows_of_a_detector(tmp_path):
    boxes = load_boxes(write(tmp_path, {"a.jpg": [[*GOOD, 0.9, 0], [*GOOD, 0.8, 3]], "b.jpg": [[*GOOD, 0.5]], "c.jpg": [[]]}))
    np.testing.assert_array_equal(boxes.for_image("a.jpg"), [GOOD])
    np.testing.assert_array_equal(boxes.rows_for_image("a.jpg")[:, 4:], [[0.9, 0], [0.8, 3]])
    np.testing.assert_array_equal(boxes.rows_for_image("b.jpg"), [[*GOOD, 0.5]])
    assert boxes.for_image("c.jpg").shape == (0, 4)
    for rows, message in [([[*GOOD, 40]], "fifth isn't a score"), ([GOOD, [*GOOD, 0.5]], "box 1 has 5 numbers, box 0 4")]:
        with pytest.raises(SpecError, match=message):
            load_boxes(write(tmp_path, rows))


def detection(image, left, category=1, **more):
    return {"image_id": image, "category_id": category, "bbox": [left, 20, 20, 25], "score": 0.5} | more


def test_coco_detections(tmp_path):
    boxes = load_boxes(write(tmp_path, [detection(139, 10), detection(139, 15, 3), detection(7, 30)]))
    np.testing.assert_array_equal(boxes.rows_for_image("000000000139.jpg"), [[10, 20, 30, 45, 0.5]])
    np.testing.assert_array_equal(boxes.for_image("val/COCO_val2014_000000000007.jpg"), [[30, 20, 50, 45]])
    with pytest.raises(InputError, match=r"it goes by image_id \(139, 7\), and no number is in this image's name: put its file_name"):
        boxes.for_image("photo7.jpg")
    named = load_boxes(write(tmp_path, [detection(1, 10, file_name="a.jpg"), detection(2, 30, file_name="b/c.jpg")]))
    np.testing.assert_array_equal(named.for_image("b/c.jpg"), [[30, 20, 50, 45]])
    by_text = load_boxes(write(tmp_path, [detection("a", 10)]))
    np.testing.assert_array_equal(by_text.for_image("x/a.png"), [[10, 20, 30, 45]])


def test_coco_annotations(tmp_path):
    document = {
        "images": [{"id": 1, "file_name": "cam1/a.jpg"}, {"id": 2, "file_name": "cam2/a.jpg"}, {"id": 3, "file_name": "empty.jpg"}],
        "annotations": [detection(1, 10, 5), detection(1, 12, 6), detection(2, 30, 5), detection(2, 40, 5, iscrowd=1)],
        "categories": [{"id": 5, "name": "Person"}, {"id": 6, "name": "dog"}],
    }
    boxes = load_boxes(write(tmp_path, document))
    np.testing.assert_array_equal(boxes.for_image("cam1/a.jpg"), [[10, 20, 30, 45]])
    np.testing.assert_array_equal(boxes.for_image("cam2/a.jpg"), [[30, 20, 50, 45]])
    assert boxes.for_image("empty.jpg").shape == (0, 4)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([{"bbox": [1, 2, 3, 4]}], "object 0 is .*; expected image_id, and bbox"),
        ([detection(1, 10, bbox=[1, 2, 3])], "object 0 is"),
        ([detection(None, 10)], "object 0 is"),
        ([detection(1, 10, 3), detection(1, 10, 4)], "several categories, but none of 1"),
        ({"images": [{"id": 1}], "annotations": []}, r"images\[0\] is .*; expected an object with id and file_name"),
        ({"images": [], "annotations": [detection(1, 10)]}, "image_id 1, which isn't among the images"),
        ({"images": [], "annotations": [1]}, "isn't an object"),
    ],
)
def test_coco_files_that_cannot_be_used(tmp_path, document, message):
    with pytest.raises(SpecError, match=message):
        load_boxes(write(tmp_path, document))


def test_damaged_files_are_refused_or_read(tmp_path):
    documents = [
        {"file": [[*GOOD, 0.5, 0], [*ELSE, 0.2, 1]]},
        {"file": {"a/b.jpg": [GOOD], "c.jpg": []}},
        {"file": {"people": [{"box_xyxy": GOOD}, {"box_xyxy": [None] * 4}]}},
        {"file": [detection(3, 10), detection(4, 20, file_name="x.jpg")]},
        {
            "file": {
                "images": [{"id": 1, "file_name": "a.jpg"}],
                "annotations": [detection(1, 10)],
                "categories": [{"id": 1, "name": "person"}],
            }
        },
    ]
    read = 0
    for document in documents:
        for seed in range(150):
            damaged = copy.deepcopy(document)
            damage(damaged, random.Random(seed))
            try:
                boxes = load_boxes(write(tmp_path, json.dumps(damaged.get("file"))))
                for name in ("a/b.jpg", "000003.jpg", "x.jpg", "a.jpg"):
                    if boxes.find(name) is not None:
                        read += len(judge_boxes(boxes.rows_for_image(name), SHAPE).status)
            except (InputError, SpecError) as error:
                str(error).encode()
    assert read > 100
