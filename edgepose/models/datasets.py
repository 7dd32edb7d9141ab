"""The data sets ViTPose was trained on: which keypoints each head has, and how its crops and heatmaps were made.

Codecs are those of the test configurations that ViTAE-Transformer/ViTPose publishes: COCO and MPII set ``use_udp``, the others don't.
"""

from dataclasses import dataclass

from edgepose.errors import InputError
from edgepose.skeleton import Skeleton, get_skeleton
from edgepose.spec import Codec

__all__ = ["DATASETS", "EXPERTS", "Dataset", "find_dataset", "get_dataset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One data set.

    Attributes:
        name: as in ``--dataset``.
        skeleton_name: the built-in skeleton with its keypoints.
        codec: how crops and heatmaps were made in training.
    """

    name: str
    skeleton_name: str
    codec: Codec

    @property
    def skeleton(self) -> Skeleton:
        """Its keypoints, in the order of the head's heatmaps."""
        return get_skeleton(self.skeleton_name)

    @property
    def keypoints(self) -> int:
        """Number of keypoints."""
        return len(self.skeleton.keypoints)


_UDP = Codec(kind="udp")
_STANDARD = Codec(kind="standard")

DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(name="coco", skeleton_name="coco", codec=_UDP),
        Dataset(name="aic", skeleton_name="aic", codec=_STANDARD),
        Dataset(name="mpii", skeleton_name="mpii", codec=_UDP),
        Dataset(name="ap10k", skeleton_name="ap10k", codec=_STANDARD),
        Dataset(name="apt36k", skeleton_name="ap10k", codec=_STANDARD),
        Dataset(name="wholebody", skeleton_name="wholebody", codec=_STANDARD),
        Dataset(name="crowdpose", skeleton_name="crowdpose", codec=_STANDARD),
    )
}
"""By name; the first six stand in the order of ViTPose+'s experts."""

EXPERTS = tuple(DATASETS)[:6]
"""Names of ViTPose+'s data sets, in the order of its experts and heads."""


def get_dataset(name: str) -> Dataset:
    """Return a data set.

    Raises:
        InputError: there is none of that name.
    """
    if name not in DATASETS:
        raise InputError(f"no data set is called {name!r}; known: {', '.join(DATASETS)}")
    return DATASETS[name]


def find_dataset(skeleton: Skeleton) -> Dataset | None:
    """Return the first data set whose skeleton is ``skeleton``, or ``None``."""
    return next((dataset for dataset in DATASETS.values() if dataset.skeleton == skeleton), None)
