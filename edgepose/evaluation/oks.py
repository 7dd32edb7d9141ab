"""Object keypoint similarity: COCO's measure of how near keypoints are, between 0 and 1.

``exp(-d² / (2 (2σ)² s²))`` for a keypoint at distance d, with the data set's σ of that keypoint and the person's area s²; a person's
similarity is the mean over the keypoints that count. Definition: https://cocodataset.org/#keypoints-eval.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["AREA_OF_BOX", "keypoint_similarities", "oks"]

AREA_OF_BOX = 0.53
"""A person's share of their box, where no outline is known: CrowdPose's stand-in for COCO's segment areas, and everybody's since."""


def keypoint_similarities(squared_px: NDArray[np.float64], areas: ArrayLike, sigmas: ArrayLike) -> NDArray[np.float64]:
    """Return the similarity of each keypoint.

    Args:
        squared_px: (…, K), squared distances.
        areas: (…), of the person in square pixels, 0 or more, or one number.
        sigmas: (K,), per-keypoint constants.

    Returns:
        (…, K), 0 to 1.
    """
    variances = np.square(2 * np.asarray(sigmas, np.float64))
    # As COCO's own code does, so that a person without area divides by something.
    area = np.asarray(areas, np.float64)[..., None] + np.spacing(1)
    similarities: NDArray[np.float64] = np.exp(-squared_px / variances / area / 2)
    return similarities


def oks(similarities: NDArray[np.float64], counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean over the keypoints that count, (…): NaN for a person of whom none does.

    Args:
        similarities: (…, K).
        counted: (…, K).
    """
    number = counted.sum(axis=-1)
    total = (similarities * counted).sum(axis=-1)
    mean: NDArray[np.float64] = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    return mean
