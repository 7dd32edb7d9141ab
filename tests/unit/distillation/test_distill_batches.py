"""Order, augmentation, colours and targets: everything between a pack and the network."""

import pickle
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from people import NAMES, draw_person, write_coco, write_recipe

from edgepose.crop import crop
from edgepose.distillation.augmentation import Body, augment
from edgepose.distillation.order import Order, resolve_shares
from edgepose.distillation.photometric import normalize, vary
from edgepose.distillation.recipe import Augmentation
from edgepose.distillation.recipe_files import load_recipe
from edgepose.distillation.stream import Batches, stream
from edgepose.distillation.targets import draw_targets
from edgepose.distillation.trainingset import TrainingSet, open_training_set
from edgepose.heatmap import encode
from edgepose.skeleton import get_skeleton
from edgepose.spec import Codec, InputSpec

SIZE, CODEC = InputSpec(height=128, width=96), Codec()
BODY = Body.of(get_skeleton("coco"))
NOTHING = Augmentation(flip=0, half_body=0, scale=0, rotation=0, brightness=0, contrast=0, saturation=0, tint=0, grey=0)


def test_order_is_a_pure_function_that_visits_everybody_in_shares() -> None:
    groups = [np.arange(70), np.arange(100, 103)]
    order = Order(groups, [0.75, 0.25], seed=4)
    samples = [order[index] for index in range(2000)]
    assert samples == [Order(groups, [0.75, 0.25], seed=4)[index] for index in range(2000)]
    assert samples[777] == pickle.loads(pickle.dumps(order))[777]
    assert samples != [Order(groups, [0.75, 0.25], seed=5)[index] for index in range(2000)]
    counts = Counter(samples)
    assert sum(counts[index] for index in groups[1]) == 500
    # Everybody comes once before anybody comes again.
    assert {counts[index] for index in groups[0]} == {21, 22}
    large = [sample for sample in samples if sample < 100]
    assert sorted(large[:70]) == list(range(70))
    assert large[:70] != large[70:140]


def test_shares_of_sources() -> None:
    assert resolve_shares([None, None], [30, 10]) == [0.75, 0.25]
    assert resolve_shares([0.5, None, None], [7, 30, 10]) == pytest.approx([0.5, 0.375, 0.125])
    assert resolve_shares([0.2, 0.2], [1, 1]) == [0.5, 0.5]


def sample(strength: Augmentation, seed: int = 0, *, keep: np.ndarray | None = None):
    image, points, box = draw_person(np.random.default_rng(5))
    keypoints = np.concatenate([points, np.ones((17, 1))], axis=1).astype(np.float32)
    if keep is not None:
        keypoints[~keep, 2] = 0
    made = augment(image, box, keypoints, size=SIZE, codec=CODEC, body=BODY, strength=strength, random=np.random.default_rng(seed))
    return image, box, points, made


def test_without_augmentation_it_is_the_crop_of_the_package() -> None:
    image, box, points, made = sample(NOTHING)
    plain = crop(image, box[None], SIZE, CODEC)
    np.testing.assert_array_equal(normalize(torch.from_numpy(made.image[None]), SIZE).numpy().round(4), plain.batch.round(4))
    spans = plain.sizes[0] / (np.array([SIZE.width, SIZE.height]) - 1)
    np.testing.assert_allclose(made.keypoints[:, :2] * spans + plain.centres[0] - plain.sizes[0] / 2, points, atol=1e-3)


@pytest.mark.parametrize(
    "changes",
    [{"flip": 1.0}, {"rotation": 1.0, "rotation_deg": 40.0}, {"scale": 0.3}, {"shift": 0.05}, {"half_body": 1.0}, {"erase": 0.0}],
    ids=lambda changes: next(iter(changes)),
)
def test_keypoints_follow_the_picture(changes: dict[str, float]) -> None:
    for seed in range(4):
        _, _, _, made = sample(Augmentation(**{name: getattr(NOTHING, name) for name in NOTHING.__slots__} | changes), seed)
        seen = 0
        for index in range(5, 17):
            x, y, weight = made.keypoints[index]
            if not (weight and 3 <= x < SIZE.width - 3 and 3 <= y < SIZE.height - 3):
                continue
            source = BODY.flip_order[index] if "flip" in changes else index
            hue = cv2.cvtColor(np.uint8([[[source * 10, 255, 255]]]), cv2.COLOR_HSV2RGB)[0, 0].astype(int)
            here = made.image[round(float(y)) - 2 : round(float(y)) + 3, round(float(x)) - 2 : round(float(x)) + 3].astype(int)
            seen += 1
            assert np.abs(here - hue).max(axis=2).min() < 60, (NAMES[index], seed)
        assert seen >= 5


def test_a_mirrored_sample_is_the_mirror_image() -> None:
    plain = sample(NOTHING)[3]
    mirrored = sample(Augmentation(**{name: getattr(NOTHING, name) for name in NOTHING.__slots__} | {"flip": 1.0}))[3]
    # Interpolation weights are fixed-point: mirrored ones may round the other way.
    assert np.abs(mirrored.image[:, ::-1].astype(int) - plain.image).mean() < 0.5
    expected = plain.keypoints[list(BODY.flip_order)]
    np.testing.assert_allclose(mirrored.keypoints[:, 0], SIZE.width - 1 - expected[:, 0], atol=1e-4)
    np.testing.assert_allclose(mirrored.keypoints[:, 1:], expected[:, 1:], atol=1e-4)


def test_half_bodies_show_one_half_and_need_enough_labels() -> None:
    strength = Augmentation(**{name: getattr(NOTHING, name) for name in NOTHING.__slots__} | {"half_body": 1.0})
    lower = BODY.lower
    shown = set()
    for seed in range(8):
        points = sample(strength, seed)[3].keypoints
        middles = {half: points[mask & (points[:, 2] > 0), 1] for half, mask in (("upper", ~lower), ("lower", lower))}
        centred = {half: abs((ys.min() + ys.max()) / 2 - (SIZE.height - 1) / 2) < 2 for half, ys in middles.items() if len(ys)}
        shown |= {half for half, centre in centred.items() if centre}
    assert shown == {"upper", "lower"}
    few = np.arange(17) < 6
    np.testing.assert_array_equal(sample(strength, keep=few)[3].image, sample(NOTHING)[3].image)


def test_keypoints_outside_the_crop_have_no_weight() -> None:
    strength = Augmentation(**{name: getattr(NOTHING, name) for name in NOTHING.__slots__} | {"shift": 0.6})
    for seed in range(5):
        points = sample(strength, seed)[3].keypoints
        outside = ((points[:, :2] < -1) | (points[:, :2] > (SIZE.width, SIZE.height))).any(axis=1)
        assert not outside.any()
    assert any((sample(strength, seed)[3].keypoints[:, 2] == 0).any() for seed in range(5))


def test_colours_vary_by_seed_and_not_without_strength() -> None:
    images = torch.randint(0, 256, (3, 8, 6, 3), dtype=torch.uint8)
    torch.testing.assert_close(vary(images, NOTHING, 1), images.float(), atol=1e-3, rtol=0)
    strength = Augmentation(noise=5.0)
    assert torch.equal(vary(images, strength, 1), vary(images, strength, 1))
    assert not torch.equal(vary(images, strength, 1), vary(images, strength, 2))
    grey = vary(images, Augmentation(grey=1.0), 1)
    torch.testing.assert_close(grey[..., 0], grey[..., 2], atol=0.01, rtol=0)


@pytest.mark.parametrize("size", [InputSpec(), InputSpec(height=128, width=96)], ids=str)
def test_targets_equal_the_packages(size: InputSpec) -> None:
    random = np.random.default_rng(0)
    xy = random.uniform(-40, 300, (4, 17, 2)).astype(np.float32)
    weights = (random.random((4, 17)) < 0.8).astype(np.float32)
    wanted, wanted_weights = encode(xy, weights, size, CODEC)
    keypoints = torch.from_numpy(np.concatenate([xy, weights[..., None]], axis=2))
    heatmaps, kept = draw_targets(keypoints, size.heatmap_size, (size.height, size.width))
    np.testing.assert_allclose(heatmaps.numpy(), wanted, atol=2e-5)
    np.testing.assert_array_equal(kept.numpy(), wanted_weights)


@pytest.fixture
def data(tmp_path: Path) -> TrainingSet:
    write_coco(tmp_path, 10)
    return open_training_set(load_recipe(write_recipe(tmp_path / "tiny.toml")), tmp_path, tmp_path / "cache")


def test_batches_are_the_same_for_any_number_of_processes(data: TrainingSet, tmp_path: Path) -> None:
    recipe = load_recipe(tmp_path / "tiny.toml")
    phase = recipe.phases[0]

    def batches(part: tuple[int, int]) -> Batches:
        return data.batches(recipe, phase, first=16, part=part)

    alone = batches((0, 1))[2]
    halves = [batches((index, 2))[2] for index in range(2)]
    assert torch.equal(alone.images, torch.cat([half.images for half in halves]))
    assert torch.equal(alone.keypoints, torch.cat([half.keypoints for half in halves]))
    # In a process of its own, and from the middle on.
    worked = list(stream(batches((0, 1)), begin=2, workers=1))
    assert len(worked) == phase.steps - 2
    assert torch.equal(worked[0].images, alone.images)
    assert not set(worked[0].people.tolist()) & set(data.split.validation.tolist())
