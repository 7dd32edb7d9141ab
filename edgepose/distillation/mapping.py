"""Whose keypoints are which: by name."""

from edgepose.errors import InputError
from edgepose.skeleton import Skeleton

__all__ = ["map_names"]


def map_names(teacher: Skeleton, student: Skeleton, *, who: str) -> tuple[int, ...]:
    """Return, for each keypoint of the student, its index among the teacher's.

    Raises:
        InputError: the teacher lacks one of them: it would have to be guessed.
    """
    lacking = [name for name in student.keypoints if name not in teacher.keypoints]
    if lacking:
        shown = ", ".join(lacking[:5]) + (", …" if len(lacking) > 5 else "")
        raise InputError(
            f"{who} has the keypoints of {teacher.name!r}, which lack {len(lacking)} of the student's {len(student.keypoints)}: {shown}. "
            f"Train a student with its keypoints (--set student.skeleton={teacher.name}), or take another teacher"
        )
    return tuple(teacher.keypoints.index(name) for name in student.keypoints)
