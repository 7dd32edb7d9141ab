"""Readers, packs, label repair and the held-out people."""

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from people import HEIGHT, NAMES, WIDTH, annotation, draw_person, write_annotations, write_coco, write_recipe

from edgepose.distillation.holdout import split_people
from edgepose.distillation.labels import merge_labels
from edgepose.distillation.packing import Pack, open_pack
from edgepose.distillation.readers import find_format, read_people
from edgepose.distillation.recipe import LabelRules, Recipe, Source
from edgepose.distillation.recipe_files import load_recipe
from edgepose.errors import InputError, SpecError
from edgepose.skeleton import get_skeleton

COCO = get_skeleton("coco")
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = (
    NAMES.index(name) for name in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    # An input so large that the small pictures are kept as they are.
    return load_recipe(write_recipe(tmp_path / "tiny.toml"), overrides=[("phases.fine.height", "256"), ("phases.fine.width", "192")])


def pack_of(recipe: Recipe, folder: Path, **changes: object) -> Pack:
    source = Source(**{"name": "people", "path": "people.json"} | changes)
    return open_pack(recipe, (source,), folder, folder / "cache")


def test_a_pack_holds_the_people_where_they_were(recipe: Recipe, tmp_path: Path) -> None:
    write_coco(tmp_path / "data", 3)
    pack = pack_of(recipe, tmp_path / "data")
    assert (len(pack), list(pack.names)) == (3, ["000.png", "001.png", "002.png"])
    image, points, box = draw_person(np.random.default_rng(0))
    # The picture is smaller than the cut would be: it is kept whole.
    np.testing.assert_array_equal(pack.image(0), image)
    np.testing.assert_allclose(pack.keypoints[0, :, :2], points, atol=1e-4)
    np.testing.assert_allclose(pack.boxes_xyxy[0], box, atol=1e-6)
    assert (pack.keypoints[:, :, 2] == 1).all()


def test_large_pictures_are_cut_and_shrunk(recipe: Recipe, tmp_path: Path) -> None:
    image, points, box = draw_person(np.random.default_rng(3))
    large = np.zeros((2000, 1600, 3), np.uint8)
    large[400 : 400 + 8 * HEIGHT, 300 : 300 + 8 * WIDTH] = cv2.resize(image, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "large.png"), large[:, :, ::-1])
    # Pixel centres: the middle of pixel p lies at 8 p + 3.5 in the enlarged picture.
    moved, corners = points * 8 + 3.5 + (300, 400), box * 8 + np.array([300, 400, 300, 400])
    entry = {"id": 0, "file_name": "large.png", "width": 1600, "height": 2000}
    write_annotations(tmp_path / "people.json", [entry], [annotation(0, moved, corners)])
    pack = pack_of(recipe, tmp_path)
    cut = pack.image(0)
    assert 256 < cut.shape[0] <= 256 * 1.25 * 1.5 + 1
    # The dots are still where the labels say; those of the face cover each other.
    for index, (x, y) in list(enumerate(pack.keypoints[0, :, :2]))[5:]:
        hue = cv2.cvtColor(np.uint8([[[index * 10, 255, 255]]]), cv2.COLOR_HSV2RGB)[0, 0]
        assert np.abs(cut[round(float(y)), round(float(x))].astype(int) - hue).max() < 90, index
    sides = pack.boxes_xyxy[0, 2:] - pack.boxes_xyxy[0, :2]
    np.testing.assert_allclose(sides[0] / sides[1], (box[2] - box[0]) / (box[3] - box[1]), rtol=0.02)


def test_shrinking_keeps_keypoints_on_their_spot(recipe: Recipe, tmp_path: Path) -> None:
    y, x = np.mgrid[:1600, :1200]
    spot = np.array([500.0, 700.0])
    picture = 255 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * 40.0**2))
    cv2.imwrite(str(tmp_path / "spot.png"), picture.astype(np.uint8))
    person = annotation(0, np.tile(spot, (17, 1)), np.array([100.0, 100, 1100, 1500]))
    write_annotations(tmp_path / "people.json", [{"id": 0, "file_name": "spot.png"}], [person])
    pack = pack_of(recipe, tmp_path)
    cut = pack.image(0)[..., 0].astype(np.float64)
    assert cut.shape[0] < 500
    centre = [(np.arange(cut.shape[1 - axis]) * cut.sum(axis=axis)).sum() / cut.sum() for axis in (0, 1)]
    np.testing.assert_allclose(pack.keypoints[0, 0, :2], centre, atol=0.05)


def test_faults_are_counted_skipped_and_listed(recipe: Recipe, tmp_path: Path) -> None:
    write_coco(tmp_path, 8)
    document = json.loads((tmp_path / "people.json").read_text())
    people = document["annotations"]
    (tmp_path / "000.png").unlink()
    (tmp_path / "001.png").write_bytes((tmp_path / "001.png").read_bytes()[:200])
    people[2]["bbox"] = [WIDTH + 5, 0, 20, 20]
    people[3]["bbox"] = [0, 0, -4, float("nan")]
    people[4]["keypoints"] = [0] * 51
    people[5]["iscrowd"] = 1
    people[6]["keypoints"][0] = 5000
    document["images"][7]["file_name"] = "../outside.png"
    (tmp_path.parent / "outside.png").write_bytes((tmp_path / "002.png").read_bytes())
    (tmp_path / "people.json").write_text(json.dumps(document))
    pack = pack_of(recipe, tmp_path)
    assert list(pack.names) == ["006.png"]
    assert pack.keypoints[0, 0].tolist() == [0, 0, 0] or pack.keypoints[0, 0, 2] == 0
    assert pack.report.faults == {
        "missing pictures": 2,
        "broken pictures": 1,
        "boxes outside the picture": 1,
        "people with an unusable box": 1,
        "people without labels": 1,
        "crowds": 1,
        "keypoints outside the picture": 1,
    }
    assert any("001.png" in line for line in pack.report.listed)
    # The second time it is read from the cache, faults and all.
    assert pack_of(recipe, tmp_path).report == pack.report


def test_nobody_to_train_on(recipe: Recipe, tmp_path: Path) -> None:
    write_coco(tmp_path, 2)
    for file in tmp_path.glob("*.png"):
        file.write_bytes(b"not a picture")
    with pytest.raises(InputError, match="nobody to train on.*2 broken pictures"):
        pack_of(recipe, tmp_path)
    assert not list((tmp_path / "cache").iterdir())


def test_changed_data_make_a_new_pack(recipe: Recipe, tmp_path: Path) -> None:
    write_coco(tmp_path, 2)
    first = pack_of(recipe, tmp_path)
    assert pack_of(recipe, tmp_path).pixels.path == first.pixels.path
    write_coco(tmp_path, 3)
    assert len(pack_of(recipe, tmp_path)) == 3


def test_a_damaged_pack_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    write_coco(tmp_path, 2)
    path = pack_of(recipe, tmp_path).pixels.path
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match="incomplete; remove that folder"):
        pack_of(recipe, tmp_path)


def test_foreign_keypoints_are_mapped_by_name_or_refused(recipe: Recipe, tmp_path: Path) -> None:
    _, points, box = draw_person(np.random.default_rng(0))
    write_coco(tmp_path, 1)
    entry = {"id": 0, "file_name": "000.png"}
    person = annotation(0, points[[5, 0]], box)
    write_annotations(tmp_path / "people.json", [entry], [person], ("left_shoulder", "nose"))
    pack = pack_of(recipe, tmp_path)
    np.testing.assert_allclose(pack.keypoints[0, [5, 0], :2], points[[5, 0]], atol=1e-4)
    assert pack.keypoints[0, :, 2].sum() == 2
    write_annotations(tmp_path / "people.json", [entry], [person], ("beak", "tail"))
    with pytest.raises(InputError, match="beak, tail.*none in common"):
        pack_of(recipe, tmp_path)


def test_coco_files_are_read_as_they_are_found(recipe: Recipe, tmp_path: Path) -> None:
    write_coco(tmp_path, 4)
    plain = pack_of(recipe, tmp_path)
    document = json.loads((tmp_path / "people.json").read_text())
    for image in document["images"]:
        image |= {"id": str(image["id"]), "file_name": f"C:\\data\\{image['file_name']}"}
    for person in document["annotations"]:
        person |= {"keypoints": [*person["keypoints"][:48], None, None, 0], "bbox": [str(side) for side in person["bbox"]]}
    names = [name.replace("left_", "L ").replace("right_", "R ").title() for name in NAMES]
    document["categories"] = [{"id": 1, "keypoints": names}, {"id": 2, "name": "ball"}, {"id": 3, "keypoints": ["nose", "tail"]}]
    document["annotations"] += [document["annotations"][0] | {"category_id": 2}, document["annotations"][0] | {"image_id": 77}]
    (tmp_path / "people.json").write_text(json.dumps(document))
    pack = pack_of(recipe, tmp_path)
    assert list(pack.names) == list(plain.names)
    np.testing.assert_array_equal(pack.keypoints[:, :16], plain.keypoints[:, :16])
    assert not pack.keypoints[:, 16].any()
    assert pack.report.faults == {"people of other categories": 1, "people of unknown pictures": 1}
    told = pack.report.sources["people"]
    for words in (
        "4 ids that are written otherwise",
        "4 file names with another folder",
        "4 unlabelled keypoints",
        "4 boxes written as text",
    ):
        assert words in told


def test_coco_boxes_are_pixels(recipe: Recipe, tmp_path: Path) -> None:
    write_coco(tmp_path, 4)
    document = json.loads((tmp_path / "people.json").read_text())
    for person in document["annotations"]:
        person["bbox"] = [side / 120 for side in person["bbox"]]
    (tmp_path / "people.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="people.json: the annotated boxes are normalised"):
        pack_of(recipe, tmp_path)
    document["images"][1]["id"] = document["images"][0]["id"]
    (tmp_path / "people.json").write_text(json.dumps(document))
    with pytest.raises(SpecError, match="two images have the id"):
        pack_of(recipe, tmp_path)


@pytest.mark.parametrize("text", ["[]", "{", '{"images": [], "annotations": []}', '{"images": 3, "annotations": [], "categories": []}'])
def test_not_a_coco_file(text: str, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "people.json").write_text(text)
    with pytest.raises(SpecError, match="people.json"):
        pack_of(recipe, tmp_path)


def test_formats_by_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.json").touch()
    (tmp_path / "a.npz").touch()
    (tmp_path / "a.txt").touch()
    assert [find_format(tmp_path / name) for name in ("a.json", "a.npz", ".")] == ["coco", "lsp", "photos"]
    for name in ("a.txt", "nothing"):
        with pytest.raises(InputError, match="allowed: COCO .json"):
            find_format(tmp_path / name)


def test_lsp(recipe: Recipe, tmp_path: Path) -> None:
    image, points, box = draw_person(np.random.default_rng(1))
    joints = np.zeros((2, 14, 3), np.float32)
    joints[:, 0] = (*points[NAMES.index("right_ankle")], 1)
    joints[:, 9] = (*points[NAMES.index("left_shoulder")], 2)
    found = np.concatenate([points, np.full((17, 1), 0.9)], axis=1).astype(np.float32)
    np.savez(
        tmp_path / "crops.npz",
        files=np.array(["a.png", "b.png"]),
        joints14=joints,
        box_xyxy=np.stack([box] * 2),
        found=np.stack([found] * 2),
    )
    with zipfile.ZipFile(tmp_path / "crops.zip", "w") as archive:
        archive.writestr("a.png", cv2.imencode(".png", image[:, :, ::-1])[1].tobytes())
    source = Source(name="lsp", path="crops.npz", labels="fill", teacher_points="found")
    pack = open_pack(recipe, (source,), tmp_path, tmp_path / "cache")
    assert (len(pack), pack.report.faults) == (1, {"missing pictures": 1})
    np.testing.assert_allclose(pack.keypoints[0, :, :2], points, atol=1e-3)
    weights = pack.keypoints[0, :, 2]
    assert weights[NAMES.index("left_shoulder")] == weights[NAMES.index("right_ankle")] == 1
    assert np.unique(np.delete(weights, [NAMES.index("left_shoulder"), NAMES.index("right_ankle")])).tolist() == [np.float32(0.7)]
    assert pack.truth[0, :, 2].sum() == 2
    with pytest.raises(InputError, match="lacks the array 'nothing'"):
        read_people(Source(name="lsp", path="crops.npz", teacher_points="nothing"), tmp_path, COCO)


def test_photos_need_a_teacher(tmp_path: Path) -> None:
    write_coco(tmp_path, 2)
    with pytest.raises(InputError, match="set labels = 'teacher'"):
        read_people(Source(name="photos", path="."), tmp_path, COCO)
    people = list(read_people(Source(name="photos", path=".", labels="teacher"), tmp_path, COCO).each)
    assert [person.name for person in people] == ["000.png", "001.png"]
    (tmp_path / "boxes.json").write_text('{"000.png": [[0, 0, 9, 9], [5, 5, 60, 60]]}')
    opened = read_people(Source(name="photos", path=".", labels="teacher"), tmp_path, COCO)
    assert [person.name for person in opened.each] == ["000.png#0", "000.png#1"]
    assert opened.faults.counts == {"photos without boxes": 1}


BOX = np.array([0.0, 0.0, 100.0, 200.0])


def person_and_teacher() -> tuple[np.ndarray, np.ndarray]:
    _, points, _ = draw_person(np.random.default_rng(2))
    points = points * 2
    own = np.concatenate([points, np.ones((17, 1))], axis=1).astype(np.float32)
    return own, np.concatenate([points, np.full((17, 1), 0.9)], axis=1).astype(np.float32)


def test_exchanged_sides_are_put_right() -> None:
    own, teacher = person_and_teacher()
    merged = merge_labels(own[list(COCO.flip_order)], teacher, mode="merge", rules=LabelRules(), skeleton=COCO, box_xyxy=BOX)
    assert merged.swapped
    np.testing.assert_allclose(merged.keypoints, own)
    unsure = teacher * np.float32([1, 1, 0.1])
    assert not merge_labels(own[list(COCO.flip_order)], unsure, mode="merge", rules=LabelRules(), skeleton=COCO, box_xyxy=BOX).swapped
    assert not merge_labels(own, teacher, mode="merge", rules=LabelRules(), skeleton=COCO, box_xyxy=BOX).swapped


def test_a_sure_teacher_overrules_and_a_near_one_is_averaged() -> None:
    own, teacher = person_and_teacher()
    own[9, :2] += 90
    own[10, :2] += 90
    teacher[10, 2] = 0.65
    own[0, :2] += 4
    merged = merge_labels(own, teacher, mode="merge", rules=LabelRules(), skeleton=COCO, box_xyxy=BOX)
    assert merged.overruled == 1
    np.testing.assert_allclose(merged.keypoints[9], [*teacher[9, :2], 0.5])
    np.testing.assert_allclose(merged.keypoints[10], [*own[10, :2], 0.3], rtol=1e-6)
    np.testing.assert_allclose(merged.keypoints[0], [*(teacher[0, :2] + 2), 1], rtol=1e-6)


def test_modes_of_labels() -> None:
    own, teacher = person_and_teacher()
    own[3] = 0
    teacher[4, 2] = 0.1
    results = {
        mode: merge_labels(own, teacher, mode=mode, rules=LabelRules(), skeleton=COCO, box_xyxy=BOX).keypoints
        for mode in ("own", "fill", "teacher")
    }
    assert results["own"][3, 2] == 0
    assert results["fill"][3, 2] == np.float32(0.7)
    assert results["teacher"][3, 2] == 1
    assert results["teacher"][4, 2] == 0


def test_near_duplicates_of_held_out_people_are_left_out(recipe: Recipe, tmp_path: Path) -> None:
    write_coco(tmp_path, 10)
    document = json.loads((tmp_path / "people.json").read_text())
    cv2.imwrite(str(tmp_path / "mirrored.png"), cv2.imread(str(tmp_path / "000.png"))[:, ::-1])
    pack = pack_of(recipe, tmp_path)
    split = split_people(pack, source=0, count=2, near_duplicate=1.0, seed=0)
    assert (len(split.train), len(split.validation), split.duplicates) == (8, 2, 0)
    twin = int(split.validation[0])
    for number, flip in ((100, False), (101, True)):
        picture = cv2.imread(str(tmp_path / f"{twin:03d}.png"))
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture[:, ::-1] if flip else picture)
        document["images"].append({"id": number, "file_name": f"{number}.png"})
        document["annotations"].append(document["annotations"][twin] | {"image_id": number})
    (tmp_path / "people.json").write_text(json.dumps(document))
    larger = pack_of(recipe, tmp_path)
    for seed in range(20):
        split = split_people(larger, source=0, count=3, near_duplicate=0.999, seed=seed)
        names = set(larger.names[split.validation])
        twins = {f"{twin:03d}.png", "100.png", "101.png"}
        if names & twins:
            assert not set(larger.names[split.train]) & twins
            assert split.duplicates == len(twins - names)
