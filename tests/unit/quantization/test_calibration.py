"""Photos become crops, and what can't be used is said."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from checkpoints import make_spec, random_model

from edgepose.boxes import BoxFile
from edgepose.crop import crop
from edgepose.errors import InputError
from edgepose.image import read_image
from edgepose.quantization.calibration import ENOUGH_PHOTOS, find_photos, load_calibration
from edgepose.spec import ModelSpec


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return make_spec(random_model(dim=48, depth=1, heads=3, head="simple", height=64, width=48))


def write_photos(folder: Path, count: int) -> list[Path]:
    generator = np.random.default_rng(0)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:03}.png"), generator.integers(0, 256, (80, 60, 3), np.uint8))
    return sorted(folder.glob("*.png"))


def boxes_for(photos: list[Path], box: list[float]) -> BoxFile:
    return BoxFile(source="boxes.json", shared=None, by_name={photo.name: np.array([box]) for photo in photos})


def test_every_fifth_photo_is_held_out(tmp_path: Path, spec: ModelSpec) -> None:
    photos = write_photos(tmp_path, 20)
    data = load_calibration(photos, None, spec, limit=100)
    assert (len(data.crops), len(data.held_out)) == (16, 4)
    assert data.crops.shape[1:] == spec.input_shape
    assert (data.source.photos, data.source.skipped, data.source.crops) == (20, 0, 16)
    seen = {each.tobytes() for each in data.crops}
    assert all(each.tobytes() not in seen for each in data.held_out)


def test_crops_are_those_of_the_pipeline(tmp_path: Path, spec: ModelSpec) -> None:
    photos = write_photos(tmp_path, ENOUGH_PHOTOS)
    box = [10.0, 5.0, 50.0, 70.0]
    data = load_calibration(photos, boxes_for(photos, box), spec, limit=100)
    expected = {crop(read_image(photo), [box], spec.input, spec.codec).batch.tobytes() for photo in photos}
    assert {each[None].tobytes() for each in (*data.crops, *data.held_out)} == expected


def test_the_boxes_of_what_is_held_out_are_known(tmp_path: Path, spec: ModelSpec) -> None:
    photos = write_photos(tmp_path, 22)
    by_name = {photo.name: np.array([[2, 3, 30.0 + number, 75], [5, 1, 55, 40.0 + number]]) for number, photo in enumerate(photos)}
    data = load_calibration(photos, BoxFile(source="boxes.json", shared=None, by_name=by_name), spec, limit=100)
    assert data.held_out_boxes is not None
    people = [(photo, box) for photo in photos for box in by_name[photo.name]]
    cut = {box.tobytes(): crop(read_image(photo), [box], spec.input, spec.codec).batch[0] for photo, box in people}
    assert len(data.held_out) == len(data.held_out_boxes) == 8
    for image, box in zip(data.held_out, data.held_out_boxes, strict=True):
        np.testing.assert_array_equal(image, cut[box.tobytes()])


def test_the_limit_bounds_the_crops(tmp_path: Path, spec: ModelSpec) -> None:
    data = load_calibration(write_photos(tmp_path, 40), None, spec, limit=10)
    assert len(data.crops) == 10
    assert data.source.photos >= ENOUGH_PHOTOS


def test_unusable_photos_are_skipped_and_listed(tmp_path: Path, spec: ModelSpec) -> None:
    photos = write_photos(tmp_path, 22)
    photos[3].write_bytes(b"no image")
    photos[7].write_bytes(b"")
    cv2.imwrite(str(photos[9]), np.full((80, 60, 3), 77, np.uint8))
    boxes = boxes_for(photos, [0.0, 0.0, 60.0, 80.0])
    by_name = dict(boxes.by_name)
    by_name[photos[11].name] = np.array([[0.0, 0.0, 5.0, 5.0]])
    by_name[photos[12].name] = np.zeros((0, 4))
    del by_name[photos[13].name]
    data = load_calibration(photos, BoxFile(source="boxes.json", shared=None, by_name=by_name), spec, limit=100)
    assert data.source.photos == 16
    assert data.source.skipped == 6
    problems = "\n".join(data.problems)
    for number in (3, 7, 9, 11, 12, 13):
        assert f"{number:03}.png: " in problems
    assert "constant" in problems
    assert "no box of at least 16 pixels" in problems


@pytest.mark.parametrize(
    ("count", "people", "expected", "words"),
    [
        (15, 1, (12, 3), "15 photos with 12 people .* of 3 people on photos that were held out"),
        (5, 1, (4, 1), "5 photos with 4 people .* of 1 people on photos that were held out"),
        (4, 1, (3, 1), "4 photos with 3 people .* of 1 people on the same photos"),
        (1, 12, (10, 2), "1 photos with 10 people .* of 2 people on the same photos"),
        (1, 2, (1, 1), "of 1 people on the same photos"),
        (1, 1, (1, 1), "who are the same: nothing was held out"),
    ],
)
def test_few_photos_are_taken_with_a_warning(
    tmp_path: Path, spec: ModelSpec, caplog: pytest.LogCaptureFixture, count: int, people: int, expected: tuple[int, int], words: str
) -> None:
    photos = write_photos(tmp_path, count)
    table = np.array([[number, 5.0, 40.0 + number, 70.0] for number in range(people)])
    boxes = BoxFile(source="boxes.json", shared=table, by_name={})
    data = load_calibration(photos, boxes, spec, limit=100)
    assert (len(data.crops), len(data.held_out)) == expected
    assert (data.source.photos, data.source.crops) == (count, expected[0])
    shared = {each.tobytes() for each in data.crops} & {each.tobytes() for each in data.held_out}
    assert bool(shared) == (count * people == 1)
    assert re.search(words, caplog.text)


def test_enough_photos_are_no_warning(tmp_path: Path, spec: ModelSpec, caplog: pytest.LogCaptureFixture) -> None:
    load_calibration(write_photos(tmp_path, ENOUGH_PHOTOS), None, spec, limit=100)
    assert not caplog.text


def test_no_usable_photo_says_why(tmp_path: Path, spec: ModelSpec) -> None:
    photos = write_photos(tmp_path, 2)
    for photo in photos:
        photo.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"none of the 2 photos can be calibrated on\n  000.png: can't read"):
        load_calibration(photos, None, spec, limit=100)


def test_constant_photos_are_no_calibration(tmp_path: Path, spec: ModelSpec) -> None:
    for number in range(20):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((80, 60, 3), 10 * number, np.uint8))
    with pytest.raises(InputError, match="none of the 20 photos.*"):
        load_calibration(find_photos([tmp_path]), None, spec, limit=100)


def test_folders_are_searched_and_files_taken(tmp_path: Path) -> None:
    (tmp_path / "in" / "side").mkdir(parents=True)
    photos = write_photos(tmp_path / "in" / "side", 2)
    (tmp_path / "in" / "notes.txt").write_text("no photo")
    assert find_photos([tmp_path / "in", photos[0]]) == [*photos, photos[0]]


def test_no_photos_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no image in"):
        find_photos([tmp_path])
    with pytest.raises(InputError, match="doesn't exist"):
        find_photos([tmp_path / "none"])
