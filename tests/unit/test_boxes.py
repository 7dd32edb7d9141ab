import json

import numpy as np
import pytest

from edgepose.boxes import check_boxes, load_boxes
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


@pytest.mark.parametrize("boxes", [[], np.empty((0, 4)), np.empty((0, 4), np.int64)])
def test_no_boxes(boxes):
    assert check_boxes(boxes, SHAPE).shape == (0, 4)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (GOOD, r"shape \(4,\)"),
        ([[1, 2, 3]], r"shape \(1, 3\)"),
        (np.empty((0, 5)), r"shape \(0, 5\)|dtype"),
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
        ([[1, 2, 3, None]], "box 0 is"),
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
