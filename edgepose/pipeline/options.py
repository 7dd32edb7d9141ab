"""What a stream is asked for, and what it has done."""

from dataclasses import dataclass, field

from edgepose.errors import InputError

__all__ = ["StreamOptions", "Totals"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """What a stream does beside its parts.

    Attributes:
        detect_every: frames from one detection to the next; more than 1 needs a tracker, which carries boxes on.
        max_people: of one frame; those with the lowest detection scores are left out, counted and said once.
        min_pose_score: people whose keypoints score less on average are nobody; only where a detector looked for them.
        flip_test: average with the mirrored crops.

    Raises:
        InputError: a number out of range.
    """

    detect_every: int = 1
    max_people: int = 100
    min_pose_score: float = 0.0
    flip_test: bool = False

    def __post_init__(self) -> None:
        for name, least, most in (("detect_every", 1, 100_000), ("max_people", 1, 10_000)):
            if not least <= getattr(self, name) <= most:
                raise InputError(f"{name} is {getattr(self, name)}; allowed: {least} to {most}")
        if not 0 <= self.min_pose_score <= 1:
            raise InputError(f"min_pose_score is {self.min_pose_score}; allowed: 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What a stream has done so far.

    Attributes:
        frames: with poses, or with nobody.
        failures: frames that couldn't be used.
        dropped: frames of a live source that nobody had time for.
        people: poses, summed over frames.
        left_out: people beyond ``max_people``.
        detections: frames on which the detector ran.
        seconds: since the stream began, until it ended.
        busy_s: stage → seconds in which it worked: ``read``, ``detect``, ``pose`` and ``track``. Of frames that run at the same time, each
            counts.
    """

    frames: int = 0
    failures: int = 0
    dropped: int = 0
    people: int = 0
    left_out: int = 0
    detections: int = 0
    seconds: float = 0.0
    busy_s: dict[str, float] = field(default_factory=dict)
