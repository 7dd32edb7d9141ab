"""Files of boxes for what moves: by frame, in JSON lines and COCO's results."""

import json

import numpy as np
import pytest

from edgepose.boxes import load_boxes
from edgepose.errors import InputError, SpecError
from edgepose.pipeline.detection import BoxFileDetector, choose_detector
from edgepose.pipeline.frame import Frame

A, B = [1, 2, 30, 40], [3, 4, 50, 60]


def line(index, name="walk.mp4", **more):
    return {"index": index, "time_s": index / 25, "name": name} | more


def write_lines(path, *documents):
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def people(*boxes, score=None):
    return [{"box_xyxy": box, "keypoints": {}} | ({} if score is None else {"box_score": score}) for box in boxes]


def test_lines_of_a_video_go_by_frame(tmp_path):
    path = write_lines(
        tmp_path / "walk.jsonl",
        line(0, people=people(A, B, score=0.75), width=100),
        line(1, people=[]),
        line(2, failure="torn"),
        line(4, people=people(B)),
    )
    boxes = load_boxes(path)
    np.testing.assert_array_equal(boxes.rows_for_frame(0, "elsewhere/walk.mp4"), [[*A, 0.75], [*B, 0.75]])
    assert boxes.rows_for_frame(1, "walk.mp4").shape == (0, 4)
    np.testing.assert_array_equal(boxes.rows_for_frame(4, "walk.mp4"), [B])
    for missing in (2, 3, 5):
        with pytest.raises(InputError, match=rf"walk\.jsonl has no boxes for frame {missing}; it has the frames 0, 1, 4"):
            boxes.rows_for_frame(missing, "walk.mp4")
    with pytest.raises(InputError, match="it describes the frames of a video, and this is a picture"):
        boxes.for_image("photo.jpg")


def test_lines_of_pictures_go_by_name(tmp_path):
    boxes = load_boxes(write_lines(tmp_path / "x.jsonl", line(0, "in/a.jpg", people=people(A)), line(1, "in/b.jpg", people=[])))
    np.testing.assert_array_equal(boxes.for_image("in/a.jpg"), [A])
    assert len(boxes.for_image("in/b.jpg")) == 0
    with pytest.raises(InputError, match="has no boxes for the image 'in/c.jpg'"):
        boxes.for_image("in/c.jpg")


def test_one_line_is_a_video_of_one_frame(tmp_path):
    boxes = load_boxes(write_lines(tmp_path / "x.jsonl", line(0, people=people(A))))
    assert len(boxes.rows_for_frame(0, "walk.mp4")) == 1
    with pytest.raises(InputError):
        boxes.rows_for_frame(1, "walk.mp4")


def test_frames_by_name_number_or_for_all(tmp_path):
    contents = {
        "named": {"0": [A], "1": []},
        "results": [{"image_id": 0, "category_id": 1, "bbox": [1, 2, 29, 38], "score": 0.5}],
        "all": [A],
        "video": {"walk.mp4": [A]},
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(content))
        boxes = load_boxes(path)
        np.testing.assert_array_equal(boxes.rows_for_frame(0, "clips/walk.mp4")[:, :4], [A])
        if name == "named":
            with pytest.raises(InputError, match=r"named\.json has no boxes for frame 2; it names '0', '1'"):
                boxes.rows_for_frame(2, "clips/walk.mp4")
        else:
            # COCO's results have no object where nobody is.
            assert len(boxes.rows_for_frame(7, "clips/walk.mp4")) == (0 if name == "results" else 1)


def test_a_number_in_a_videos_name_is_no_frame(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{"image_id": 12, "category_id": 1, "bbox": [1, 2, 29, 38]}]))
    boxes = load_boxes(path)
    assert len(boxes.rows_for_frame(0, "000000000012.mp4")) == 0
    assert len(boxes.rows_for_frame(12, "000000000012.mp4")) == 1


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ('{"index": 0, "people": []}', "line 2 describes frame 0 a second time"),
        ('{"index": -1, "people": []}', "line 2 is .*expected an object with index"),
        ('{"index": true, "people": []}', "line 2 is .*expected an object with index"),
        ('{"index": 1, "people": {}}', "line 2 has people {}; expected a list of objects"),
        ('{"index": 1, "people": [{}]}', "line 2: people: box 0 is None"),
        ('{"index": 1, "people": [{"box_xyxy": [1, 2, 3, 4], "box_score": 7}]}', "fifth isn't a score"),
        ('{"index": 1, "peop', "line 2 isn't valid JSON"),
        ("[1]", "line 2 is"),
    ],
)
def test_lines_that_are_none_are_named(second, why, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"index": 0, "people": []}\n' + second)
    with pytest.raises(SpecError, match=why):
        load_boxes(path)


def test_a_picture_without_a_line_of_its_own_is_not_found_by_its_place(tmp_path):
    """Boxes for frames 0 and 1 aren't those of a folder's first pictures."""
    path = tmp_path / "named.json"
    path.write_text(json.dumps({"0": [A], "1": [B]}))
    image = np.zeros((100, 100, 3), np.uint8)
    frame = Frame(image=image, index=1, time_s=None, name="a.jpg")
    with pytest.raises(InputError, match="has no boxes for the image"):
        BoxFileDetector(load_boxes(path)).find(frame)
    moving = choose_detector("auto", boxes=path, whole=False, min_score=None, device="auto", threads=None, moving=True)
    np.testing.assert_array_equal(moving.find(frame).boxes_xyxy, [B])
