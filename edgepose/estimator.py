"""``PoseEstimator``: an image and its person boxes in, keypoints in image pixels out."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgepose.boxes import check_boxes
from edgepose.crop import crop
from edgepose.errors import InputError
from edgepose.heatmap import decode, flip_heatmaps, to_image
from edgepose.image import check_image
from edgepose.skeleton import Skeleton

if TYPE_CHECKING:
    from edgepose.runtime.session import Session
    from edgepose.spec import Codec

__all__ = ["PoseEstimator", "Poses", "check_flip_test", "run_crops"]

PEOPLE_AT_ONCE = 64  # bounds the memory of crops and heatmaps, however many boxes there are
DECIMALS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Poses:
    """The people of one image.

    Attributes:
        keypoints_xy: float32 (N, K, 2), image pixels; they may lie outside the image.
        scores: float32 (N, K), the highest heatmap value: about 0 to 1, not a probability. A keypoint scored 0 or less wasn't found.
        boxes_xyxy: float32 (N, 4), the boxes that were asked for, in image pixels.
        skeleton: names of the K keypoints.
    """

    keypoints_xy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    boxes_xyxy: npt.NDArray[np.float32]
    skeleton: Skeleton

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    def to_document(self) -> dict[str, object]:
        """Return plain JSON values, which ``edgepose.boxes.load_boxes`` reads, too.

        ``skeleton``: its name; ``people``: for each, ``box_xyxy``: left, top, right, bottom, ``score``: mean of the keypoints' scores,
        and ``keypoints``: name → x, y, score.
        """
        rows = np.concatenate([self.keypoints_xy, self.scores[..., None]], axis=2).astype(np.float64).round(DECIMALS)
        people = [
            {
                "box_xyxy": box.astype(np.float64).round(DECIMALS).tolist(),
                "score": round(float(scores.mean()), DECIMALS),
                "keypoints": dict(zip(self.skeleton.keypoints, person.tolist(), strict=True)),
            }
            for box, scores, person in zip(self.boxes_xyxy, self.scores, rows, strict=True)
        ]
        return {"skeleton": self.skeleton.name, "people": people}


class PoseEstimator:
    """Top-down pose estimation: crops the boxes, runs the model on all of them and decodes its heatmaps, as its spec says.

    Holds no state between calls; usable from several threads if its session is.

    Args:
        session: a loaded model.
        flip_test: also run each crop mirrored and average the heatmaps: twice the time, slightly more accurate.

    Raises:
        InputError: the flip test is asked for, but the model's skeleton doesn't say which keypoints change places.
    """

    def __init__(self, session: "Session", *, flip_test: bool = False) -> None:
        if flip_test:
            check_flip_test(session.spec.skeleton)
        self._session = session
        self._flip_test = flip_test

    def __call__(self, image: npt.NDArray[np.uint8], boxes: npt.ArrayLike | None = None) -> Poses:
        """Estimate the pose of each box.

        Args:
            image: (H, W, 3) uint8, RGB.
            boxes: (N, 4) left, top, right, bottom in image pixels, tight around each person; ``None`` takes the whole image.

        Raises:
            InputError: the image or a box can't be used, or the model gave heatmaps that aren't finite.
        """
        image = check_image(image)
        height, width = image.shape[:2]
        boxes_xyxy = check_boxes([[0, 0, width, height]] if boxes is None else boxes, image.shape)
        spec = self._session.spec
        keypoints_xy = np.empty((len(boxes_xyxy), spec.keypoints, 2), dtype=np.float32)
        scores = np.empty((len(boxes_xyxy), spec.keypoints), dtype=np.float32)
        for start in range(0, len(boxes_xyxy), PEOPLE_AT_ONCE):
            part = slice(start, start + PEOPLE_AT_ONCE)
            crops = crop(image, boxes_xyxy[part], spec.input, spec.codec)
            coordinates, scores[part] = decode(run_crops(self._session, crops.batch, flip_test=self._flip_test), spec.codec)
            keypoints_xy[part] = to_image(coordinates, crops.centres, crops.sizes, spec.input.heatmap_size, spec.codec)
        return Poses(keypoints_xy=keypoints_xy, scores=scores, boxes_xyxy=boxes_xyxy.astype(np.float32), skeleton=spec.skeleton)


def check_flip_test(skeleton: Skeleton) -> None:
    """Check that heatmaps of mirrored crops can be put back in place.

    Raises:
        InputError: the skeleton doesn't say which keypoints change places.
    """
    if not skeleton.flip_pairs:
        raise InputError(
            f"the flip test needs to know which keypoints change places in a mirrored image, but the skeleton {skeleton.name!r} "
            "has no flip pairs: leave it out, or convert the model with a skeleton file that has them"
        )


def run_crops(
    session: "Session", batch: npt.NDArray[np.float32], *, flip_test: bool = False, codec: "Codec | None" = None
) -> npt.NDArray[np.float32]:
    """Compute the heatmaps of crops.

    Args:
        session: a loaded model.
        batch: (N, 3, H, W) float32, from ``edgepose.crop.crop``.
        flip_test: average with those of the mirrored crops.
        codec: how those are turned back; ``None`` for the model's own.

    Returns:
        (N, K, H/4, W/4) float32.

    Raises:
        InputError: see ``check_flip_test``.
    """
    if flip_test:
        check_flip_test(session.spec.skeleton)
    heatmaps = session.run(batch)
    if not flip_test:
        return heatmaps
    mirrored = session.run(np.ascontiguousarray(batch[..., ::-1]))
    spec = session.spec
    return (heatmaps + flip_heatmaps(mirrored, spec.skeleton.flip_order, codec or spec.codec)) * np.float32(0.5)
