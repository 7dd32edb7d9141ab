"""Figures of agreement, on heatmaps whose keypoints are known."""

import numpy as np
import pytest
from checkpoints import make_spec, random_model

from edgepose.errors import InputError
from edgepose.heatmap import encode
from edgepose.quantization.agreement import measure_agreement, oks_loss
from edgepose.skeleton import Skeleton
from edgepose.spec import ModelSpec


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


def test_oks_is_cocos(spec: ModelSpec) -> None:
    area = spec.input.width * spec.input.height / spec.codec.padding**2
    expected = np.exp(-(2.0**2) / (2 * area * (2 * np.array(spec.skeleton.sigmas)) ** 2)).mean()
    assert oks_loss(make_heatmaps(spec, 2.0), make_heatmaps(spec), spec) == pytest.approx(1 - expected, abs=0.004)


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
