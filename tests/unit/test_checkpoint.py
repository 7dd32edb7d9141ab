"""Checkpoints in every layout: what is read, and what is inferred."""

import hashlib
import json
import sys
import types
import zipfile
from collections import OrderedDict

import pytest
import torch
from checkpoints import (
    SYNTHPOSE,
    assert_equal,
    huggingface_config,
    huggingface_plus_state,
    huggingface_state,
    make_spec,
    mmpose_meta,
    mmpose_state,
    random_crops,
    random_model,
    save,
    vitpose_plus_state,
    vitpose_split_state,
    vitpose_state,
    write_huggingface,
)

from edgepose.errors import CheckpointError, InputError
from edgepose.models import Checkpoint, load_checkpoint, save_checkpoint
from edgepose.models.datasets import EXPERTS
from edgepose.skeleton import Skeleton, get_skeleton

# Layouts


@pytest.mark.parametrize("head", ["classic", "simple"])
def test_every_layout_gives_the_same_model(tmp_path, head):
    model = random_model(depth=2, head=head, layer_norm_eps=1e-6)
    spec = make_spec(model)
    sources = {
        "vitpose": save(tmp_path / "original.pth", vitpose_state(model)),
        "vitpose-easy": save(tmp_path / "easy.pth", vitpose_state(model, class_slot=False)),
        "mmpose": save(tmp_path / "mmpose.pth", mmpose_state(model), meta=mmpose_meta(get_skeleton("coco"))),
        "huggingface": write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model)),
        "huggingface-sharded": write_huggingface(tmp_path / "shards", huggingface_state(model), huggingface_config(model), kind="sharded"),
        "huggingface-bin": write_huggingface(tmp_path / "bin", huggingface_state(model), huggingface_config(model), kind="bin"),
        "edgepose": tmp_path / "own.safetensors",
    }
    save_checkpoint(Checkpoint(model=model, spec=spec), sources["edgepose"])
    crops = random_crops(model, batch=1)
    with torch.no_grad():
        expected = model(crops)
        for kind, source in sources.items():
            checkpoint = load_checkpoint(source)
            assert_equal(checkpoint, model)
            assert torch.equal(checkpoint.model(crops), expected), kind
            assert checkpoint.spec.provenance.layout == kind.partition("-")[0]
            assert checkpoint.spec.skeleton == get_skeleton("coco")
            assert checkpoint.spec.codec.kind == "udp"
            assert not checkpoint.model.training


@pytest.mark.parametrize(
    "wrap",
    [lambda state: state, lambda state: {"model": state}, lambda state: {"epoch": 3, "ema_state_dict": {"steps": torch.tensor(1)} | state}],
)
def test_state_dicts_are_found_where_trainers_put_them(tmp_path, model, wrap):
    torch.save(wrap(vitpose_state(model)), tmp_path / "a.pth")
    assert_equal(load_checkpoint(tmp_path / "a.pth"), model)


@pytest.mark.parametrize("prefix", ["module.", "model.", "module._orig_mod."])
def test_wrappers_prefixes_are_taken_off(tmp_path, model, prefix):
    save(tmp_path / "a.pth", {prefix + name: tensor for name, tensor in vitpose_state(model).items()})
    assert_equal(load_checkpoint(tmp_path / "a.pth"), model)


def test_old_serialization_is_read(tmp_path, model):
    # mmpose's publishing tool writes it to this day.
    path = tmp_path / "published.pth"
    torch.save({"meta": mmpose_meta(get_skeleton("coco")), "state_dict": mmpose_state(model)}, path, _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(path)
    assert_equal(load_checkpoint(path), model)


def test_training_logs_beside_the_weights_are_harmless(tmp_path, model, monkeypatch):
    module = types.ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        pass

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    module.HistoryBuffer = HistoryBuffer
    for name in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    log = HistoryBuffer()
    log._log_history = mmpose_meta(get_skeleton("coco"))["dataset_meta"]["sigmas"]
    path = save(tmp_path / "epoch_210.pth", mmpose_state(model), message_hub={"log_scalars": OrderedDict(loss=log)}, optimizer={})
    monkeypatch.undo()
    assert_equal(load_checkpoint(path), model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(tmp_path, model, dtype):
    state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in vitpose_state(model).items()}
    checkpoint = load_checkpoint(save(tmp_path / "a.pth", state))
    for name, tensor in checkpoint.model.state_dict().items():
        if tensor.is_floating_point() and "pos_embed" not in name:
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, model.state_dict()[name].to(dtype).float())


def test_leftovers_of_pretraining_and_averaging_are_ignored(tmp_path, model):
    state = vitpose_state(model) | {"backbone.cls_token": torch.zeros(1, 1, 192), "ema_backbone_pos_embed": torch.zeros(3)}
    assert_equal(load_checkpoint(save(tmp_path / "a.pth", state)), model)


def test_batch_norm_counters_may_be_absent(tmp_path, classic):
    state = {name: tensor for name, tensor in vitpose_state(classic).items() if not name.endswith("num_batches_tracked")}
    assert_equal(load_checkpoint(save(tmp_path / "a.pth", state)), classic)


def test_weights_don_t_stay_mapped_to_the_file(tmp_path, model):
    path = save(tmp_path / "a.pth", vitpose_state(model))
    checkpoint = load_checkpoint(path)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert_equal(checkpoint, model)


def test_mmpose_positions_with_a_class_slot(tmp_path, model, caplog):
    checkpoint = load_checkpoint(save(tmp_path / "a.pth", mmpose_state(model, class_slot=True)))
    assert_equal(checkpoint, model)
    assert "class token" in checkpoint.spec.provenance.notes[0]
    assert "class token" in caplog.text


def test_a_huggingface_file_finds_the_config_beside_it(tmp_path, model):
    folder = write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model))
    assert_equal(load_checkpoint(folder / "model.safetensors"), model)


def test_huggingface_normalization_is_read(tmp_path, model):
    folder = write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model))
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.5, 1]}))
    spec = load_checkpoint(folder).spec
    assert (spec.input.mean, spec.input.std) == ((0.5, 0.5, 0.5), (0.25, 0.5, 1.0))


@pytest.mark.parametrize(
    ("preprocessor", "mean", "std"),
    [
        ({"do_normalize": False}, 0.0, 1.0),
        ({"do_normalize": False, "do_rescale": False}, 0.0, 1 / 255),
        ({"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51.0] * 3}, 0.5, 0.2),
        ({"rescale_factor": 1 / 510, "image_mean": [0.2] * 3, "image_std": [0.1] * 3}, 0.4, 0.2),
        ({"rescale_factor": 0.00392156862745098, "image_mean": [0.2] * 3, "image_std": [0.1] * 3}, 0.2, 0.1),
    ],
)
def test_huggingface_pixels_are_scaled_as_it_says(tmp_path, model, preprocessor, mean, std):
    folder = write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model))
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    spec = load_checkpoint(folder).spec
    assert spec.input.mean == pytest.approx((mean,) * 3)
    assert spec.input.std == pytest.approx((std,) * 3)


@pytest.mark.parametrize(
    ("preprocessor", "message"),
    [
        ({"image_mean": [123.675, 116.28, 103.53], "image_std": [58.395, 57.12, 57.375]}, "no picture has it"),
        ({"do_normalize": "no"}, "do_normalize is 'no'"),
        ({"rescale_factor": 0}, "rescale_factor is 0"),
        ({"image_mean": [0.5, 0.5]}, "image_mean has 2 items"),
    ],
)
def test_huggingface_pixels_that_no_picture_has_are_refused(tmp_path, model, preprocessor, message):
    folder = write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model))
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_huggingface_crops_of_another_size_are_said(tmp_path, model):
    folder = write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model))
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 384, "width": 288}}))
    (note,) = load_checkpoint(folder).spec.provenance.notes
    assert "makes crops of 384x288 (height × width)" in note


# ViTPose+


@pytest.mark.parametrize("dataset", EXPERTS)
def test_plus_takes_expert_and_head_of_the_dataset(tmp_path, plus, dataset):
    checkpoint = load_checkpoint(save(tmp_path / "plus.pth", vitpose_plus_state(plus)), dataset=dataset)
    assert_equal(checkpoint, plus.models[dataset])
    spec = checkpoint.spec
    assert spec.skeleton == get_skeleton({"apt36k": "ap10k"}.get(dataset, dataset))
    assert spec.codec.kind == ("udp" if dataset in ("coco", "mpii") else "standard")
    assert spec.provenance.dataset == dataset
    assert spec.name == "vitpose-192x1-plus-simple" + ("" if dataset == "coco" else f"-{dataset}")


def test_plus_defaults_to_coco(tmp_path, plus):
    assert_equal(load_checkpoint(save(tmp_path / "plus.pth", vitpose_plus_state(plus))), plus.models["coco"])


@pytest.mark.parametrize("dataset", ["coco", "ap10k", "wholebody"])
def test_split_files_tell_their_dataset(tmp_path, plus, dataset):
    path = save(tmp_path / "split.pth", vitpose_split_state(plus, dataset))
    checkpoint = load_checkpoint(path)
    assert_equal(checkpoint, plus.models[dataset])
    assert checkpoint.spec.provenance.dataset == dataset
    assert checkpoint.spec.skeleton.name == dataset
    with pytest.raises(CheckpointError, match=f"split.pth: was split from .* '{dataset}'; 'mpii'"):
        load_checkpoint(path, dataset="mpii")


def test_heads_wider_than_their_dataset_are_cut(tmp_path, plus):
    state = vitpose_plus_state(plus)
    for leaf in ("weight", "bias"):
        name = f"associate_keypoint_heads.0.final_layer.{leaf}"
        state[name] = torch.cat((state[name], state[name][:3]))
    assert_equal(load_checkpoint(save(tmp_path / "plus.pth", state), dataset="aic"), plus.models["aic"])


def test_several_heads_without_experts(tmp_path, plus):
    coco = plus.models["coco"]
    state = vitpose_state(coco)
    for index, dataset in enumerate(("aic", "mpii")):
        head = f"associate_keypoint_heads.{index}"
        state |= {name: tensor for name, tensor in vitpose_state(plus.models[dataset], head=head).items() if name.startswith(head)}
    path = save(tmp_path / "multi.pth", state)
    assert_equal(load_checkpoint(path), coco)
    mpii = load_checkpoint(path, dataset="mpii")
    assert torch.equal(mpii.model.head.final.weight, plus.models["mpii"].head.final.weight)
    with pytest.raises(CheckpointError, match="no head of the data set 'ap10k'; it has those of coco, aic, mpii"):
        load_checkpoint(path, dataset="ap10k")


def test_a_lone_head_brings_its_own_expert(tmp_path, plus):
    # easy_ViTPose's transform_ckpt.py keeps the experts and one head.
    body = {name: tensor for name, tensor in vitpose_plus_state(plus).items() if not name.startswith(("keypoint_head", "associate"))}
    state = vitpose_state(plus.models["wholebody"]) | body
    assert_equal(load_checkpoint(save(tmp_path / "a.pth", state)), plus.models["wholebody"])


def test_huggingface_experts_share_the_coco_head(tmp_path, plus, caplog):
    folder = write_huggingface(
        tmp_path / "hf", huggingface_plus_state(plus), huggingface_config(plus.shared, num_experts=6, part_features=48)
    )
    coco = load_checkpoint(folder)
    assert_equal(coco, plus.models["coco"])
    assert coco.spec.provenance.notes == ()
    assert not caplog.records
    aic = load_checkpoint(folder, dataset="aic")
    assert torch.equal(aic.model.backbone.blocks[0].mlp.fc2.weight, plus.models["aic"].backbone.blocks[0].mlp.fc2.weight)
    assert torch.equal(aic.model.head.final.weight, plus.models["coco"].head.final.weight)
    assert aic.spec.skeleton.name == "coco"
    assert aic.spec.codec.kind == "udp"
    assert "expert of aic" in aic.spec.provenance.notes[0]
    assert "expert of aic" in caplog.text


def test_an_expert_that_isnt_there(tmp_path, plus):
    folder = write_huggingface(tmp_path / "hf", huggingface_plus_state(plus), huggingface_config(plus.shared, num_experts=2))
    with pytest.raises(CheckpointError, match="no expert of the data set 'mpii'; it has those of coco, aic"):
        load_checkpoint(folder, dataset="mpii")


# Keypoints, size and names


def test_synthpose_takes_its_names_from_the_config(tmp_path):
    model = random_model(depth=1, head="simple", keypoints=52)
    edges = [[0, 1], [17, 18]]
    folder = write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model, names=SYNTHPOSE, top={"edges": edges}))
    skeleton = load_checkpoint(folder).spec.skeleton
    assert skeleton.keypoints == tuple(SYNTHPOSE)
    assert skeleton.links == (("Nose", "L_Eye"), ("sternum", "rshoulder"))
    assert {("L_Knee", "R_Knee"), ("l_knee", "r_knee"), ("lshoulder", "rshoulder"), ("l_calc", "r_calc")} <= set(skeleton.flip_pairs)
    assert not {"L2", "T11", "sternum", "Nose"} & {name for pair in skeleton.flip_pairs for name in pair}
    assert len(skeleton.flip_pairs) == 23


def test_a_given_skeleton_wins(tmp_path):
    model = random_model(depth=1, head="simple", keypoints=52)
    folder = write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model, names=SYNTHPOSE))
    given = Skeleton(name="mine", keypoints=tuple(f"point {index}" for index in range(52)))
    spec = load_checkpoint(folder, skeleton=given).spec
    assert spec.skeleton == given
    assert spec.name == "vitpose-192x1-simple-mine"
    with pytest.raises(CheckpointError, match="the head has 52 keypoints; the skeleton 'coco' has 17"):
        load_checkpoint(folder, skeleton=get_skeleton("coco"))


def test_placeholder_names_dont_count(tmp_path, model):
    names = [f"LABEL_{index}" for index in range(17)]
    folder = write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model, names=names))
    assert load_checkpoint(folder).spec.skeleton == get_skeleton("coco")


@pytest.mark.parametrize(("keypoints", "name"), [(17, "coco"), (16, "mpii"), (133, "wholebody"), (14, "unnamed-14"), (21, "unnamed-21")])
def test_the_number_of_keypoints_suggests_a_skeleton(tmp_path, caplog, keypoints, name):
    model = random_model(depth=1, head="simple", keypoints=keypoints)
    spec = load_checkpoint(save(tmp_path / "a.pth", vitpose_state(model))).spec
    assert spec.skeleton.name == name
    assert spec.provenance.dataset == ("" if name.startswith("unnamed") else name)
    asked = {17: "say so with --dataset (coco or ap10k or apt36k)", 14: "say so with --dataset (aic or crowdpose)", 21: "--skeleton FILE"}
    assert asked.get(keypoints, "256x192 (height × width) is the likeliest; say so with --input-size (256x192 or 192x256)") in caplog.text
    # Both data sets of 14 keypoints were trained without UDP.
    assert spec.codec.kind == ("standard" if keypoints in (14, 133) else "udp")


@pytest.mark.parametrize("dataset", ["aic", "crowdpose"])
def test_the_dataset_names_the_keypoints_of_a_plain_model(tmp_path, dataset):
    model = random_model(depth=1, head="simple", keypoints=14)
    path = save(tmp_path / "a.pth", vitpose_state(model))
    spec = load_checkpoint(path, dataset=dataset).spec
    assert spec.skeleton == get_skeleton(dataset)
    assert spec.codec.kind == "standard"
    with pytest.raises(CheckpointError, match="the head has 14 keypoints; the data set 'wholebody' has 133"):
        load_checkpoint(path, dataset="wholebody")


def test_mmpose_names_its_keypoints(tmp_path):
    model = random_model(depth=1, head="simple", keypoints=3)
    skeleton = Skeleton(name="Tri-Pod", keypoints=("a", "b", "c"), links=(("a", "c"),), flip_pairs=(("b", "c"),), sigmas=(0.25, 0.5, 0.75))
    spec = load_checkpoint(save(tmp_path / "a.pth", mmpose_state(model), meta=mmpose_meta(skeleton))).spec
    assert spec.skeleton == Skeleton(
        name="tri-pod", keypoints=("a", "b", "c"), links=skeleton.links, flip_pairs=skeleton.flip_pairs, sigmas=skeleton.sigmas
    )


@pytest.mark.parametrize(
    "change",
    [
        {"sigmas": ["wide"]},
        {"skeleton_links": [(0, 99)]},
        {"flip_pairs": 3},
        {"keypoint_id2name": {0: "a", 2: "b"}},
        {"skeleton_links": [(1,)]},
    ],
)
def test_a_wrong_description_is_an_error_unless_a_skeleton_is_given(tmp_path, model, change):
    meta = mmpose_meta(get_skeleton("coco"))
    meta["dataset_meta"] |= {"keypoint_id2name": {index: f"p{index}" for index in range(17)}} | change
    path = save(tmp_path / "a.pth", mmpose_state(model), meta=meta)
    with pytest.raises(CheckpointError, match=r"a\.pth: what it says about its keypoints .*--skeleton FILE"):
        load_checkpoint(path)
    assert load_checkpoint(path, skeleton=get_skeleton("coco")).spec.skeleton == get_skeleton("coco")


def test_mmpose_codec_is_udp_unless_the_config_says_otherwise(tmp_path):
    model = random_model(depth=1, head="simple", keypoints=133)
    meta = mmpose_meta(get_skeleton("wholebody"))
    assert load_checkpoint(save(tmp_path / "a.pth", mmpose_state(model), meta=meta)).spec.codec.kind == "udp"
    meta["cfg"] = meta["cfg"].replace("UDPHeatmap", "MSRAHeatmap")
    assert load_checkpoint(save(tmp_path / "b.pth", mmpose_state(model), meta=meta)).spec.codec.kind == "standard"


def test_published_sizes_have_short_names(tmp_path):
    model = random_model(depth=12, head="classic")
    path = save(tmp_path / "a.pth", vitpose_state(model))
    assert load_checkpoint(path).spec.name == "vitpose-ti"
    assert load_checkpoint(path, name="mine").spec.name == "mine"
    with pytest.raises(CheckpointError, match="'not a name'"):
        load_checkpoint(path, name="not a name")


@pytest.mark.parametrize("write", [vitpose_state, mmpose_state])
def test_another_input_size_interpolates_the_positions(tmp_path, model, write):
    path = save(tmp_path / "a.pth", write(model))
    checkpoint = load_checkpoint(path, input_size=(384, 288))
    assert (checkpoint.spec.input.height, checkpoint.spec.input.width) == (384, 288)
    assert checkpoint.model.backbone.pos_embed.shape == (1, 432, 192)
    assert checkpoint.model(random_crops(checkpoint.model, batch=1)).shape == (1, 17, 96, 72)
    image = model.backbone.pos_embed.detach().reshape(1, 16, 12, 192).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(image, size=(24, 18), mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
    torch.testing.assert_close(checkpoint.model.backbone.pos_embed.detach(), expected, rtol=0, atol=1e-6)


def test_checkpoints_of_other_resolutions_are_read(tmp_path):
    model = random_model(depth=1, head="simple", height=384, width=288)
    spec = load_checkpoint(save(tmp_path / "a.pth", vitpose_state(model))).spec
    assert (spec.input.height, spec.input.width) == (384, 288)
    odd = random_model(depth=1, head="simple", height=256, width=128)
    path = save(tmp_path / "b.pth", vitpose_state(odd))
    with pytest.raises(CheckpointError, match="129 positions, .*--input-size"):
        load_checkpoint(path)
    assert_equal(load_checkpoint(path, input_size=(256, 128)), odd)


@pytest.mark.parametrize("size", [(250, 192), (0, 0), (256, 8192)])
def test_wrong_input_sizes_are_refused(tmp_path, model, size):
    with pytest.raises(InputError, match="multiples of 16"):
        load_checkpoint(save(tmp_path / "a.pth", vitpose_state(model)), input_size=size)


def test_provenance_names_file_and_hash_but_no_path(tmp_path, model):
    path = save(tmp_path / "weights.pth", vitpose_state(model))
    spec = load_checkpoint(path).spec
    assert spec.provenance.source == "weights.pth"
    assert spec.provenance.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert str(tmp_path) not in spec.to_json()
