"""Checkpoint files: the hub, edgepose's own, and everything that can be wrong with one."""

import hashlib
import json
import pickle
import re
import struct

import pytest
import torch
from checkpoints import (
    assert_equal,
    huggingface_config,
    huggingface_state,
    make_spec,
    mmpose_state,
    random_model,
    save,
    vitpose_state,
    write_huggingface,
)
from safetensors.torch import save_file

from edgepose.artifact import embed_spec
from edgepose.errors import CheckpointError, IntegrityError
from edgepose.models import Checkpoint, load_checkpoint, save_checkpoint

# The hub


def test_hub_ids_are_downloaded(tmp_path, model, monkeypatch):
    folder = write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model))
    asked = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda hub_id, **options: asked.append(hub_id) or str(folder))
    checkpoint = load_checkpoint("someone/some-pose.v1")
    assert asked == ["someone/some-pose.v1"]
    assert checkpoint.spec.provenance.source == "someone/some-pose.v1"
    assert_equal(checkpoint, model)


def test_pickled_weights_are_asked_for_only_where_there_are_no_others(tmp_path, model, monkeypatch):
    folder = write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model), kind="bin")
    patterns = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda _, allow_patterns: patterns.append(allow_patterns) or str(folder))
    load_checkpoint("someone/pickled")
    assert ["pytorch_model*.bin" in asked for asked in patterns] == [False, True]


def test_a_network_failure_is_named(monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(CheckpointError, match=r"'someone/pose'.*ConnectionError: no route to host"):
        load_checkpoint("someone/pose")


@pytest.mark.parametrize("source", ["weights/vitpose.pth", "missing.pth", "a/b/c", "../x"])
def test_missing_files_are_not_looked_for_on_the_hub(monkeypatch, source):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(CheckpointError, match="no such file or folder"):
        load_checkpoint(source)


# edgepose's own files


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_saved_checkpoints_come_back(tmp_path, classic, dtype):
    spec = make_spec(classic, name="student")
    path = tmp_path / "student.safetensors"
    save_checkpoint(Checkpoint(model=classic, spec=spec), path, dtype=dtype)
    checkpoint = load_checkpoint(path)
    for name, tensor in checkpoint.model.state_dict().items():
        expected = classic.state_dict()[name]
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, expected.half().float() if dtype == "fp16" else expected)
    assert checkpoint.spec.name == "student"
    assert checkpoint.spec.skeleton == spec.skeleton
    assert checkpoint.spec.provenance.source == "random weights"
    assert checkpoint.spec.provenance.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [file.name for file in tmp_path.iterdir()] == ["student.safetensors"]


def test_a_saved_checkpoint_keeps_the_origin_and_takes_options(tmp_path, model):
    original = load_checkpoint(save(tmp_path / "a.pth", vitpose_state(model)))
    save_checkpoint(original, tmp_path / "a.safetensors")
    again = load_checkpoint(tmp_path / "a.safetensors", input_size=(128, 96), dataset="ap10k", name="animal")
    assert again.spec.provenance.sha256 == original.spec.provenance.sha256
    assert again.spec.provenance.dataset == "ap10k"
    assert again.spec.codec.kind == "standard"
    assert again.spec.skeleton.name == "ap10k"
    assert again.spec.name == "animal"
    assert again.model.backbone.pos_embed.shape == (1, 48, 192)


def test_small_models_of_other_widths_can_be_saved(tmp_path):
    model = random_model(dim=48, depth=2, heads=4, layer_norm_eps=1e-5, keypoints=5)
    save_checkpoint(Checkpoint(model=model, spec=make_spec(model)), tmp_path / "a.safetensors")
    checkpoint = load_checkpoint(tmp_path / "a.safetensors")
    assert checkpoint.model.config == model.config
    assert_equal(checkpoint, model)


def test_a_header_length_that_looks_like_a_pickle(tmp_path, model):
    state = {name: tensor.contiguous() for name, tensor in huggingface_state(model).items()}
    folder = write_huggingface(tmp_path / "hf", state, huggingface_config(model))
    path = folder / "model.safetensors"
    for padding in range(0, 256, 8):
        save_file(state, path, metadata={"format": "pt", "padding": "x" * padding})
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    assert_equal(load_checkpoint(folder), model)


@pytest.mark.parametrize("where", [0.3, 0.999])
def test_one_flipped_bit_is_noticed(tmp_path, model, where):
    path = tmp_path / "a.safetensors"
    save_checkpoint(Checkpoint(model=model, spec=make_spec(model)), path)
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="a.safetensors"):
        load_checkpoint(path)


def test_a_spec_of_another_model_isnt_saved(tmp_path, model, classic):
    with pytest.raises(CheckpointError, match="another network"):
        save_checkpoint(Checkpoint(model=model, spec=make_spec(classic)), tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_what_was_there(tmp_path, model, monkeypatch):
    path = tmp_path / "a.safetensors"
    path.write_text("before")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgepose.models.checkpoint.embed_spec", fail)
    with pytest.raises(CheckpointError, match=r"a\.safetensors: can't be written: .*No space left"):
        save_checkpoint(Checkpoint(model=model, spec=make_spec(model)), path)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.safetensors", "before")]


def test_values_beyond_float16_are_refused(tmp_path):
    model = random_model(dim=48, depth=1)
    with torch.no_grad():
        model.head.final.bias[0] = 1e6
    with pytest.raises(CheckpointError, match=r"'head\.final\.bias'.*beyond fp16"):
        save_checkpoint(Checkpoint(model=model, spec=make_spec(model)), tmp_path / "a.safetensors", dtype="fp16")


def test_a_spec_that_was_dropped_is_missed(tmp_path, model):
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, tmp_path / "bare.safetensors")
    with pytest.raises(CheckpointError, match="no spec inside"):
        load_checkpoint(tmp_path / "bare.safetensors")


# Bad files


class Evil:
    def __reduce__(self):
        return (print, ("run by a pickle",))


FOREIGN = {
    "empty.pth": (b"", "is empty"),
    "photo.pth": (b"\xff\xd8\xff\xe0" + b"\0" * 64, "a JPEG image"),
    "notes.pth": (b"these are not the weights you are looking for", "a text file"),
    "page.safetensors": (b"<!DOCTYPE html><html></html>", "a web page"),
    "pointer.safetensors": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "noise.pth": (bytes(range(128, 255)), "neither a PyTorch checkpoint|can't be read|damaged pickle"),
    "cut.safetensors": (struct.pack("<Q", 500) + b'{"a":{"dtype":"F32"', "damaged safetensors"),
    "huge.safetensors": (b"\xff" * 7 + b"\x7f" + b"{}", "damaged safetensors"),
    "archive.pth": (b"PK\x03\x04 but no more than that", "cut short or damaged"),
    "pickle.pth": (pickle.dumps({"a": 1}), "PyTorch checkpoint|pickle"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_and_damaged_files(tmp_path, name):
    content, message = FOREIGN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(tmp_path / name)
    assert name in str(caught.value)


def test_an_onnx_file_is_no_checkpoint(tmp_path):
    onnx = pytest.importorskip("onnx")
    graph = onnx.helper.make_graph([], "g", [], [])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "model.onnx")
    with pytest.raises(CheckpointError, match=r"model\.onnx"):
        load_checkpoint(tmp_path / "model.onnx")


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_truncated_files(tmp_path, model, share, legacy):
    path = tmp_path / "a.pth"
    torch.save({"state_dict": vitpose_state(model)}, path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        load_checkpoint(path)


@pytest.mark.parametrize("share", [0.001, 0.5])
def test_truncated_safetensors(tmp_path, model, share):
    folder = write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model))
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"hf/model\.safetensors"):
        load_checkpoint(folder)


@pytest.mark.parametrize("content", [Evil(), {"state_dict": {"weight": torch.zeros(1), "more": Evil()}}])
@pytest.mark.parametrize("legacy", [True, False])
def test_code_in_a_pickle_is_refused_and_named(tmp_path, capsys, content, legacy):
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"evil\.pth.*print'.*refused"):
        load_checkpoint(tmp_path / "evil.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(content if isinstance(content, Evil) else Evil()))
    with pytest.raises(CheckpointError, match=r"bare\.pth"):
        load_checkpoint(tmp_path / "bare.pth")
    assert "run by a pickle" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", [[1, 2], {"a": 1}, {"state_dict": {"a": 1}}, {}, torch.zeros(3), {"state_dict": {"a": torch.zeros(1), "b": "text"}}]
)
def test_pickles_without_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth.*(not a state dict|holds no tensors|not a ViTPose)"):
        load_checkpoint(tmp_path / "a.pth")


def test_another_network_is_told_by_its_names(tmp_path):
    with pytest.raises(CheckpointError, match=r"not a ViTPose.*'layer1\.weight'.*Known layouts: huggingface, mmpose, vitpose"):
        load_checkpoint(save(tmp_path / "a.pth", {"layer1.weight": torch.zeros(3)}))


WRITERS = {
    "vitpose": vitpose_state,
    "mmpose": mmpose_state,
    "huggingface": huggingface_state,
    "edgepose": lambda model: dict(model.state_dict()),
}


def write(folder, layout, state, model):
    """Write a damaged checkpoint of one block in any layout."""
    if layout == "huggingface":
        return write_huggingface(folder / "hf", state, huggingface_config(model))
    if layout == "edgepose":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "a.safetensors")
        embed_spec(folder / "a.safetensors", make_spec(model))
        return folder / "a.safetensors"
    return save(folder / "a.pth", state)


@pytest.mark.parametrize("layout", WRITERS)
def test_missing_tensors_are_named(tmp_path, classic, layout):
    state = WRITERS[layout](classic)
    names = [name for name in state if not name.endswith("num_batches_tracked")]
    for name in names[::3]:
        (folder := tmp_path / name).mkdir()
        rest = {key: tensor for key, tensor in state.items() if key != name}
        with pytest.raises(CheckpointError, match=f"'{re.escape(name)}'"):
            load_checkpoint(write(folder, layout, rest, classic))


@pytest.mark.parametrize("layout", WRITERS)
def test_unexpected_tensors_are_listed_and_counted(tmp_path, model, layout):
    extra = {f"backbone.extra.{index}": torch.zeros(1) for index in range(7)}
    with pytest.raises(CheckpointError, match=r"has unexpected tensors 'backbone\.extra\.0', 'backbone\.extra\.1'.*\(7 in all\)"):
        load_checkpoint(write(tmp_path, layout, WRITERS[layout](model) | extra, model))


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_arent_finite_are_named(tmp_path, model, layout, value):
    state = {name: tensor.clone() for name, tensor in WRITERS[layout](model).items()}
    name = next(name for name in state if "fc1.weight" in name or "ffn.layers.0.0.weight" in name)
    state[name][3, 5] = value
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.") + ".*NaN or infinite"):
        load_checkpoint(write(tmp_path, layout, state, model))


@pytest.mark.parametrize("layout", WRITERS)
def test_wrong_shapes_are_named(tmp_path, model, layout):
    state = WRITERS[layout](model)
    name = next(name for name in state if "fc1.weight" in name or "ffn.layers.0.0.weight" in name)
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.") + r".*\(767, 192\); expected \(768, 192\)"):
        load_checkpoint(write(tmp_path, layout, state | {name: state[name][1:]}, model))


def test_blocks_with_a_gap(tmp_path):
    state = {name: tensor for name, tensor in vitpose_state(random_model(depth=3, head="simple")).items() if ".blocks.1." not in name}
    with pytest.raises(CheckpointError, match="lacks block 1"):
        load_checkpoint(save(tmp_path / "a.pth", state))


def test_integers_are_no_weights(tmp_path, model):
    state = vitpose_state(model)
    state["keypoint_head.final_layer.bias"] = torch.zeros(17, dtype=torch.int8)
    with pytest.raises(CheckpointError, match=r"'keypoint_head\.final_layer\.bias' holds int8"):
        load_checkpoint(save(tmp_path / "a.pth", state))


def test_unknown_widths_are_listed(tmp_path):
    with pytest.raises(CheckpointError, match=r"48 channels; known: 192 \(Ti\), 384 \(S\)"):
        load_checkpoint(save(tmp_path / "a.pth", vitpose_state(random_model(dim=48, depth=1))))


def test_an_mmpose_backbone_with_a_class_token(tmp_path, model):
    state = mmpose_state(model, class_slot=True) | {"backbone.cls_token": torch.zeros(1, 1, 192)}
    with pytest.raises(CheckpointError, match="with_cls_token"):
        load_checkpoint(save(tmp_path / "a.pth", state))


# Bad folders


@pytest.mark.parametrize(
    ("backbone", "top", "message"),
    [
        ({"hidden_act": "relu"}, {}, r"hidden_act is 'relu'; allowed: 'gelu'"),
        ({"patch_size": [14, 14]}, {}, r"patch_size is \(14, 14\); allowed: 16"),
        ({"image_size": [250, 192]}, {}, "image_size"),
        ({"mlp_ratio": 2}, {}, "mlp_ratio is 2"),
        ({"hidden_size": "big"}, {}, "hidden_size is 'big'; expected int"),
        ({"num_attention_heads": 5}, {}, "heads must divide dim"),
        ({"num_hidden_layers": 9, "out_indices": [9]}, {}, "has 1 layers; config.json asks for 9"),
        ({"out_indices": [7]}, {}, "out_indices"),
        ({"out_indices": None, "out_features": ["stage7"]}, {}, "out_features"),
        ({}, {"scale_factor": 2}, "scale_factor is 2; allowed: 4"),
        ({}, {"model_type": "vit"}, "model_type is 'vit'"),
        ({}, {"use_simple_decoder": False}, r"lacks tensors .*has unexpected|expected \(17, 256, 1, 1\)|lacks"),
        ({}, {"id2label": {"0": "a", "2": "b"}}, "id2label"),
        ({}, {"id2label": {"0": "a", "1": "b"}}, "the head has 17 keypoints; the checkpoint's own description 'keypoints-2' has 2"),
        ({}, {"id2label": {str(index): "same" for index in range(17)}}, "--skeleton FILE"),
        ({}, {"id2label": {str(index): f"p{index}" for index in range(17)}, "edges": [[0, 99]]}, "--skeleton FILE"),
        ({}, {"edges": "all"}, "edges"),
    ],
)
def test_configs_that_describe_something_else(tmp_path, model, backbone, top, message):
    folder = write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model, top=top, **backbone))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(folder)
    assert "hf" in str(caught.value)


def test_folders_that_are_no_model(tmp_path, model):
    with pytest.raises(CheckpointError, match=r"without config\.json"):
        load_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"without weights; looked for model\.safetensors"):
        load_checkpoint(tmp_path)
    folder = write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model))
    for text in ("not json", "[]", "\xff"):
        (folder / "config.json").write_text(text, "latin-1")
        with pytest.raises(CheckpointError, match=r"config\.json"):
            load_checkpoint(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"need a config\.json"):
        load_checkpoint(folder / "model.safetensors")


@pytest.mark.parametrize("place", ["../model.safetensors", "/etc/model.safetensors", "sub/model.safetensors"])
def test_shards_stay_in_their_folder(tmp_path, model, place):
    folder = write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model), kind="sharded")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": place}}))
    with pytest.raises(CheckpointError, match="outside the folder"):
        load_checkpoint(folder)


def test_a_missing_shard_is_named(tmp_path, model):
    folder = write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model), kind="sharded")
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="1 of 2 weight files are missing, e.g. 'model-00002-of-00002.safetensors'"):
        load_checkpoint(folder)


def test_unreadable_files_are_named(tmp_path, model, monkeypatch):
    path = save(tmp_path / "a.pth", vitpose_state(model))

    def deny(self, *_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", deny)
    with pytest.raises(CheckpointError, match=r"a\.pth: can't be read: Permission denied"):
        load_checkpoint(path)
