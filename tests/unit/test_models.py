import subprocess
import sys

import pytest
import torch
from checkpoints import make_spec, random_crops, random_model, split_positions
from torch import nn
from torch.nn import functional as F

from edgepose.errors import InputError
from edgepose.models import ViTPose, VitPoseConfig, for_export
from edgepose.models.datasets import DATASETS, EXPERTS, find_dataset, get_dataset
from edgepose.models.naming import Labels, infer_flip_pairs, match_skeleton
from edgepose.models.positions import fold_class_slot, infer_grid, list_grids, resize_positions
from edgepose.models.sizes import SIZES, find_size
from edgepose.skeleton import get_skeleton


@pytest.mark.parametrize("head", ["classic", "simple"])
@pytest.mark.parametrize(("height", "width"), [(64, 48), (96, 96)])
def test_heatmaps_are_a_quarter_of_the_input(head, height, width):
    model = random_model(dim=48, heads=3, head=head, keypoints=5, height=height, width=width)
    assert model(random_crops(model, batch=3)).shape == (3, 5, height // 4, width // 4)


def test_config_follows_the_spec():
    model = random_model(dim=48, depth=3, heads=2, head="simple", keypoints=17, height=128, width=96, layer_norm_eps=1e-12)
    assert VitPoseConfig.from_spec(make_spec(model)) == model.config


def test_every_layer_norm_takes_the_epsilon():
    with torch.device("meta"):
        model = ViTPose(VitPoseConfig(dim=48, depth=2, heads=3, head="classic", keypoints=17, layer_norm_eps=1e-3))
    assert {module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)} == {1e-3}


@pytest.mark.parametrize("head", ["classic", "simple"])
def test_folding_keeps_the_outputs(head):
    model = random_model(dim=48, head=head)
    crops = random_crops(model)
    with torch.no_grad():
        expected = model(crops)
        actual = for_export(model)(crops)
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_folding_leaves_no_batch_norm_and_doesnt_touch_the_model():
    model = random_model(dim=48).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    exported = for_export(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in exported.modules())
    assert exported.head.deconv1.bias is not None
    assert not exported.training
    assert not any(parameter.requires_grad for parameter in exported.parameters())
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_folding_shares_the_backbone():
    model = random_model(dim=48)
    assert for_export(model).backbone.pos_embed.data_ptr() == model.backbone.pos_embed.data_ptr()


@pytest.mark.parametrize(
    ("slots", "grid"),
    [
        (192, (16, 12)),
        (193, (16, 12)),
        (432, (24, 18)),
        (433, (24, 18)),
        (256, (16, 16)),
        (197, (14, 14)),
        (49, (8, 6)),
        (200, None),
        (1, None),
        (0, None),
    ],
)
def test_grid_of_positions(slots, grid):
    assert infer_grid(slots) == grid


def test_usual_grids_of_a_number():
    assert list_grids(193) == ((16, 12), (12, 16))
    assert list_grids(256) == ((16, 16),)
    assert list_grids(200) == ()


def test_a_stated_grid_that_accounts_for_every_slot_comes_first():
    assert infer_grid(128, stated=(16, 8)) == (16, 8)
    assert infer_grid(129, stated=(16, 8)) == (16, 8)
    assert infer_grid(192, stated=(12, 16)) == infer_grid(193, stated=(12, 16)) == (12, 16)
    assert infer_grid(432, stated=(18, 24)) == (18, 24)
    assert infer_grid(192, stated=(6, 32)) == (6, 32)
    assert infer_grid(192, stated=(24, 18)) == (16, 12)
    assert infer_grid(128, stated=(16, 12)) is None


def test_positions_are_interpolated_as_the_original_does():
    folded = random_model(dim=48).backbone.pos_embed.detach()
    original = split_positions(folded)
    # The original resizes the grid, keeps the class slot, and adds the slot in each forward pass.
    image = original[:, 1:].reshape(1, 16, 12, 48).permute(0, 3, 1, 2)
    resized = F.interpolate(image, size=(24, 18), mode="bicubic", align_corners=False).flatten(2).transpose(1, 2) + original[:, :1]
    actual = resize_positions(fold_class_slot(original, (16, 12)), (16, 12), (24, 18))
    assert actual.shape == (1, 432, 48)
    torch.testing.assert_close(actual, resized, rtol=0, atol=1e-6)


def test_positions_of_the_same_grid_stay():
    positions = random_model(dim=48).backbone.pos_embed.detach()
    assert resize_positions(positions, (16, 12), (16, 12)) is positions


def test_sizes_are_the_published_ones():
    assert [(size.name, size.dim, size.depth, size.heads) for size in SIZES] == [
        ("ti", 192, 12, 3),
        ("s", 384, 12, 12),
        ("b", 768, 12, 12),
        ("l", 1024, 24, 16),
        ("h", 1280, 32, 16),
    ]
    assert find_size(768) is SIZES[2]
    assert find_size(100) is None


def test_datasets_are_in_the_order_of_the_experts():
    assert [(name, DATASETS[name].keypoints) for name in EXPERTS] == [
        ("coco", 17),
        ("aic", 14),
        ("mpii", 16),
        ("ap10k", 17),
        ("apt36k", 17),
        ("wholebody", 133),
    ]
    assert {name for name, dataset in DATASETS.items() if dataset.codec.kind == "udp"} == {"coco", "mpii"}
    assert find_dataset(get_skeleton("wholebody")) is DATASETS["wholebody"]


def test_an_unknown_dataset_is_refused():
    with pytest.raises(InputError, match=r"'cocoo'.*known: coco, aic"):
        get_dataset("cocoo")


@pytest.mark.parametrize(
    "write", [str.upper, str.title, lambda name: name.replace("_", " "), lambda name: name.replace("left_", "L_").replace("right_", "R_")]
)
def test_builtin_skeletons_are_known_however_they_are_written(write):
    for name in ("coco", "wholebody", "mpii", "ap10k"):
        skeleton = get_skeleton(name)
        assert match_skeleton(tuple(map(write, skeleton.keypoints))) == skeleton


def test_joined_words_are_split():
    names = [name.title().replace("_", "") for name in get_skeleton("coco").keypoints]
    assert match_skeleton(tuple(names)) == get_skeleton("coco")
    assert match_skeleton(tuple(name.replace("Left", "L").replace("Right", "R") for name in names)) == get_skeleton("coco")


def test_another_order_is_another_skeleton():
    assert match_skeleton(get_skeleton("coco").keypoints[::-1]) is None


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("left_a", "right_a", "b"), (("left_a", "right_a"),)),
        (("R_Knee", "L_Knee", "r_knee", "l_knee"), (("L_Knee", "R_Knee"), ("l_knee", "r_knee"))),
        (("l_a", "R_a", "L_a", "r_a"), (("l_a", "r_a"), ("L_a", "R_a"))),
        (("rshoulder", "lshoulder"), (("lshoulder", "rshoulder"),)),
        (("r_elbow", "L_elbow"), (("L_elbow", "r_elbow"),)),
        (("L2", "T6", "lip", "nose"), ()),
        (("shoulder_left", "shoulder_right", "nose"), (("shoulder_left", "shoulder_right"),)),
        (("shoulder.R", "shoulder.L"), (("shoulder.L", "shoulder.R"),)),
        (("Hip-l", "Hip-r", "hip_L", "hip_R"), (("Hip-l", "Hip-r"), ("hip_L", "hip_R"))),
        (("kneeLeft", "kneeRight", "elbowL", "elbowR"), (("kneeLeft", "kneeRight"), ("elbowL", "elbowR"))),
        (("hand_left_1", "hand_right_1", "hand_left_2"), (("hand_left_1", "hand_right_1"),)),
        (("ANKLE LEFT", "ANKLE RIGHT"), (("ANKLE LEFT", "ANKLE RIGHT"),)),
        (("wrist_l", "wrist_R"), (("wrist_l", "wrist_R"),)),
        (("lip", "rip_", "rear", "lear_", "tail_l", "heel", "heer", "bottom_left"), ()),
    ],
)
def test_flip_pairs_are_inferred_from_names(names, pairs):
    assert infer_flip_pairs(names) == pairs


def test_labels_keep_what_the_checkpoint_states():
    labels = Labels(name="two", keypoints=("left_a", "right_a"), links=((0, 1),), flip_pairs=(), sigmas=(0.1, 0.2))
    skeleton = labels.to_skeleton()
    assert (skeleton.links, skeleton.flip_pairs, skeleton.sigmas) == ((("left_a", "right_a"),), (), (0.1, 0.2))


def test_registries_need_no_torch():
    code = "import sys, edgepose.models.sizes, edgepose.models.datasets; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_exist():
    import edgepose.models

    for name in edgepose.models.__all__:
        assert getattr(edgepose.models, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = edgepose.models.nothing
