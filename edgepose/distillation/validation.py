"""How good the student is, on people that it hasn't been trained on."""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from edgepose.distillation.packing import Pack
from edgepose.errors import InputError
from edgepose.evaluation.oks import AREA_OF_BOX, keypoint_similarities, oks
from edgepose.pipeline.top_down import TopDown
from edgepose.skeleton import Skeleton
from edgepose.spec import Codec, InputSpec

__all__ = ["mean_oks", "predict"]

BATCH = 32


@torch.inference_mode()
def predict(network: nn.Module, pack: Pack, people: npt.NDArray[np.int64], size: InputSpec) -> npt.NDArray[np.float64]:
    """Find the keypoints of people as the package does on a device: crop, heatmaps, DARK; no flip test.

    Returns:
        (N, K, 2), x and y in pixels of the pack's pictures.
    """
    device = next(network.parameters()).device
    top_down = TopDown(lambda batch: network(torch.from_numpy(batch).to(device)).float().cpu().numpy(), size, Codec())
    found = []
    training = network.training
    network.eval()
    for start in range(0, len(people), BATCH):
        crops = [top_down.cut(pack.image(person), pack.boxes_xyxy[person][None]) for person in people[start : start + BATCH]]
        batch, centres, sizes = (np.concatenate([getattr(each, name) for each in crops]) for name in ("batch", "centres", "sizes"))
        found.append(top_down.decode(top_down.infer(batch), centres, sizes)[0])
    network.train(training)
    return np.concatenate(found)


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
    areas = np.prod(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], axis=1) * AREA_OF_BOX
    similarities = keypoint_similarities(np.sum((found - truth[:, :, :2]) ** 2, axis=2), areas, skeleton.sigmas)
    labelled = truth[:, :, 2] > 0
    people = labelled.any(axis=1)
    each = {name: float(similarities[labelled[:, k], k].mean()) for k, name in enumerate(skeleton.keypoints) if labelled[:, k].any()}
    return float(oks(similarities, labelled)[people].mean()) if people.any() else 0.0, each
