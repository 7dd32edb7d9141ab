"""How keypoints are scored: one protocol per file, in a table by name.

- ``coco``: AP of any data set of COCO's form whose skeleton has OKS constants
- ``wholebody``, ``crowdpose``, ``aic``, ``ap10k``: AP as these data sets are published
- ``mpii``: PCKh
- ``pck``: plain PCK
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InputError
from edgepose.evaluation import kinds
from edgepose.evaluation.categories import WHOLEBODY_PARTS
from edgepose.evaluation.dataset import Annotations, People, Score
from edgepose.evaluation.keypoint_names import agreement, check_names, is_unnamed
from edgepose.evaluation.protocols.aic import score_aic
from edgepose.evaluation.protocols.ap10k import score_ap10k
from edgepose.evaluation.protocols.coco import score_coco
from edgepose.evaluation.protocols.crowdpose import score_crowdpose
from edgepose.evaluation.protocols.mpii import score_mpii
from edgepose.evaluation.protocols.pck import score_pck
from edgepose.evaluation.protocols.wholebody import score_wholebody
from edgepose.findings import Findings
from edgepose.skeleton import Skeleton, get_skeleton
from edgepose.spec import ModelSpec

__all__ = ["PROTOCOLS", "Protocol", "choose_protocol"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """A way of scoring.

    Attributes:
        name: as in ``--protocol``.
        skeleton: the built-in skeleton that it is for; empty: any.
        score: the function; its arguments are described at ``score_coco``.
    """

    name: str
    skeleton: str
    score: Callable[[Annotations, People, NDArray[np.float64], ModelSpec], Score]


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(name="coco", skeleton="", score=score_coco),
        Protocol(name="wholebody", skeleton="wholebody", score=score_wholebody),
        Protocol(name="crowdpose", skeleton="crowdpose", score=score_crowdpose),
        Protocol(name="aic", skeleton="aic", score=score_aic),
        Protocol(name="ap10k", skeleton="ap10k", score=score_ap10k),
        Protocol(name="mpii", skeleton="mpii", score=score_mpii),
        Protocol(name="pck", skeleton="", score=score_pck),
    )
}


def choose_protocol(
    name: str | None, annotations: Annotations, skeleton: Skeleton, *, as_listed: bool = False, findings: Findings | None = None
) -> Protocol:
    """Return the protocol of that name, or the one that annotations and model suggest.

    Args:
        name: as in ``PROTOCOLS``, or ``None``.
        annotations: their keypoint names must be the model's, one by one, where they have any.
        skeleton: the model's.
        as_listed: see ``check_names``.
        findings: is told what couldn't be compared.

    Raises:
        InputError: there is none of that name, several would do, or the model's keypoints aren't those of the protocol or the annotations.
    """
    if annotations.keypoints.shape[1] != len(skeleton.keypoints):
        raise InputError(f"{annotations.source} has {annotations.keypoints.shape[1]} keypoints, the model {len(skeleton.keypoints)}")
    name = name or _guess_name(annotations, skeleton)
    if name not in PROTOCOLS:
        raise InputError(f"no protocol is called {name!r}; known: {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[name]
    if protocol.skeleton:
        own = get_skeleton(protocol.skeleton).keypoints
        check_names(skeleton, own, f"the protocol {name}", as_listed=as_listed, findings=findings)
    stated = annotations.keypoint_names
    if len(stated) == WHOLEBODY_PARTS["keypoints"] != len(skeleton.keypoints):
        stated += skeleton.keypoints[len(stated) :]  # COCO-WholeBody's files name the body alone
    check_names(skeleton, stated, annotations.source, as_listed=as_listed, findings=findings)
    if findings is not None and is_unnamed(skeleton) and stated:
        findings.add(kinds.MODEL_UNNAMED, skeleton.name, count=0)
    return protocol


def _guess_name(annotations: Annotations, skeleton: Skeleton) -> str:
    count = len(skeleton.keypoints)
    if annotations.head_sizes is not None:
        return "mpii"
    if annotations.crowd_index is not None and count == len(get_skeleton("crowdpose").keypoints):
        return "crowdpose"
    candidates = [name for name in ("coco", "wholebody", "aic", "ap10k", "crowdpose") if len(get_skeleton(name).keypoints) == count]
    names = annotations.keypoint_names if is_unnamed(skeleton) else skeleton.keypoints
    agreeing = {candidate: agreement(names, get_skeleton(candidate).keypoints) for candidate in candidates}
    if any(agreeing.values()):
        return max(candidates, key=agreeing.__getitem__)
    if len(candidates) == 1:
        return candidates[0]
    if "coco" in candidates:
        return "ap10k" if len(np.unique(annotations.categories)) > 1 else "coco"
    if candidates:
        raise InputError(
            f"{' and '.join(candidates)} have {count} keypoints, and neither the model nor {annotations.source} names its own: "
            "name the protocol"
        )
    return "coco" if skeleton.sigmas else "pck"
