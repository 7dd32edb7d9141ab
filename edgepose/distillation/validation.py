"""How good the student is, on people that it hasn't been trained on."""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from edgepose.crop import crop
from edgepose.distillation.packing import Pack
from edgepose.errors import InputError
from edgepose.heatmap import decode, to_image
from edgepose.skeleton import Skeleton
from edgepose.spec import Codec, InputSpec

__all__ = ["mean_oks", "pck", "predict"]

BATCH = 32
PCK_JOINTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
TORSO = ("left_shoulder", "right_hip")
AREA_OF_BOX = 0.53  # of a person's outline in its box, where no outline is known: the usual stand-in for COCO's segment areas


@torch.inference_mode()
def predict(network: nn.Module, pack: Pack, people: npt.NDArray[np.int64], size: InputSpec) -> npt.NDArray[np.float64]:
    """Find the keypoints of people as the package does on a device: crop, heatmaps, DARK; no flip test.

    Returns:
        (N, K, 2), x and y in pixels of the pack's pictures.
    """
    codec = Codec()
    device = next(network.parameters()).device
    found = []
    training = network.training
    network.eval()
    for start in range(0, len(people), BATCH):
        crops = [crop(pack.image(person), pack.boxes_xyxy[person][None], size, codec) for person in people[start : start + BATCH]]
        batch = torch.from_numpy(np.concatenate([each.batch for each in crops])).to(device)
        heatmaps = network(batch).float().cpu().numpy()
        places, _ = decode(heatmaps, codec)
        centres, sizes = (np.concatenate([getattr(each, name) for each in crops]) for name in ("centres", "sizes"))
        found.append(to_image(places, centres, sizes, size.heatmap_size, codec))
    network.train(training)
    return np.concatenate(found)


def pck(
    found: npt.NDArray[np.float64], truth: npt.NDArray[np.float32], skeleton: Skeleton, *, within: float = 0.2
) -> tuple[float, dict[str, float]]:
    """Percentage of correct keypoints: nearer to the truth than ``within`` times the torso, left shoulder to right hip.

    Args:
        found: (N, K, 2) pixels.
        truth: (N, K, 3): x, y and whether there is a label.
        skeleton: names of the keypoints; the twelve of the limbs count.
        within: share of the torso.

    Returns:
        The share over all labelled limb keypoints of people whose torso is labelled, and by keypoint.

    Raises:
        InputError: the skeleton has no such torso.
    """
    names = skeleton.keypoints
    if not set(TORSO) <= set(names):
        raise InputError(f"PCK needs the keypoints {' and '.join(TORSO)}, which {skeleton.name!r} lacks; use validation.metric = 'oks'")
    ends = truth[:, [names.index(name) for name in TORSO]]
    torso = np.hypot(*(ends[:, 0, :2] - ends[:, 1, :2]).T)
    measured = (ends[:, :, 2] > 0).all(axis=1) & (torso > 1)
    limbs = np.array([name.endswith(PCK_JOINTS) for name in names])
    counted = (truth[:, :, 2] > 0) & measured[:, None] & limbs
    correct = np.linalg.norm(found - truth[:, :, :2], axis=2) < within * torso[:, None]
    each = {name: float(correct[counted[:, k], k].mean()) for k, name in enumerate(names) if counted[:, k].any()}
    return float(correct[counted].mean()) if counted.any() else 0.0, each


def mean_oks(
    found: npt.NDArray[np.float64], truth: npt.NDArray[np.float32], boxes_xyxy: npt.NDArray[np.float64], skeleton: Skeleton
) -> tuple[float, dict[str, float]]:
    """Mean object keypoint similarity: COCO's definition, averaged over people instead of counted at thresholds.

    Args:
        found: (N, K, 2) pixels.
        truth: (N, K, 3): x, y and whether there is a label.
        boxes_xyxy: (N, 4), for the scale.
        skeleton: its sigmas.

    Returns:
        The mean over people with labels, and over them by keypoint.

    Raises:
        InputError: the skeleton has no sigmas.
    """
    if not skeleton.sigmas:
        raise InputError(f"OKS needs sigmas, which the skeleton {skeleton.name!r} lacks; use validation.metric = 'pck'")
    area = np.prod(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], axis=1) * AREA_OF_BOX
    spread = 2 * (2 * np.array(skeleton.sigmas)) ** 2 * area[:, None]
    similarity = np.exp(-np.sum((found - truth[:, :, :2]) ** 2, axis=2) / np.maximum(spread, 1e-9))
    labelled = truth[:, :, 2] > 0
    people = labelled.any(axis=1)
    each = {name: float(similarity[labelled[:, k], k].mean()) for k, name in enumerate(skeleton.keypoints) if labelled[:, k].any()}
    if not people.any():
        return 0.0, each
    means = (similarity * labelled).sum(axis=1)[people] / labelled.sum(axis=1)[people]
    return float(means.mean()), each
