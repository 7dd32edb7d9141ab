"""Names of keypoints: harmless spellings are one name, everything else is another keypoint."""

import pytest

from edgepose.errors import InputError
from edgepose.evaluation.keypoint_names import check_names, same_keypoint
from edgepose.findings import Findings
from edgepose.skeleton import Skeleton, get_skeleton

COCO = get_skeleton("coco")
POSETRACK = ("nose", "head_bottom", "head_top", *COCO.keypoints[3:])


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("left_eye", "Left Eye"),
        ("left_eye", "left-eye"),
        ("left_eye", "LEFT.EYE"),
        ("left_eye", "leftEye"),
        ("left_eye", "lefteye"),
        ("left_eye", "l_eye"),
        ("left_eye", "LEye"),
        ("left_eye", "leye"),
        ("left_eye", "eye_left"),
        ("left_eye", "eye.L"),
        ("right_shoulder", "R_Shoulder"),
        ("right_shoulder", "r shoulder"),
        ("l_f_paw", "left_front_paw"),
        ("head_top", "Top Head"),
        ("top_head", "head"),
        ("left_thumb1", "Left Thumb 1"),
        ("目", "目"),
    ],
)
def test_harmless_spellings(name: str, other: str) -> None:
    assert same_keypoint(name, other)
    assert same_keypoint(other, name)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("left_eye", "right_eye"),
        ("left_eye", "eye"),
        ("left_eye", "left_ear"),
        ("left_eye", "head_bottom"),
        ("left_thumb1", "left_thumb2"),
        ("neck", "nose"),
        ("head_top", "head"),
        ("left_eye", "1"),
        ("左目", "右目"),
        ("", "nose"),
        ("•", "?"),
    ],
)
def test_other_keypoints(name: str, other: str) -> None:
    assert not same_keypoint(name, other)
    assert not same_keypoint(other, name)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (POSETRACK, "keypoint 1 of the model's skeleton 'coco' is left_eye, but of a.json it is head_bottom: .*--keypoints-as-listed"),
        (tuple(map(str, range(1, 18))), r"the keypoint names of a.json \(1, 2, 3 …\) can't be compared .*--keypoints-as-listed"),
        (tuple(f"点{k}" for k in range(17)), r"\(点0, 点1, 点2 …\) can't be compared"),
        (COCO.keypoints[::-1], "keypoint 0 of .* is nose, but of a.json it is right_ankle: take"),
        (("\x1b[31m",) * 17, r"\(\\x1b\[31m, "),
        (COCO.keypoints[:16], "a.json has 16 keypoints"),
    ],
)
def test_names_that_differ_are_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_names(COCO, names, "a.json")


def test_every_single_name_counts() -> None:
    for place in range(17):
        names = list(COCO.keypoints)
        names[place] = "elsewhere"
        with pytest.raises(InputError, match=f"keypoint {place} of"):
            check_names(COCO, names, "a.json")


def test_names_that_are_vouched_for() -> None:
    findings = Findings()
    check_names(COCO, tuple(map(str, range(1, 18))), "a.json", as_listed=True, findings=findings)
    assert [(finding.code, finding.count) for finding in findings] == [("keypoints-as-listed", 17)]
    swapped = tuple(name.replace("left", "\0").replace("right", "left").replace("\0", "right") for name in COCO.keypoints)
    one_side = tuple(name.replace("right_eye", "left_iris") for name in COCO.keypoints)
    for names in (swapped, COCO.keypoints[::-1], one_side):
        with pytest.raises(InputError, match="take a model and annotations of the same data set$"):
            check_names(COCO, names, "a.json", as_listed=True)


def test_nothing_to_compare() -> None:
    check_names(COCO, (), "a.json")
    check_names(Skeleton.unnamed(17), POSETRACK, "a.json")
