import numpy as np
import pytest

from edgepose.evaluation.transformers_decode import decode_like_transformers
from edgepose.heatmap import decode
from edgepose.spec import Codec


def heatmaps(people, height, width, seed):
    """Noisy peaks, many of them at and beyond the border, some with ties and some without a positive value."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    centres = random.uniform((-2, -2), (width + 2, height + 2), (people, 5, 2))
    squared = (x - centres[..., 0, None, None]) ** 2 + (y - centres[..., 1, None, None]) ** 2
    maps = random.uniform(0.2, 1, (people, 5, 1, 1)) * np.exp(-squared / 8) + random.normal(0, 0.02, (people, 5, height, width))
    maps[0, 0, 3:5, 4:6] = 2.0
    maps[1, 1] = -np.abs(maps[1, 1]) - 0.1
    return maps.astype(np.float32)


@pytest.mark.parametrize(("height", "width"), [(64, 48), (16, 12), (24, 40)])
def test_equals_the_image_processor(height, width):
    processing = pytest.importorskip("transformers.models.vitpose.image_processing_pil_vitpose")
    maps = heatmaps(60, height, width, seed=height)
    peaks, highest = processing.get_keypoint_predictions(maps)
    theirs = processing.post_dark_unbiased_data_processing(peaks.copy(), maps, kernel=11)
    ours, scores = decode_like_transformers(maps)
    found = scores > 0
    assert found.sum() == found.size - 1
    np.testing.assert_array_equal(scores, highest[..., 0])
    np.testing.assert_allclose(ours[found], theirs[found], atol=1e-3)
    np.testing.assert_array_equal(ours[~found], -1)


def test_is_not_the_published_procedure():
    maps = heatmaps(20, 64, 48, seed=1)
    ours, _ = decode_like_transformers(maps)
    published, _ = decode(maps, Codec())
    assert np.linalg.norm(ours - published, axis=-1).mean() > 0.05
