"""COCO keypoints, and any data set of its form whose skeleton has OKS constants."""

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InputError
from edgepose.evaluation.dataset import Annotations, People, Score
from edgepose.evaluation.matching import Truth
from edgepose.evaluation.nms import select_people
from edgepose.evaluation.protocols.similarity import annotated_areas, score_ten, stated_labels
from edgepose.skeleton import Skeleton, get_skeleton
from edgepose.spec import ModelSpec

__all__ = ["find_sigmas", "score_coco"]


def score_coco(annotations: Annotations, people: People, keypoints: NDArray[np.float64], spec: ModelSpec) -> Score:
    """Return COCO's ten figures, as ``pycocotools`` computes them (https://cocodataset.org/#keypoints-eval).

    The protocols' common signature:

    Args:
        annotations: what is expected.
        people: whom the model was run on.
        keypoints: (M, K, 3): x and y in image pixels, score; rows of NaN where it wasn't run, which finds nobody there.
        spec: of the model.

    Raises:
        InputError: the skeleton has no OKS constants.
        MissingDependencyError: pycocotools isn't installed.
    """
    sigmas = find_sigmas(spec.skeleton)
    truth = Truth(keypoints=annotations.keypoints, labelled=stated_labels(annotations), areas=annotated_areas(annotations), sigmas=sigmas)
    return score_ten(annotations, people, select_people(people, keypoints, spec, sigmas), truth)


def find_sigmas(skeleton: Skeleton) -> NDArray[np.float64]:
    """Return the OKS constants (K,) of a skeleton; of COCO's for 17 keypoints that nobody named.

    Raises:
        InputError: it has none.
    """
    coco = get_skeleton("coco")
    unnamed = skeleton.keypoints == Skeleton.unnamed(len(coco.keypoints)).keypoints
    sigmas = skeleton.sigmas or (coco.sigmas if unnamed else ())
    if not sigmas:
        raise InputError(
            f"AP needs OKS constants, which the skeleton {skeleton.name!r} lacks: use the protocol pck, or convert the model with a "
            "skeleton file that has sigmas"
        )
    return np.array(sigmas)
