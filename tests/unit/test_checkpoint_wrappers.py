"""One ViTPose is found in whatever its trainer wrapped around it, and what was left out or guessed is said."""

import argparse
import pathlib
from collections import defaultdict

import numpy as np
import pytest
import torch
from checkpoints import (
    assert_equal,
    huggingface_config,
    huggingface_state,
    mmpose_meta,
    mmpose_state,
    random_model,
    save,
    vitpose_state,
    write_huggingface,
)
from safetensors.torch import save_file

from edgepose.cli import main
from edgepose.errors import CheckpointError, InputError
from edgepose.models import load_checkpoint
from edgepose.skeleton import get_skeleton


@pytest.fixture(scope="module")
def model():
    return random_model(depth=1, head="simple")


def put(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"network": state},
        lambda state: {"weights": {"params": state}, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}},
        lambda state: [state],
        lambda state: {"state_dict": put("net.", state), "epoch": np.int64(3), "best": np.float32(0.5)},
        lambda state: put("pose_model.backbone_and_head.", state),
        lambda state: {"state_dict": put("model.", state), "hyper_parameters": argparse.Namespace(lr=1, root=pathlib.PosixPath("/d"))},
        lambda state: {"state_dict": defaultdict(None, state)},
        lambda state: {name.replace("keypoint_head.", "head."): tensor for name, tensor in state.items()},
        # Wrappers of parts: sharded or recomputed blocks, a compiled backbone, parts in parallel.
        lambda state: {
            name.replace("blocks.0.", "blocks.0._fsdp_wrapped_module._checkpoint_wrapped_module."): t for name, t in state.items()
        },
        lambda state: {name.replace("backbone.", "backbone._fsdp_wrapped_module."): tensor for name, tensor in state.items()},
        lambda state: {"model." + name.replace("backbone.", "backbone._orig_mod."): tensor for name, tensor in state.items()},
        lambda state: {name.replace("backbone.", "backbone.module.").replace("head.", "head.module."): t for name, t in state.items()},
        lambda state: {"a": {"b": {"c": {"d": {"e": {"f": {"g": state}}}}}}},
        # Through NumPy, in the other order of bytes, too.
        lambda state: {"params": {name: tensor.numpy() for name, tensor in state.items()}},
        lambda state: {name: tensor.double().numpy().astype(">f8") for name, tensor in state.items()},
    ],
)
def test_the_model_is_found_in_containers_and_behind_prefixes(tmp_path, model, wrap):
    torch.save(wrap(vitpose_state(model)), tmp_path / "a.pth")
    checkpoint = load_checkpoint(tmp_path / "a.pth", dataset="coco", input_size=(256, 192))
    assert_equal(checkpoint, model)
    assert checkpoint.spec.provenance.notes == ()


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "student."])
def test_prefixes_are_taken_off_in_every_kind_of_file(tmp_path, model, prefix):
    save_file({name: tensor.contiguous() for name, tensor in put(prefix, mmpose_state(model)).items()}, tmp_path / "a.safetensors")
    assert_equal(load_checkpoint(tmp_path / "a.safetensors"), model)
    folder = write_huggingface(tmp_path / "hf", put(prefix, huggingface_state(model)), huggingface_config(model))
    assert_equal(load_checkpoint(folder), model)


def test_wrapped_parts_are_not_mixed_with_others(tmp_path, model):
    state = vitpose_state(model)
    state["backbone.module.last_norm.bias"] = state["backbone.last_norm.bias"] + 1
    with pytest.raises(CheckpointError, match="unexpected tensor 'backbone.module.last_norm.bias'"):
        load_checkpoint(save(tmp_path / "a.pth", state), dataset="coco", input_size=(256, 192))


def test_a_shape_without_values_is_refused(tmp_path, model):
    state = {name: tensor.to("meta") for name, tensor in vitpose_state(model).items()}
    with pytest.raises(CheckpointError, match="'backbone.pos_embed' has a shape but no values"):
        load_checkpoint(save(tmp_path / "a.pth", state), dataset="coco", input_size=(256, 192))


@pytest.mark.parametrize("size", [(256.0, 192.0), (256, 192, 3), "256x192", (True, 192), 256, None])
def test_a_size_is_two_whole_numbers(tmp_path, model, size):
    path = save(tmp_path / "a.pth", vitpose_state(model))
    if size is None:
        assert load_checkpoint(path, dataset="coco", input_size=[256, 192]).spec.input.width == 192
        return
    with pytest.raises(InputError, match="expected height and width in whole pixels"):
        load_checkpoint(path, dataset="coco", input_size=size)


def test_what_is_left_out_is_said(tmp_path, model):
    state = put("model.", vitpose_state(model)) | {"criterion.weight": torch.ones(17)}
    notes = load_checkpoint(save(tmp_path / "a.pth", state), dataset="coco", input_size=(256, 192)).spec.provenance.notes
    assert notes == ("left out, because the trainer keeps it beside the model: 'state_dict.criterion.weight'",)
    # Beside the model's own parts: a loss is no part of it, another module may be.
    state = vitpose_state(model)
    assert_equal(load_checkpoint(save(tmp_path / "b.pth", state | {"criterion.weight": torch.ones(17)})), model)
    with pytest.raises(CheckpointError, match=r"unexpected tensor 'neck\.conv\.weight'"):
        load_checkpoint(save(tmp_path / "c.pth", state | {"neck.conv.weight": torch.ones(1)}))


@pytest.mark.parametrize(
    ("taken", "other"), [("student.", "teacher."), ("model.", "ema.module."), ("model.", "momentum_model."), ("ema.", "teacher.")]
)
def test_of_several_models_the_trained_one_is_taken_and_said(tmp_path, model, taken, other):
    second = random_model(depth=1, head="simple", seed=9)
    state = put(other, vitpose_state(second)) | put(taken, vitpose_state(model))
    checkpoint = load_checkpoint(save(tmp_path / "a.pth", state), dataset="coco", input_size=(256, 192))
    assert_equal(checkpoint, model)
    assert checkpoint.spec.provenance.notes == (
        f"several models are in the file: that under 'state_dict.{taken}' was taken, not that under 'state_dict.{other}'",
    )


def test_models_of_the_same_rank_are_one_or_refused(tmp_path, model):
    second = random_model(depth=1, head="simple", seed=9)
    same = put("a.", vitpose_state(model)) | put("b.", vitpose_state(model))
    assert_equal(load_checkpoint(save(tmp_path / "a.pth", same)), model)
    with pytest.raises(CheckpointError, match=r"several ViTPose models, under 'state_dict\.a\.', 'state_dict\.b\.'; save the one"):
        load_checkpoint(save(tmp_path / "b.pth", put("a.", vitpose_state(model)) | put("b.", vitpose_state(second))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {name: tensor for name, tensor in state.items() if name.startswith("backbone.")}, "holds the backbone alone"),
        (lambda state: {name.removeprefix("backbone."): t for name, t in state.items() if "head" not in name}, "a ViT's backbone alone"),
        (lambda state: state | {"backbone.patch_embed.proj.weight": torch.ones(192, 1, 16, 16)}, "takes 1 channels in patches of 16×16"),
        (lambda state: state | {"backbone.patch_embed.proj.weight": torch.ones(192, 3, 14, 14)}, "takes 3 channels in patches of 14×14"),
        (lambda state: state | {"backbone.blocks.0.attn.qkv.lora_A.default.weight": torch.ones(8, 192)}, "low-rank adapters .* merge them"),
        (lambda state: state | {"backbone.last_norm.bias": torch.full((192,), float("nan"))}, r"last_norm\.bias' has NaN"),
        (
            lambda state: state | {"backbone.blocks.0.mlp.fc1.weight": torch.zeros(1).expand(768, 192)},
            r"fc1\.weight' has the shape \(768, 192\), but fewer values",
        ),
    ],
)
def test_what_cannot_be_converted_is_named(tmp_path, model, change, message):
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(save(tmp_path / "a.pth", change(vitpose_state(model))))


def test_programs_are_no_weights(tmp_path, model):
    with torch.no_grad():
        torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1)).save(str(tmp_path / "a.pt"))
    with pytest.raises(CheckpointError, match="a TorchScript archive, .* save the weights instead"):
        load_checkpoint(tmp_path / "a.pt")
    torch.save(model, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match=r"asks for 'edgepose\.models\.vitpose\.ViTPose'.* no whole models"):
        load_checkpoint(tmp_path / "b.pth")


# Grids


@pytest.mark.parametrize(("height", "width"), [(192, 256), (288, 384), (96, 512), (256, 256), (256, 128)])
@pytest.mark.parametrize("class_slot", [True, False])
def test_a_stated_size_is_the_one_that_it_was_trained_at(tmp_path, height, width, class_slot):
    trained = random_model(depth=1, head="simple", height=height, width=width)
    path = save(tmp_path / "a.pth", vitpose_state(trained, class_slot=class_slot))
    checkpoint = load_checkpoint(path, input_size=(height, width))
    assert_equal(checkpoint, trained)
    assert (checkpoint.spec.input.height, checkpoint.spec.input.width) == (height, width)


def test_the_trained_size_may_be_stated_beside_another(tmp_path):
    landscape = random_model(depth=1, head="simple", height=192, width=256)
    path = save(tmp_path / "a.pth", vitpose_state(landscape))
    resized = load_checkpoint(path, input_size=(384, 288), trained_size=(192, 256)).model.backbone.pos_embed.detach()
    image = landscape.backbone.pos_embed.detach().reshape(1, 12, 16, 192).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(image, size=(24, 18), mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
    torch.testing.assert_close(resized, expected, rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="has 193 positions; one trained at 256x256 would have 256"):
        load_checkpoint(path, trained_size=(256, 256))
    folder = write_huggingface(tmp_path / "hf", huggingface_state(landscape), huggingface_config(landscape))
    assert_equal(load_checkpoint(folder), landscape)
    with pytest.raises(InputError, match="trained at 192x256, as it says itself, not at 256x192"):
        load_checkpoint(folder, trained_size=(256, 192))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("cfg", "codec = dict(type='UDPHeatmap', input_size=(256, 192), heatmap_size=(64, 48), sigma=2)"),
        ("config", "data_cfg = dict(\n    image_size=[256, 192],\n    use_udp=True)\ndata = dict(train=dict(type='AnimalAP10KDataset'))"),
    ],
)
def test_a_training_configuration_in_the_file_states_the_size(tmp_path, key, text):
    landscape = random_model(depth=1, head="simple", height=192, width=256)
    write = mmpose_state if key == "cfg" else vitpose_state
    meta = mmpose_meta(get_skeleton("ap10k")) if key == "cfg" else {}
    checkpoint = load_checkpoint(save(tmp_path / "a.pth", write(landscape), meta=meta | {key: text}), assume=False)
    assert_equal(checkpoint, landscape)
    assert (checkpoint.spec.skeleton.name, checkpoint.spec.codec.kind) == ("ap10k", "udp")


# Questions


@pytest.mark.parametrize(
    ("keypoints", "options", "asked"),
    [
        (17, {}, ["--dataset (coco or ap10k or apt36k)", "--input-size (256x192 or 192x256)"]),
        (17, {"dataset": "ap10k"}, ["--input-size"]),
        (17, {"input_size": (256, 192)}, ["--dataset"]),
        (17, {"dataset": "coco", "input_size": (384, 288)}, ["--trained-size (256x192 or 192x256)"]),
        (14, {"input_size": (256, 192)}, ["--dataset (aic or crowdpose)"]),
        (17, {"dataset": "coco", "input_size": (256, 192)}, []),
        (17, {"dataset": "apt36k", "input_size": (384, 288), "trained_size": (256, 192)}, []),
        (16, {"input_size": (256, 192)}, []),
    ],
)
def test_whoever_can_ask_does(tmp_path, keypoints, options, asked):
    path = save(tmp_path / "a.pth", vitpose_state(random_model(depth=1, head="simple", keypoints=keypoints)))
    if not asked:
        assert load_checkpoint(path, assume=False, **options).spec.provenance.notes == ()
        return
    with pytest.raises(InputError) as error:
        load_checkpoint(path, assume=False, **options)
    assert [option in str(error.value) for option in asked] == [True] * len(asked)
    assert str(error.value).count("say so with") == len(asked)
    # Taken for granted, it stands in the file.
    assert len(load_checkpoint(path, **options).spec.provenance.notes) == len(asked)


def test_a_skeleton_answers_the_question(tmp_path):
    path = save(tmp_path / "a.pth", vitpose_state(random_model(depth=1, head="simple", keypoints=14)))
    spec = load_checkpoint(path, skeleton=get_skeleton("aic"), input_size=(256, 192), assume=False).spec
    assert (spec.skeleton.name, spec.codec.kind, spec.provenance.dataset) == ("aic", "standard", "aic")


def test_convert_asks(tmp_path, capsys):
    path = save(tmp_path / "a.pth", vitpose_state(random_model(depth=1, head="simple")))
    command = ["convert", str(path), "--to", "openvino", "--precision", "fp32", "--out", str(tmp_path / "out")]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert "--dataset (coco or ap10k or apt36k). And nothing says at which input size" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
