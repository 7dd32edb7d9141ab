import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from evaluation_results import conditions, work
from pictures import draw_pictures

from edgepose.errors import InputError
from edgepose.evaluation.comparison import compare, most_changed
from edgepose.evaluation.evaluation import DataSet, Judged, Request, bootstrap, judge
from edgepose.evaluation.inference import Found
from edgepose.evaluation.page import format_page
from edgepose.evaluation.protocols import PROTOCOLS
from edgepose.skeleton import get_skeleton
from edgepose.spec import Architecture, ModelSpec, Provenance

SPEC = ModelSpec(
    name="tiny",
    architecture=Architecture(dim=48, depth=1, heads=3, head="simple"),
    skeleton=get_skeleton("coco"),
    provenance=Provenance(source="test"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    annotations, people = draw_pictures(folder, [1, 2, 0, 3, 1, 2, 1, 1, 2, 3])
    return DataSet(
        request=Request(annotations=folder / "people.json", images=folder),
        annotations=annotations,
        people=people,
        protocol=PROTOCOLS["coco"],
        detections_sha256=None,
        missing=np.zeros(10, np.bool_),
    )


def found(data, noise, seed=0, unusable=None):
    """The truth, with noise as a share of each person's size."""
    random = np.random.default_rng(seed)
    points = data.annotations.keypoints.copy()
    sizes = np.sqrt(data.annotations.areas)[:, None, None]
    points[..., :2] += random.normal(size=points[..., :2].shape) * noise * sizes
    points[..., 2] = 0.9
    for picture in unusable or {}:
        points[data.people.pictures == picture] = np.nan
    return Found(
        keypoints=points, unusable=unusable or {}, pictures=9, sizes=np.zeros((10, 2), np.int64), digest=1, seconds=2.0, device_seconds=1.0
    )


def judged(data, noise, seed=0, unusable=None) -> Judged:
    return judge(data, found(data, noise, seed, unusable), conditions(), work(), SPEC)


def test_a_model_is_no_worse_than_itself(data):
    same = judged(data, 0.05)
    comparison = compare(data, same, same)
    assert comparison.drop == 0
    assert (comparison.drop_interval.low, comparison.drop_interval.high) == (0, 0)
    assert comparison.shift_px == 0
    assert comparison.oks_drop == 0
    assert comparison.reference == "labels"
    assert comparison.compared == 16


def test_a_worse_model_is_worse_beyond_chance(data):
    good, bad = judged(data, 0.01), judged(data, 0.12, seed=1)
    comparison = compare(data, bad, good)
    assert good.score.metrics["AP"] > 0.9
    assert comparison.drop == pytest.approx(100 * (good.score.metrics["AP"] - bad.score.metrics["AP"]))
    assert 0 < comparison.drop_interval.low < comparison.drop < comparison.drop_interval.high
    assert 0 < comparison.oks_drop < comparison.oks_drop_p95 < 1
    assert [shift.keypoint for shift in comparison.shifts] == list(SPEC.skeleton.keypoints)
    assert np.mean([shift.mean_px for shift in comparison.shifts]) == pytest.approx(comparison.shift_px)


def test_shifts_are_in_pixels_of_the_input(data):
    good = judged(data, 0.0)
    moved = good.keypoints.copy()
    person = 4
    box = data.people.boxes_xyxy[person]
    moved[person, 3, 0] += 7.0
    comparison = compare(data, dataclasses.replace(good, keypoints=moved), good)
    crop_width = 1.25 * max(box[2] - box[0], (box[3] - box[1]) * 192 / 256)
    assert comparison.shifts[3].mean_px == pytest.approx(7.0 * 192 / crop_width / len(moved))
    assert comparison.shifts[2].mean_px == 0
    first, *_ = most_changed(data, dataclasses.replace(good, keypoints=moved), good, 3)
    assert first.person == person
    assert first.oks_drop > 0


def test_detections_are_compared_with_the_baseline(data):
    people = dataclasses.replace(data.people, annotations=np.full(len(data.people), -1))
    detected = dataclasses.replace(data, people=people)
    good, bad = judged(detected, 0.01), judged(detected, 0.12, seed=1)
    comparison = compare(detected, bad, good)
    assert comparison.reference == "baseline"
    assert 0 < comparison.oks_drop < 1


def test_pictures_that_one_could_not_use(data):
    part = judged(data, 0.02, unusable={3: "broken"})
    assert not part.evaluation.complete
    assert part.evaluation.left_out["unusable pictures"] == 1
    assert part.evaluation.unusable == ("3.png: broken",)
    assert part.evaluation.counts["people"] == 13, "those of the picture aren't expected to be found"
    assert part.score.metrics["AP"] > 0.9
    comparison = compare(data, part, part)
    assert comparison.compared == 13
    assert np.isfinite(comparison.shift_px)
    ran = np.flatnonzero(data.people.pictures != 3)
    assert sorted(change.person for change in most_changed(data, part, part, 100)) == ran.tolist()
    with pytest.raises(InputError, match="different pictures"):
        compare(data, part, judged(data, 0.02))
    everything = dict.fromkeys(range(10), "broken")
    with pytest.raises(InputError, match="no picture could be used"):
        judged(data, 0.02, unusable=everything)


def test_other_keypoints_cannot_be_compared(data):
    one = judged(data, 0.02)
    other = dataclasses.replace(one, spec=dataclasses.replace(SPEC, skeleton=get_skeleton("ap10k")))
    with pytest.raises(InputError, match="different keypoints"):
        compare(data, one, other)


def test_the_interval_holds_the_figure_and_narrows(data):
    score = judged(data, 0.1).score
    interval = bootstrap([score], 10, lambda values: values[0])
    assert interval.low < score.metrics["AP"] < interval.high
    again = bootstrap([score], 10, lambda values: values[0])
    assert again == interval, "seeded"
    assert bootstrap([score], 10, lambda _values: float("nan")) is None


def test_the_page_stands_alone(data, tmp_path):
    good, bad = judged(data, 0.01), judged(data, 0.12, seed=1)
    comparison = compare(data, bad, good)
    page = format_page(data, bad, good, comparison, most_changed(data, bad, good, 4))
    assert page.count("<img") == 8
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "left_wrist" in page
    assert f"{comparison.drop:+.2f} points" in page
    hostile = dataclasses.replace(data, annotations=dataclasses.replace(data.annotations, file_names=("<script>",) * 10))
    assert "<script>" not in format_page(hostile, bad, good, comparison, most_changed(data, bad, good, 4))
    (tmp_path / "page.html").write_text(page, "utf-8")
    assert Path(tmp_path / "page.html").stat().st_size < 2_000_000


def similarity(points, truth, counted, area):
    """OKS of one person, keypoint by keypoint."""
    sigmas = get_skeleton("coco").sigmas
    values = [
        np.exp(-((x - tx) ** 2 + (y - ty) ** 2) / (2 * area * (2 * sigma) ** 2))
        for (x, y), (tx, ty), sigma, counts in zip(points, truth, sigmas, counted, strict=True)
        if counts
    ]
    return float(np.mean(values))


def test_losses_of_oks_are_those_of_loops(data):
    random = np.random.default_rng(5)
    annotations = dataclasses.replace(data.annotations, keypoints=data.annotations.keypoints.copy(), areas=data.annotations.areas.copy())
    annotations.keypoints[..., 2] = random.integers(0, 3, annotations.keypoints.shape[:2])
    annotations.keypoints[:, 0, 2] = 1
    annotations.areas[::3] = np.nan
    changed = dataclasses.replace(data, annotations=annotations)
    good, bad = (judge(changed, found(data, noise, seed), conditions(), work(), SPEC) for noise, seed in ((0.09, 0), (0.1, 1)))
    boxes = data.people.boxes_xyxy
    areas = np.where(np.isnan(annotations.areas), 0.53 * (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), annotations.areas)
    drops = np.array([
        similarity(good.keypoints[row, :, :2], truth[:, :2], truth[:, 2] > 0, areas[row])
        - similarity(bad.keypoints[row, :, :2], truth[:, :2], truth[:, 2] > 0, areas[row])
        for row, truth in enumerate(annotations.keypoints)
    ])  # fmt: skip
    comparison = compare(changed, bad, good)
    assert comparison.reference == "labels"
    assert comparison.oks_drop == pytest.approx(drops.mean())
    assert comparison.oks_drop_p95 == pytest.approx(np.quantile(drops, 0.95))
    assert (drops < 0).any()
    most = most_changed(changed, bad, good, 5)
    assert [change.person for change in most] == np.argsort(-np.abs(drops))[:5].tolist()
    assert [change.oks_drop for change in most] == pytest.approx(sorted(drops, key=abs)[:-6:-1])


def test_without_labels_the_baseline_is_the_truth(data):
    rows = np.arange(len(data.people))
    people = dataclasses.replace(data.people, annotations=np.where(rows % 2, rows, -1))
    good, bad = judged(data, 0.03), judged(data, 0.08, seed=1)
    boxes = people.boxes_xyxy
    areas = 0.53 * (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    every = np.ones(17, bool)
    drops = [1 - similarity(bad.keypoints[row, :, :2], good.keypoints[row, :, :2], every, areas[row]) for row in rows]
    comparison = compare(dataclasses.replace(data, people=people), bad, good)
    assert comparison.reference == "baseline"
    assert comparison.oks_drop == pytest.approx(np.mean(drops))


def test_shifts_of_people_of_every_shape_are_in_pixels_of_the_input(data):
    good = judged(data, 0.0)
    moved = good.keypoints.copy()
    moved[:, 3, :2] += [3.0, -4.0]
    wide = dataclasses.replace(good.spec, input=dataclasses.replace(good.spec.input, height=128, width=192))
    for spec in (good.spec, wide):
        baseline = dataclasses.replace(good, spec=spec)
        comparison = compare(data, dataclasses.replace(baseline, keypoints=moved), baseline)
        expected = []
        for left, top, right, bottom in data.people.boxes_xyxy:
            width = max(right - left, (bottom - top) * spec.input.width / spec.input.height) * 1.25
            expected.append(5.0 * spec.input.width / width)
        assert comparison.shifts[3].mean_px == pytest.approx(np.mean(expected))
        assert comparison.shifts[3].median_px == pytest.approx(np.median(expected))
        assert comparison.shifts[3].p95_px == pytest.approx(np.quantile(expected, 0.95))
        assert comparison.shift_px == pytest.approx(np.mean(expected) / 17)


def test_most_changed_without_oks_goes_by_distance(data):
    good = judged(data, 0.0)
    bare = dataclasses.replace(good, spec=dataclasses.replace(SPEC, skeleton=dataclasses.replace(SPEC.skeleton, sigmas=())))
    moved = good.keypoints.copy()
    for person, distance in ((2, 3.0), (9, 9.0), (5, 5.0)):
        moved[person, :, 0] += distance * (data.people.boxes_xyxy[person, 2] - data.people.boxes_xyxy[person, 0]) / 10
    changes = most_changed(data, dataclasses.replace(bare, keypoints=moved), bare, 3)
    assert {change.person for change in changes} == {2, 5, 9}
    assert [change.shift_px for change in changes] == sorted((change.shift_px for change in changes), reverse=True)
    assert all(np.isnan(change.oks_drop) for change in changes)
