"""Checkpoints that nobody means well: small files don't take much memory or time, and whatever is in them, the answer is ours."""

import copy
import io
import json
import pickle
import random
import resource
import struct
import zipfile
from collections.abc import Callable

import pytest
import torch
from checkpoints import huggingface_config, huggingface_state, random_model, save, vitpose_state, write_huggingface
from safetensors.torch import save_file

from edgepose.distillation import load_state
from edgepose.errors import CheckpointError, EdgePoseError, TrainingError
from edgepose.models import load_checkpoint
from edgepose.models.pickle_scan import MAX_OPCODES

MUTANTS = 120


@pytest.fixture(scope="module")
def model():
    return random_model(depth=1, head="simple", height=64, width=48)


def write_pickle(path, content: bytes):
    """A file of PyTorch's form around any pickle."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
    return path


def call(function: str, argument: bytes) -> bytes:
    """A pickle that holds what ``function(argument)`` returns, under a name."""
    module, _, name = function.rpartition(".")
    return b"\x80\x02}X\x01\x00\x00\x00ac" + f"{module}\n{name}\n".encode() + argument + b"\x85Rs."


@pytest.mark.parametrize("function", ["builtins.bytearray", "__builtin__.bytearray", "torch.FloatTensor", "torch.cuda.ByteTensor"])
def test_memory_that_no_weights_need_is_refused(tmp_path, function):
    path = write_pickle(tmp_path / "a.pth", call(function, b"\x8a\x08" + struct.pack("<q", 1 << 32)))
    assert path.stat().st_size < 500
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=rf"a\.pth: a pickle that asks for '{function}', which no weights need"):
        load_checkpoint(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_lists_of_lists_end(tmp_path):
    bomb: list[object] = []
    for _ in range(200):
        bomb = [bomb, bomb]
    with pytest.raises(CheckpointError, match="holds no tensors"):
        load_checkpoint(save(tmp_path / "a.pth", bomb))
    deep: list[object] = []
    for _ in range(300):
        deep = [deep]
    with pytest.raises(CheckpointError, match="holds no tensors"):
        load_checkpoint(save(tmp_path / "b.pth", {"a": deep}))


def test_a_pickle_has_so_many_parts(tmp_path):
    content = b"\x80\x02]" + b"N0" * (MAX_OPCODES // 2) + b"."
    with pytest.raises(CheckpointError, match="a pickle of more than 2,000,000 parts"):
        load_checkpoint(write_pickle(tmp_path / "a.pth", content))


def test_archives_hold_what_they_say(tmp_path, model):
    save(tmp_path / "a.pth", vitpose_state(model))
    with zipfile.ZipFile(tmp_path / "a.pth") as source, zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(CheckpointError, match=r"b\.pth: its records are compressed"):
        load_checkpoint(tmp_path / "b.pth")


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ({"hidden_size": 10**9}, "hidden_size is 1000000000; allowed: 1 to 8192"),
        ({"num_hidden_layers": 10**9, "out_features": ["stage1"]}, "num_hidden_layers is 1000000000"),
        ({"hidden_size": 10**400}, "more than 308 digits"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"layer_norm_eps": -1.0}, r"layer_norm_eps is -1\.0"),
        ({"image_size": [1 << 20, 16]}, "image_size is .*; allowed: up to 4096"),
        ({"hidden_size": 384}, r"its patch embedding has the shape \(192, 3, 16, 16\), config\.json asks for \(384, 3, 16, 16\)"),
    ],
)
def test_configurations_beyond_any_vit(tmp_path, model, backbone, message):
    folder = write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model, **backbone))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_deep_configurations(tmp_path, model):
    folder = write_huggingface(tmp_path / "hf", huggingface_state(model), huggingface_config(model))
    (folder / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    with pytest.raises(CheckpointError, match=r"config\.json can't be read as JSON: .*nested"):
        load_checkpoint(folder)


def mutate_bytes(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    end = min(len(data), 6000) if chance.random() < 0.8 else len(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        place = chance.randrange(end)
        kind = chance.randrange(4)
        if kind == 0:
            data[place] = chance.randrange(256)
        elif kind == 1:
            del data[place : place + chance.randrange(1, 40)]
        elif kind == 2:
            data[place:place] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 9)))
        else:
            data[place : place + 8] = chance.choice((b"\xff" * 8, b"\0" * 8, struct.pack("<q", 1 << 62)))
    return bytes(data if chance.random() < 0.9 else data[: chance.randrange(len(data))])


VALUES = (None, True, -1, 0, 1e308, 10**18, "", "a" * 1000, [], {}, [[0]], {"a": {"b": 1}}, float("nan"))


def mutate_json(document: object, chance: random.Random) -> object:
    document = copy.deepcopy(document)
    place = document
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = chance.choice(list(keys))
        if isinstance(place[key], dict | list) and place[key] and chance.random() < 0.6:
            place = place[key]
            continue
        place[key] = chance.choice(VALUES)
        return document


def write_pth(folder, model, chance):
    stream = io.BytesIO()
    torch.save({"state_dict": vitpose_state(model), "meta": {"epoch": 3}}, stream, _use_new_zipfile_serialization=chance.random() < 0.6)
    content = stream.getvalue()
    if zipfile.is_zipfile(io.BytesIO(content)) and chance.random() < 0.7:
        # Inside the archive, where its checksums would stop the others.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return write_pickle(folder / "a.pth", mutate_bytes(archive.read("archive/data.pkl"), chance))
    (folder / "a.pth").write_bytes(mutate_bytes(content, chance))
    return folder / "a.pth"


def write_safetensors(folder, model, chance):
    path = folder / "a.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in vitpose_state(model).items()}, path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    if chance.random() < 0.7:
        header = json.dumps(mutate_json(json.loads(content[8 : 8 + length]), chance)).encode()
        content = len(header).to_bytes(8, "little") + header + content[8 + length :]
    else:
        content = mutate_bytes(content, chance)
    path.write_bytes(content)
    return path


def write_folder(folder, model, chance):
    config = mutate_json(huggingface_config(model), chance)
    written = write_huggingface(folder / "hf", huggingface_state(model), config)
    (written / "preprocessor_config.json").write_text(
        json.dumps(mutate_json({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.2, 0.2, 0.2]}, chance))
    )
    return written


@pytest.mark.parametrize("write", [write_pth, write_safetensors, write_folder])
def test_damaged_checkpoints_load_or_are_refused(tmp_path, model, write: Callable):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for seed in range(MUTANTS):
        (folder := tmp_path / str(seed)).mkdir()
        path = write(folder, model, random.Random(seed))
        try:
            load_checkpoint(path).spec.to_json().encode()
        except EdgePoseError as error:
            refused += 1
            str(error).encode()
    assert refused > MUTANTS // 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def test_the_writer_of_pickles_is_right(tmp_path):
    # What the tests above change must be what is read: a plain pickle in such an archive is looked into.
    with pytest.raises(CheckpointError, match="holds no tensors; its top level has 'a'"):
        load_checkpoint(write_pickle(tmp_path / "a.pth", pickle.dumps({"a": 1}, protocol=2)))


def test_states_of_runs_are_looked_through_too(tmp_path):
    path = write_pickle(tmp_path / "checkpoint.pt", call("builtins.bytearray", b"\x8a\x08" + struct.pack("<q", 1 << 32)))
    with pytest.raises(TrainingError, match=r"asks for 'builtins\.bytearray'"):
        load_state(path)
