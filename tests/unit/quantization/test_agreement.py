"""Figures of agreement, on heatmaps whose keypoints are known."""

from dataclasses import replace

import numpy as np
import pytest
from checkpoints import make_spec, random_model

from edgepose.errors import InputError
from edgepose.heatmap import encode
from edgepose.quantization.agreement import MIN_SCORE, MOVED_PX, measure_agreement, oks_loss
from edgepose.skeleton import Skeleton
from edgepose.spec import Codec, ModelSpec


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return make_spec(random_model(dim=48, depth=1, heads=3, head="simple"))


def make_heatmaps(spec: ModelSpec, shift_px: np.ndarray | float = 0.0) -> np.ndarray:
    points = np.random.default_rng(0).uniform(60, 130, (3, spec.keypoints, 2))
    points[..., 0] += shift_px
    return encode(points, np.ones(points.shape[:-1]), spec.input, spec.codec)[0]


def test_identical_heatmaps_agree(spec: ModelSpec) -> None:
    maps = make_heatmaps(spec)
    agreement = measure_agreement(maps, maps, maps, spec)
    assert (agreement.relative_rms, agreement.shift_px, agreement.moved) == (0.0, 0.0, 0.0)
    assert (agreement.compared, agreement.left_out) == (3 * 17, 0)
    assert oks_loss(maps, maps, spec) == 0.0


def test_a_known_shift_is_measured(spec: ModelSpec) -> None:
    shift = np.zeros((3, 17))
    shift[0, :5] = 3.0
    agreement = measure_agreement(make_heatmaps(spec, shift), make_heatmaps(spec), make_heatmaps(spec), spec)
    assert agreement.shift_px == pytest.approx(5 * 3 / 51, abs=0.03)
    assert agreement.max_shift_px == pytest.approx(3, abs=0.1)
    assert agreement.moved == pytest.approx(5 / 51)


def move(maps: np.ndarray, across: int, down: int) -> np.ndarray:
    """The heatmaps, moved by whole pixels; their peaks lie far from the border, so decoding moves by exactly as much."""
    return np.ascontiguousarray(np.roll(maps, (down, across), axis=(2, 3)))


@pytest.mark.parametrize(("kind", "padding"), [("udp", 1.25), ("standard", 1.25), ("udp", 1.1)])
def test_oks_is_that_of_ap(spec: ModelSpec, kind: str, padding: float) -> None:
    spec = replace(spec, codec=Codec(kind=kind, padding=padding))  # type: ignore[arg-type]  # one of the two
    maps = make_heatmaps(spec)
    # A standing, a lying and a square person: in the input (3:4) only the first box fills the padded crop's height and width.
    boxes = np.array([[10.0, 20.0, 160.0, 220.0], [-5.0, 0.0, 395.0, 50.0], [40.0, 30.0, 100.0, 90.0]])
    padded = np.array([[150.0, 200.0], [400.0, 400 * 4 / 3], [60.0, 80.0]]) * padding
    pixels = padded / (np.array([48.0, 64.0]) - (1.0 if kind == "udp" else 0.0))
    squared = (1.0 * pixels[:, 0]) ** 2 + (2.0 * pixels[:, 1]) ** 2
    areas = 0.53 * np.array([150 * 200, 400 * 50, 60 * 60])
    variances = (2 * np.array(spec.skeleton.sigmas)) ** 2
    expected = np.exp(-squared[:, None] / (2 * areas[:, None] * variances)).mean(axis=1)
    # float32 coordinates of some 50 heatmap pixels are exact to 4e-6 pixels.
    assert oks_loss(move(maps, 1, 2), maps, spec, boxes) == pytest.approx(1 - expected.mean(), rel=1e-5)
    alone = oks_loss(move(maps, 1, 2), maps, spec)
    assert alone == pytest.approx(1 - expected[0], rel=1e-5)
    assert abs(expected[0] - expected[1]) > 0.1


def test_oks_leaves_out_whom_the_float_model_does_not_find(spec: ModelSpec) -> None:
    maps = make_heatmaps(spec)
    moved = move(maps, 0, 2)
    expected = oks_loss(moved[:1], maps[:1], spec)
    faint = maps.copy()
    faint[1:] *= 0.1
    assert oks_loss(moved, faint, spec) == pytest.approx(expected, rel=1e-6)
    # Of whom some keypoints count, these alone do.
    faint[0, 3] *= 0.1
    box = spec.input.width * spec.input.height
    distance = 2 * spec.input.height * spec.codec.padding / 63
    alike = np.exp(-(distance**2) / (2 * 0.53 * box * (2 * np.array(spec.skeleton.sigmas)) ** 2))
    assert oks_loss(moved, faint, spec) == pytest.approx(1 - np.delete(alike, 3).mean(), rel=1e-5)


def test_unsure_keypoints_dont_count(spec: ModelSpec) -> None:
    sure = make_heatmaps(spec)
    sure[:, 3:] *= 0.1
    agreement = measure_agreement(make_heatmaps(spec, 1.0), sure, sure, spec)
    assert (agreement.compared, agreement.left_out) == (9, 42)
    nothing = measure_agreement(sure, sure * 0.1, sure * 0.1, spec)
    assert nothing.shift_px is None
    with pytest.raises(InputError, match="no OKS to lose"):
        oks_loss(sure, sure * 0.1, spec)


def test_oks_needs_sigmas() -> None:
    skeleton = Skeleton(name="bare", keypoints=("a", "b"))
    model = random_model(dim=48, depth=1, heads=3, head="simple", keypoints=2)
    bare = make_spec(model, skeleton=skeleton)
    with pytest.raises(InputError, match="no OKS sigmas"):
        oks_loss(make_heatmaps(bare), make_heatmaps(bare), bare)


def test_the_relative_error_is_exact(spec: ModelSpec) -> None:
    random = np.random.default_rng(1)
    reference = random.uniform(0.1, 1, (2, 17, *spec.input.heatmap_size)).astype(np.float32)
    difference = random.normal(0.05, 0.1, reference.shape).astype(np.float32)
    agreement = measure_agreement(reference + difference, reference, reference, spec)
    expected = np.sqrt(np.square(difference.astype(np.float64)).sum() / np.square(reference.astype(np.float64)).sum())
    assert agreement.relative_rms == pytest.approx(expected, rel=1e-5)
    nothing = np.zeros_like(reference)
    assert measure_agreement(difference, nothing, reference, spec).relative_rms == pytest.approx(
        np.sqrt(np.square(difference.astype(np.float64)).mean()), rel=1e-6
    )


def test_shifts_are_exact(spec: ModelSpec) -> None:
    spec = replace(spec, codec=Codec(kind="standard"))
    maps = make_heatmaps(spec)
    moved = maps.copy()
    moved[0, :4] = move(maps[:1], 0, 1)[0, :4]
    moved[1, 0] = move(maps[1:2], 1, 0)[0, 0]
    moved[2, :2] = move(maps[2:], 3, 4)[0, :2]
    agreement = measure_agreement(moved, maps, maps, spec)
    # One heatmap pixel is four of the input: five keypoints by 4 px, two by 20, 44 by nothing.
    distances = np.sort([4.0] * 5 + [20.0] * 2 + [0.0] * 44)
    assert agreement.shift_px == pytest.approx(distances.mean(), rel=1e-6)
    assert agreement.p95_shift_px == pytest.approx(np.quantile(distances, 0.95), rel=1e-6)
    assert agreement.max_shift_px == pytest.approx(20.0, rel=1e-6)
    assert agreement.moved == pytest.approx(7 / 51)
    assert (MIN_SCORE, MOVED_PX) == (0.2, 2.0)


def test_a_keypoint_of_the_least_score_counts(spec: ModelSpec) -> None:
    maps = make_heatmaps(spec)
    scores = maps.max((2, 3))
    scaled = maps / scores[..., None, None] * np.float32(MIN_SCORE)
    scaled[0] *= np.float32(0.99)
    at_least = int((scaled.max((2, 3)) >= MIN_SCORE).sum())
    assert measure_agreement(scaled, scaled, scaled, spec).compared == at_least == 34
