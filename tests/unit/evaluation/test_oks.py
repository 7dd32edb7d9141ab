"""Object keypoint similarity and what is counted for it, by hand."""

import math

import numpy as np
import pytest

from edgepose.evaluation.oks import AREA_OF_BOX, keypoint_similarities, oks
from edgepose.evaluation.protocols.similarity import count_labels


def test_the_share_of_the_box_is_crowdposes() -> None:
    assert AREA_OF_BOX == 0.53


def test_similarities_are_cocos_formula() -> None:
    squared = np.array([[0.0, 4.0, 50.0], [1.0, 9.0, 400.0]])
    areas, sigmas = [100.0, 2500.0], [0.025, 0.1, 0.5]
    expected = [
        [math.exp(-d2 / (2 * s2 * (2 * sigma) ** 2)) for d2, sigma in zip(row, sigmas, strict=True)]
        for row, s2 in zip(squared.tolist(), areas, strict=True)
    ]
    np.testing.assert_allclose(keypoint_similarities(squared, areas, sigmas), expected, rtol=1e-12)
    # One area for all, and any number of axes in front.
    np.testing.assert_allclose(keypoint_similarities(squared[None], 100.0, sigmas)[0, 0], expected[0], rtol=1e-12)


def test_a_person_without_area_is_found_exactly_or_not_at_all() -> None:
    np.testing.assert_array_equal(keypoint_similarities(np.array([[0.0, 1e-6]]), [0.0], [0.1, 0.1]), [[1, 0]])


def test_a_persons_similarity_is_the_mean_over_what_counts() -> None:
    similarities = np.array([[0.25, 0.5, 1.0], [0.1, 0.2, 0.6], [0.3, 0.3, 0.3]])
    counted = np.array([[True, False, True], [False, True, False], [False, False, False]])
    np.testing.assert_allclose(oks(similarities, counted), [0.625, 0.2, np.nan])
    np.testing.assert_allclose(oks(similarities[None], counted[None]), [[0.625, 0.2, np.nan]])


def test_labels_are_counted_by_their_flag() -> None:
    keypoints = np.array([[[5.0, 6.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 2.0]], [[7.0, 8.0, 0.0], [3.0, 3.0, 0.0], [1.0, 1.0, 0.0]]])
    assert count_labels(keypoints).tolist() == [2, 0]


@pytest.mark.parametrize("sigma", [0.025, 0.107])
def test_the_similarity_at_one_deviation(sigma: float) -> None:
    """At a distance of 2 sigma times the person's size it is exp(-1/2)."""
    side = 37.0
    (value,) = keypoint_similarities(np.array([(2 * sigma * side) ** 2]), side**2, [sigma])
    assert value == pytest.approx(math.exp(-0.5), rel=1e-12)
