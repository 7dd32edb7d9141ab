"""The built-in skeletons are consistent, and files of the same form are checked."""

import json
from pathlib import Path

import pytest

from edgepose.errors import InputError, SpecError
from edgepose.skeleton import Skeleton, get_skeleton, list_skeletons, load_skeleton

COUNTS = {"coco": 17, "wholebody": 133, "aic": 14, "mpii": 16, "ap10k": 17, "crowdpose": 14}


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_built_in_skeletons(name: str, count: int) -> None:
    skeleton = get_skeleton(name)
    assert skeleton.name == name
    assert len(skeleton.keypoints) == len(skeleton.sigmas) == count
    assert skeleton.links
    order = skeleton.flip_order
    assert [order[index] for index in order] == list(range(count)), "mirroring twice changes nothing"


def test_every_built_in_skeleton_is_tested() -> None:
    assert set(list_skeletons()) == set(COUNTS)


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_left_and_right_change_places(name: str) -> None:
    skeleton = get_skeleton(name)
    for index, keypoint in enumerate(skeleton.keypoints):
        mirrored = skeleton.keypoints[skeleton.flip_order[index]]
        swapped = keypoint.replace("left", "\0").replace("right", "left").replace("\0", "right")
        if keypoint.startswith(("left_", "right_")):
            assert mirrored == swapped


def test_coco_links_are_indices_of_names() -> None:
    skeleton = get_skeleton("coco")
    for (start, end), names in zip(skeleton.link_indices, skeleton.links, strict=True):
        assert (skeleton.keypoints[start], skeleton.keypoints[end]) == names


def test_unknown_name() -> None:
    with pytest.raises(InputError, match=r"'cocoa'; built in: .*coco"):
        get_skeleton("cocoa")


def test_unnamed() -> None:
    skeleton = Skeleton.unnamed(3)
    assert skeleton.keypoints == ("keypoint_0", "keypoint_1", "keypoint_2")
    assert skeleton.flip_order == (0, 1, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": []}, "has 0 keypoints"),
        ({"keypoints": ["a", "a"]}, "names keypoints twice: a"),
        ({"links": [["a", "z"]]}, "doesn't have: z"),
        ({"flip_pairs": [["a", "b"], ["b", "c"]]}, "in two flip pairs"),
        ({"sigmas": [0.1]}, "1 sigmas for 3 keypoints"),
        ({"sigmas": [0.1, 0, 0.1]}, "the sigma of 'b' is 0.0; allowed: 0.0001 to 1.0"),
        ({"sigmas": [0.1, 0.1, -0.1]}, "the sigma of 'c' is -0.1"),
        ({"sigmas": [26, 25, 25]}, "the sigma of 'a' is 26.0"),
        ({"sigmas": [1e-9, 0.1, 0.1]}, "the sigma of 'a' is 1e-09"),
        ({"sigmas": [0.1, 0.1, float("nan")]}, "expected a finite number"),
        ({"colour": "red"}, "unknown field"),
    ],
)
def test_bad_skeleton_files(tmp_path: Path, change: dict[str, object], message: str) -> None:
    file = tmp_path / "skeleton.json"
    file.write_text(json.dumps({"name": "mine", "keypoints": ["a", "b", "c"]} | change))
    with pytest.raises(SpecError, match=message):
        load_skeleton(file)


@pytest.mark.parametrize("sigma", [float("nan"), float("inf"), 0.0, -0.05])
def test_sigmas_are_checked_wherever_a_skeleton_is_made(sigma: float) -> None:
    with pytest.raises(SpecError, match="the sigma of 'b' is"):
        Skeleton(name="mine", keypoints=("a", "b"), sigmas=(0.05, sigma))


def test_missing_skeleton_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.json"):
        load_skeleton(tmp_path / "nothing.json")
