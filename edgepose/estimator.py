"""``PoseEstimator``: an image and its person boxes in, keypoints in image pixels out."""

from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgepose.boxes import BoxStatus, JudgedBoxes, judge_boxes
from edgepose.image import check_image
from edgepose.pipeline.top_down import TopDown
from edgepose.skeleton import Skeleton

if TYPE_CHECKING:
    from edgepose.runtime.session import Session

__all__ = ["PoseEstimator", "Poses"]

PEOPLE_AT_ONCE = 64  # bounds the memory of crops and heatmaps, however many boxes there are
DECIMALS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Poses:
    """The people of one image, one row for each box that was given, in that order.

    A box that can't be used has a row, too: its keypoints are NaN and scored 0, and ``status`` and ``reasons`` say why.

    Attributes:
        keypoints_xy: float32 (N, K, 2), image pixels; they may lie outside the image.
        scores: float32 (N, K), the highest heatmap value: about 0 to 1, not a probability. A keypoint scored 0 or less wasn't found.
        boxes_xyxy: float32 (N, 4), the boxes that were asked for, in image pixels.
        skeleton: names of the K keypoints.
        box_scores: float32 (N,), the detector's scores from 0 to 1; ``None`` where the boxes came without.
        status: N, whether each box could be used; all of them, if nothing is said.
        reasons: N, why not, in words; empty for those that could.
    """

    keypoints_xy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    boxes_xyxy: npt.NDArray[np.float32]
    skeleton: Skeleton
    box_scores: npt.NDArray[np.float32] | None = None
    status: tuple[BoxStatus, ...] = ()
    reasons: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.status:
            object.__setattr__(self, "status", (BoxStatus.USABLE,) * len(self.boxes_xyxy))
        if not self.reasons:
            object.__setattr__(self, "reasons", ("",) * len(self.boxes_xyxy))

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Bool (N,), the rows that have a pose."""
        return np.array([status is BoxStatus.USABLE for status in self.status], dtype=np.bool_)

    def select(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> "Poses":
        """Return some of the rows: their indices, or bool (N,)."""
        chosen = np.arange(len(self))[rows]
        return replace(
            self,
            keypoints_xy=self.keypoints_xy[chosen],
            scores=self.scores[chosen],
            boxes_xyxy=self.boxes_xyxy[chosen],
            box_scores=None if self.box_scores is None else self.box_scores[chosen],
            status=tuple(self.status[row] for row in chosen),
            reasons=tuple(self.reasons[row] for row in chosen),
        )

    def to_document(self) -> dict[str, object]:
        """Return plain JSON values, which ``edgepose.boxes.load_boxes`` reads, too.

        ``skeleton``: its name; ``people``: for each, ``box_xyxy``: left, top, right, bottom, ``score``: mean of the keypoints' scores,
        and ``keypoints``: name → x, y, score; ``box_score`` where the detector gave one. Where a box can't be used, the coordinates of the
        keypoints are null, and ``status`` and ``reason`` say why. A number that isn't finite is null.
        """
        rows = np.concatenate([self.keypoints_xy, self.scores[..., None]], axis=2)
        people: list[dict[str, object]] = []
        for index, (box, scores, person) in enumerate(zip(_plain(self.boxes_xyxy), self.scores, _plain(rows), strict=True)):
            entry: dict[str, object] = {
                "box_xyxy": box,
                "score": round(float(scores.mean()), DECIMALS),
                "keypoints": dict(zip(self.skeleton.keypoints, person, strict=True)),
            }
            if self.box_scores is not None:
                entry["box_score"] = round(float(self.box_scores[index]), DECIMALS)
            if self.status[index] is not BoxStatus.USABLE:
                entry |= {"status": str(self.status[index]), "reason": self.reasons[index]}
            people.append(entry)
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
        self._spec = session.spec
        self._top_down = TopDown.of(session, flip_test=flip_test)

    def __call__(self, image: npt.NDArray[np.uint8], boxes: npt.ArrayLike | None = None) -> Poses:
        """Estimate the pose of each box.

        Args:
            image: (H, W, 3) uint8, RGB.
            boxes: (N, 4) left, top, right, bottom in image pixels, tight around each person; ``None`` takes the whole image. A detector's
                rows with score (N, 5), or with score and class (N, 6), of which 0 are people, are taken as they are; so are tensors.

        Returns:
            One row for each box. Those that can't be used (not finite, inverted, without area, outside the image, not of a person) have no
            keypoints, and a reason.

        Raises:
            InputError: the image can't be used, the boxes aren't rows of that form, or the model gave heatmaps that aren't finite.
        """
        image = check_image(image)
        height, width = image.shape[:2]
        return self.estimate(image, judge_boxes([[0, 0, width, height]] if boxes is None else boxes, image.shape))

    def estimate(self, image: npt.NDArray[np.uint8], judged: JudgedBoxes, *, workers: Executor | None = None, parts: int = 1) -> Poses:
        """Estimate the pose of each box whose form is known.

        Args:
            image: (H, W, 3) uint8, RGB, C-contiguous.
            judged: see ``edgepose.boxes.judge_boxes``.
            workers: threads that do parts of the work; by default all is done here.
            parts: into how many the boxes are divided: as many as the session has streams.

        Raises:
            InputError: the model gave heatmaps that aren't finite.
        """
        spec = self._spec
        keypoints_xy = np.full((len(judged.boxes_xyxy), spec.keypoints, 2), np.nan, dtype=np.float32)
        scores = np.zeros((len(judged.boxes_xyxy), spec.keypoints), dtype=np.float32)
        usable = np.flatnonzero(judged.usable)

        def find(part: npt.NDArray[np.intp]) -> None:
            keypoints_xy[part], scores[part] = self._top_down.find(image, judged.boxes_xyxy[part])

        step = max(1, min(PEOPLE_AT_ONCE, -(-len(usable) // parts)))
        for _ in (map if workers is None else workers.map)(find, [usable[start : start + step] for start in range(0, len(usable), step)]):
            pass  # the first error is raised here
        with np.errstate(over="ignore"):  # a box that can't be used may hold anything
            boxes_xyxy = judged.boxes_xyxy.astype(np.float32)
        return Poses(
            keypoints_xy=keypoints_xy,
            scores=scores,
            boxes_xyxy=boxes_xyxy,
            skeleton=spec.skeleton,
            box_scores=None if judged.scores is None else judged.scores.astype(np.float32),
            status=judged.status,
            reasons=judged.reasons,
        )


def _plain(values: npt.NDArray[np.float32]) -> list[Any]:
    """Rounded, as nested lists, with ``None`` for what isn't finite."""
    rounded: npt.NDArray[Any] = values.astype(np.float64).round(DECIMALS)
    finite = np.isfinite(rounded)
    if not finite.all():
        rounded = rounded.astype(object)
        rounded[~finite] = None
    plain: list[Any] = rounded.tolist()
    return plain
