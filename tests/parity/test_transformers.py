"""The same weights give the same heatmaps in ``transformers``: every size, both heads, every expert.

The tolerance is 1e-5 of the largest absolute heatmap value, in float32. Ti and S run at full depth; B, L and H, which would take a minute,
run at full width and one block here and at full depth under the marker ``slow``.
"""

import pytest
import torch
from checkpoints import (
    SYNTHPOSE,
    huggingface_config,
    huggingface_plus_state,
    huggingface_state,
    mmpose_state,
    random_crops,
    random_model,
    random_plus,
    vitpose_plus_state,
    vitpose_split_state,
    vitpose_state,
    write_huggingface,
)
from transformers import VitPoseConfig, VitPoseForPoseEstimation
from transformers.utils import logging

from edgepose.models import for_export, load_checkpoint
from edgepose.models.datasets import EXPERTS
from edgepose.models.sizes import SIZES

logging.disable_progress_bar()

TOLERANCE = 1e-5
FULL_DEPTH = {"ti", "s"}


def assert_same(actual, expected, tolerance=TOLERANCE):
    assert actual.shape == expected.shape
    scale = expected.abs().max()
    assert scale > 0.1
    assert (actual - expected).abs().max() <= tolerance * scale


@torch.no_grad()
def run_transformers(folder, crops, expert=None):
    reference = VitPoseForPoseEstimation.from_pretrained(folder).eval()
    index = None if expert is None else torch.full((len(crops),), expert)
    return reference(crops, dataset_index=index).heatmaps


@torch.no_grad()
def run(source, crops, **options):
    return load_checkpoint(source, **options).model(crops)


@pytest.mark.parametrize("head", ["classic", "simple"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_every_size_and_head(tmp_path, size, head):
    depth = size.depth if size.name in FULL_DEPTH else 1
    check_size(tmp_path, size, head, depth)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["classic", "simple"])
@pytest.mark.parametrize("size", [size for size in SIZES if size.name not in FULL_DEPTH], ids=lambda size: size.name)
def test_large_sizes_at_full_depth(tmp_path, size, head):
    check_size(tmp_path, size, head, size.depth)


def check_size(folder, size, head, depth):
    model = random_model(dim=size.dim, depth=depth, heads=size.heads, head=head, layer_norm_eps=1e-12)
    write_huggingface(folder / "hf", huggingface_state(model), huggingface_config(model))
    crops = random_crops(model, batch=1)
    expected = run_transformers(folder / "hf", crops)
    loaded = load_checkpoint(folder / "hf").model
    with torch.no_grad():
        assert_same(loaded(crops), expected)
        assert_same(for_export(loaded)(crops), expected)


@pytest.fixture(scope="module")
def plus(tmp_path_factory):
    """A random ViTPose+ S of two blocks, with the published width of experts, in transformers' form and the original's."""
    folder = tmp_path_factory.mktemp("plus")
    plus = random_plus(dim=384, depth=2, heads=12, part=96, layer_norm_eps=1e-6)
    config = huggingface_config(plus.shared, num_experts=6, part_features=96)
    write_huggingface(folder / "hf", huggingface_plus_state(plus), config)
    torch.save({"state_dict": vitpose_plus_state(plus)}, folder / "plus.pth")
    torch.save({"state_dict": vitpose_split_state(plus, "coco")}, folder / "coco.pth")
    return folder, plus


@pytest.mark.parametrize("expert", range(6), ids=EXPERTS)
def test_every_expert(plus, expert):
    folder, models = plus
    crops = random_crops(models.shared)
    expected = run_transformers(folder / "hf", crops, expert)
    assert_same(run(folder / "hf", crops, dataset=EXPERTS[expert]), expected)


def test_experts_differ(plus):
    folder, models = plus
    crops = random_crops(models.shared, batch=1)
    coco, aic = (run(folder / "hf", crops, dataset=dataset) for dataset in ("coco", "aic"))
    assert (coco - aic).abs().max() > 0.01 * coco.abs().max()


def test_the_original_layout_of_vitpose_plus_has_the_same_coco_outputs(plus):
    folder, models = plus
    crops = random_crops(models.shared)
    expected = run_transformers(folder / "hf", crops, 0)
    assert_same(run(folder / "plus.pth", crops), expected)
    assert_same(run(folder / "coco.pth", crops), expected)


@pytest.mark.parametrize("dataset", EXPERTS)
def test_each_dataset_has_its_own_head_in_the_original_layout(plus, dataset):
    folder, models = plus
    crops = random_crops(models.shared, batch=1)
    with torch.no_grad():
        expected = models.models[dataset](crops)
    assert torch.equal(run(folder / "plus.pth", crops, dataset=dataset), expected)


def test_pth_layouts_agree_with_transformers(tmp_path):
    model = random_model(head="classic", layer_norm_eps=1e-6)
    crops = random_crops(model)
    write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model))
    expected = run_transformers(tmp_path / "hf", crops)
    for name, state in (
        ("vitpose", vitpose_state(model)),
        ("mmpose", mmpose_state(model)),
        ("easy", vitpose_state(model, class_slot=False)),
    ):
        torch.save({"state_dict": state}, tmp_path / f"{name}.pth")
        assert_same(run(tmp_path / f"{name}.pth", crops), expected)


@pytest.mark.parametrize("stage", [{"out_indices": [2]}, {"out_indices": [1, -2]}, {"out_indices": None, "out_features": ["stage2"]}])
def test_features_of_an_earlier_stage(tmp_path, stage):
    model = random_model(dim=48, depth=3)
    write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model, **stage))
    crops = random_crops(model, batch=1)
    expected = run_transformers(tmp_path / "hf", crops)
    checkpoint = load_checkpoint(tmp_path / "hf")
    assert checkpoint.spec.architecture.depth == 2
    with torch.no_grad():
        assert_same(checkpoint.model(crops), expected)


def test_qkv_without_bias(tmp_path):
    model = random_model(dim=48)
    write_huggingface(tmp_path / "hf", huggingface_state(model, qkv_bias=False), huggingface_config(model, qkv_bias=False))
    crops = random_crops(model, batch=1)
    assert_same(run(tmp_path / "hf", crops), run_transformers(tmp_path / "hf", crops))


def test_a_large_epsilon_and_another_image_size(tmp_path):
    model = random_model(dim=48, height=128, width=160, layer_norm_eps=0.1)
    write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model))
    crops = random_crops(model, batch=1)
    assert_same(run(tmp_path / "hf", crops), run_transformers(tmp_path / "hf", crops))


def test_what_transformers_saves_itself(tmp_path):
    torch.manual_seed(0)
    config = VitPoseConfig(
        backbone_config={"model_type": "vitpose_backbone", "hidden_size": 48, "num_hidden_layers": 5, "num_attention_heads": 3},
        id2label=dict(enumerate(SYNTHPOSE)),
    )
    VitPoseForPoseEstimation(config).save_pretrained(tmp_path / "hf")
    checkpoint = load_checkpoint(tmp_path / "hf")
    crops = random_crops(checkpoint.model)
    expected = run_transformers(tmp_path / "hf", crops)
    assert checkpoint.spec.skeleton.keypoints == tuple(SYNTHPOSE)
    with torch.no_grad():
        assert (checkpoint.model(crops) - expected).abs().max() <= TOLERANCE * expected.abs().max()


def test_half_precision_weights_compute_as_their_float32_values(tmp_path):
    model = random_model(dim=48)
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in huggingface_state(model).items()}
    full = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in half.items()}
    write_huggingface(tmp_path / "half", half, huggingface_config(model))
    write_huggingface(tmp_path / "full", full, huggingface_config(model))
    crops = random_crops(model, batch=1)
    assert_same(run(tmp_path / "half", crops), run_transformers(tmp_path / "full", crops))
