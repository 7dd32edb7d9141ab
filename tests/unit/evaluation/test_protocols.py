"""Which protocol a data set is scored by, and models that don't fit it."""

from pathlib import Path

import numpy as np
import pytest
from coco_like import load, make_document
from test_pck import make_mpii

from edgepose.errors import InputError
from edgepose.evaluation.dataset import Annotations
from edgepose.evaluation.protocols import PROTOCOLS, choose_protocol
from edgepose.skeleton import Skeleton, get_skeleton

AIC = ["Right Shoulder", "Right Elbow", "Right Wrist", "Left Shoulder", "Left Elbow", "Left Wrist", "Right Hip", "Right Knee"]
AIC += ["Right Ankle", "Left Hip", "Left Knee", "Left Ankle", "Head top", "Neck"]
AP10K = ["left_eye", "right_eye", "nose", "neck", "root_of_tail", "left_shoulder", "left_elbow", "left_front_paw", "right_shoulder"]
AP10K += ["right_elbow", "right_front_paw", "left_hip", "left_knee", "left_back_paw", "right_hip", "right_knee", "right_back_paw"]


def annotations_of(
    folder: Path, names: list[str] | tuple[str, ...], *, stated: bool = True, categories: tuple[int, ...] = (1,)
) -> Annotations:
    document = make_document(keypoints=len(names), names=tuple(names), categories=categories, pictures=8)
    if not stated:
        for category in document["categories"]:
            del category["keypoints"]
    return load(folder, document, keypoints=len(names))


@pytest.mark.parametrize(
    ("skeleton", "names", "expected"),
    [
        ("coco", get_skeleton("coco").keypoints, "coco"),
        ("aic", AIC, "aic"),  # as the published files write them
        ("ap10k", AP10K, "ap10k"),
        ("crowdpose", [*get_skeleton("crowdpose").keypoints[:12], "head", "neck"], "crowdpose"),
        ("mpii", get_skeleton("mpii").keypoints, "coco"),  # without head sizes: OKS with its constants
    ],
)
def test_guess_by_names(tmp_path: Path, skeleton: str, names: list[str], expected: str) -> None:
    annotations = annotations_of(tmp_path, names)
    assert choose_protocol(None, annotations, get_skeleton(skeleton)).name == expected
    if skeleton != "mpii":
        assert choose_protocol(None, annotations, Skeleton.unnamed(len(names))).name == expected


def test_guess_without_names(tmp_path: Path) -> None:
    names = tuple(f"k{k}" for k in range(17))
    unnamed = Skeleton.unnamed(17)
    assert choose_protocol(None, annotations_of(tmp_path, names, stated=False), unnamed).name == "coco"
    assert choose_protocol(None, annotations_of(tmp_path, names, stated=False, categories=(1, 5)), unnamed).name == "ap10k"
    with pytest.raises(InputError, match="aic and crowdpose have 14 keypoints.*name the protocol"):
        choose_protocol(None, annotations_of(tmp_path, names[:14], stated=False), Skeleton.unnamed(14))
    assert choose_protocol(None, annotations_of(tmp_path, names[:5]), Skeleton.unnamed(5)).name == "pck"
    own = Skeleton(name="own", keypoints=names[:5], sigmas=(0.1,) * 5)
    assert choose_protocol(None, annotations_of(tmp_path, names[:5]), own).name == "coco"


def test_guess_by_what_only_one_data_set_has(tmp_path: Path) -> None:
    assert choose_protocol(None, make_mpii()[0], get_skeleton("mpii")).name == "mpii"
    document = make_document(keypoints=14, names=get_skeleton("crowdpose").keypoints)
    for image in document["images"]:
        image["crowdIndex"] = 0.5
    assert choose_protocol(None, load(tmp_path, document, keypoints=14), Skeleton.unnamed(14)).name == "crowdpose"


def test_a_name_is_taken_as_it_is(tmp_path: Path) -> None:
    annotations = annotations_of(tmp_path, get_skeleton("coco").keypoints)
    assert choose_protocol("pck", annotations, get_skeleton("coco")).name == "pck"
    with pytest.raises(InputError, match="no protocol is called 'voc'; known: coco, wholebody, .*pck"):
        choose_protocol("voc", annotations, get_skeleton("coco"))


def test_the_same_keypoints_in_another_order_are_refused(tmp_path: Path) -> None:
    coco, animals = get_skeleton("coco"), get_skeleton("ap10k")
    with pytest.raises(InputError, match=r"keypoint 0 of the model's skeleton 'coco' is nose, but of annotations.json it is left_eye"):
        choose_protocol("coco", annotations_of(tmp_path, AP10K), coco)
    with pytest.raises(InputError, match="'ap10k' is l_eye, but of annotations.json"):
        choose_protocol(None, annotations_of(tmp_path, coco.keypoints), animals)
    with pytest.raises(InputError, match="'coco' is nose, but of the protocol ap10k"):
        choose_protocol("ap10k", annotations_of(tmp_path, coco.keypoints), coco)
    with pytest.raises(InputError, match="the protocol aic has 14 keypoints, the model's skeleton 'coco' 17"):
        choose_protocol("aic", annotations_of(tmp_path, coco.keypoints), coco)
    with pytest.raises(InputError, match="has 17 keypoints, the model 14"):
        choose_protocol(None, annotations_of(tmp_path, coco.keypoints), get_skeleton("aic"))


def test_the_table() -> None:
    assert all(name == protocol.name for name, protocol in PROTOCOLS.items())
    assert all(not protocol.skeleton or get_skeleton(protocol.skeleton).sigmas for protocol in PROTOCOLS.values())


# The constants of the data sets' own publications, in thousandths: COCO's keypoint evaluation page, CrowdPose's and AP-10K's code.
@pytest.mark.parametrize(
    ("skeleton", "sigmas"),
    [
        ("coco", [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]),
        ("crowdpose", [79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89, 79, 79]),
        ("ap10k", [25, 25, 26, 35, 35, 79, 72, 62, 79, 72, 62, 107, 87, 89, 107, 87, 89]),
    ],
)
def test_published_sigmas(skeleton: str, sigmas: list[int]) -> None:
    assert np.array(get_skeleton(skeleton).sigmas) * 1000 == pytest.approx(sigmas)
