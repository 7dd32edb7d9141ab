"""What the MIL evaluator says to packages that are damaged, foreign or hostile: one clear error that names the file."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mil_packages import IOS17, ct, mb, noise, save, save_convolution

from edgepose.errors import ArtifactError, EdgePoseError, InputError
from edgepose.runtime.mil import MilProgram

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
RECORD = 64
"""Offset of the first value's record in a weight file."""


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_convolution(tmp_path_factory.mktemp("intact"))


@pytest.fixture
def package(intact: Path, tmp_path: Path) -> Path:
    return shutil.copytree(intact, tmp_path / "damaged.mlpackage")


def edit(package: Path, change: Callable[[Any, Any], None]) -> None:
    """Rewrite the model file; ``change`` gets the protobuf model and the block of its function."""
    model = ct.proto.Model_pb2.Model()
    model.ParseFromString((package / MODEL).read_bytes())
    (function,) = model.mlProgram.functions.values()
    change(model, function.block_specializations[function.opset])
    (package / MODEL).write_bytes(model.SerializeToString())


def poke(file: Path, offset: int, content: bytes) -> None:
    with file.open("r+b") as stream:
        stream.seek(offset)
        stream.write(content)


def operation(block: Any, kind: str) -> Any:
    return next(candidate for candidate in block.operations if candidate.type == kind)


def weight_reference(block: Any) -> Any:
    return next(
        operation.attributes["val"].blobFileValue
        for operation in block.operations
        if operation.type == "const" and operation.attributes["val"].WhichOneof("value") == "blobFileValue"
    )


def test_the_intact_package_runs(package: Path) -> None:
    edit(package, lambda _model, _block: None)
    assert MilProgram.read(package).run({"x": noise(1, 3, 16, 16)})["y"].shape == (1, 4, 16, 16)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("Manifest.json", None, r"no Manifest\.json"),
        ("Manifest.json", b"{", r"Manifest\.json: not the manifest"),
        ("Manifest.json", b"[]", r"Manifest\.json: not the manifest"),
        ("Manifest.json", b"[" * 100_000, r"Manifest\.json: not the manifest"),
        (MODEL, None, r"model\.mlmodel: no such file"),
        (MODEL, b"", r"model\.mlmodel: holds no model"),
        (MODEL, b"This is text, not protobuf.", r"model\.mlmodel: not a valid file"),
        (WEIGHTS, None, r"weight\.bin: no such file"),
        (WEIGHTS, b"", r"weight\.bin: cut short"),
        (WEIGHTS, b"\xff" * 4096, r"weight\.bin: not a Core ML weight file"),
    ],
)
def test_missing_and_foreign_files(package: Path, file: str, content: bytes | None, message: str) -> None:
    if content is None:
        (package / file).unlink()
    else:
        (package / file).write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        MilProgram.read(package)


def test_a_path_that_is_no_package(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.mlpackage"):
        with pytest.raises(ArtifactError, match="not a Core ML package"):
            MilProgram.read(path)


@pytest.mark.parametrize("path", ["../../secret", "/etc/hostname", "com.apple.CoreML/../../../secret"])
def test_the_manifest_can_not_name_a_file_outside(package: Path, path: str) -> None:
    (package.parent / "secret").write_bytes((package / MODEL).read_bytes())
    manifest = json.loads((package / "Manifest.json").read_bytes())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = path
    (package / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="outside the package"):
        MilProgram.read(package)


@pytest.mark.parametrize(
    "reference",
    [
        "@model_path/../../../weight.bin",
        "@model_path//etc/hostname",
        "/etc/hostname",
        "weights/weight.bin",
        "@model_path/..\\weight.bin",
        "@model_path/C:/weight.bin",
        "@model_path/weight\0.bin",
    ],
)
def test_the_program_can_not_name_a_file_outside(package: Path, reference: str) -> None:
    shutil.copy(package / WEIGHTS, package.parent / "weight.bin")
    edit(package, lambda _model, block: setattr(weight_reference(block), "fileName", reference))
    with pytest.raises(ArtifactError, match=r"outside the package|expected @model_path"):
        MilProgram.read(package)


def test_a_link_can_not_lead_outside(package: Path) -> None:
    outside = shutil.move(package / WEIGHTS, package.parent / "weight.bin")
    try:
        (package / WEIGHTS).symlink_to(outside)
    except OSError:
        pytest.skip("this system gives users no symbolic links")
    with pytest.raises(ArtifactError, match="leads out of the package"):
        MilProgram.read(package)


@pytest.mark.parametrize(
    ("offset", "content", "message"),
    [
        (4, b"\x01", "version 2"),
        (RECORD, b"\0", "no value begins"),
        (RECORD + 4, b"\x01", r"element type 1.*fp32"),
        (RECORD + 8, b"\x04\0", "432 bytes, and 4 are stored"),
        (RECORD + 8, b"\xff" * 8, "cut short"),
        (RECORD + 16, b"\xff" * 8, "cut short"),
    ],
)
def test_damaged_weight_records(package: Path, offset: int, content: bytes, message: str) -> None:
    poke(package / WEIGHTS, offset, content)
    with pytest.raises(ArtifactError, match=rf"weight\.bin: .*{message}"):
        MilProgram.read(package)


def test_weights_cut_short_anywhere(package: Path) -> None:
    content = (package / WEIGHTS).read_bytes()
    for size in (1, 63, 64, 100, 128, len(content) // 2, len(content) - 1):
        (package / WEIGHTS).write_bytes(content[:size])
        with pytest.raises(ArtifactError, match=r"weight\.bin: cut short"):
            MilProgram.read(package)


def make_neural_network(model: Any, _block: Any) -> None:
    model.neuralNetwork.layers.add().name = "layer"


def add_a_function(model: Any, _block: Any) -> None:
    model.mlProgram.functions["second"].CopyFrom(model.mlProgram.functions["main"])


def use_another_opset(model: Any, _block: Any) -> None:
    model.mlProgram.functions["main"].opset = "CoreML99"


def use_an_unknown_operator(_model: Any, block: Any) -> None:
    operation(block, "relu").type = "while_loop"


def use_an_unknown_value(_model: Any, block: Any) -> None:
    operation(block, "relu").inputs["x"].arguments[0].name = "nobody"


def return_an_unknown_value(_model: Any, block: Any) -> None:
    block.outputs[0] = "nothing"


def declare_a_list(_model: Any, block: Any) -> None:
    operation(block, "relu").outputs[0].type.listType.SetInParent()


def declare_an_unknown_type(_model: Any, block: Any) -> None:
    operation(block, "relu").outputs[0].type.tensorType.dataType = 13


def drop_a_constant(_model: Any, block: Any) -> None:
    del operation(block, "const").attributes["val"]


def shrink_a_constant(_model: Any, block: Any) -> None:
    constants = (candidate for candidate in block.operations if candidate.type == "const")
    value = next(candidate.attributes["val"] for candidate in constants if candidate.attributes["val"].immediateValue.tensor.ints.values)
    del value.immediateValue.tensor.ints.values[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (make_neural_network, r"holds neuralNetwork; expected an ML program"),
        (add_a_function, r"2 functions \((main, second|second, main)\)"),
        (use_another_opset, "'CoreML99'"),
        (use_an_unknown_operator, r"'while_loop' \(named 'y'\).*supported: abs, add, .*tile, transpose"),
        (use_an_unknown_value, r"relu 'y' uses 'nobody'"),
        (return_an_unknown_value, "uses 'nothing'"),
        (declare_a_list, "'y' is a list"),
        (declare_an_unknown_type, "'y' has element type 13"),
        (drop_a_constant, "has no value"),
        (shrink_a_constant, r"a constant of type int32"),
    ],
)
def test_programs_that_can_not_be_run(package: Path, change: Callable[[Any, Any], None], message: str) -> None:
    edit(package, change)
    with pytest.raises(ArtifactError, match=rf"damaged\.mlpackage.*{message}"):
        MilProgram.read(package)


def stop_striding(_model: Any, block: Any) -> None:
    name = operation(block, "conv").inputs["strides"].arguments[0].name
    constant = next(candidate for candidate in block.operations if candidate.outputs[0].name == name)
    constant.attributes["val"].immediateValue.tensor.ints.values[0] = 0


def drop_the_weights(_model: Any, block: Any) -> None:
    del operation(block, "conv").inputs["weight"]


def declare_another_shape(_model: Any, block: Any) -> None:
    operation(block, "relu").outputs[0].type.tensorType.dimensions[1].constant.size = 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (stop_striding, "operator conv .* can't be evaluated"),
        (drop_the_weights, "operator conv .* 'weight' is missing"),
        (declare_another_shape, r"operator relu gives 'y' the shape \(1, 4, 16, 16\); the file declares fp32 \(1, 5, 16, 16\)"),
    ],
)
def test_programs_that_fail_when_they_run(package: Path, change: Callable[[Any, Any], None], message: str) -> None:
    edit(package, change)
    program = MilProgram.read(package)
    with pytest.raises(ArtifactError, match=rf"damaged\.mlpackage: {message}"):
        program.run({"x": noise(1, 3, 16, 16)})


def test_inputs_that_do_not_fit(package: Path) -> None:
    program = MilProgram.read(package)
    crops = noise(1, 3, 16, 16)
    for inputs in ({}, {"x": crops, "z": crops}, {"z": crops}):
        with pytest.raises(InputError, match=r"takes the input\(s\) x"):
            program.run(inputs)
    for wrong in (crops[0], crops[:, :2], np.concatenate([crops, crops])):
        with pytest.raises(InputError, match=r"takes \(1, 3, 16, 16\)"):
            program.run({"x": wrong})


def test_random_damage_gives_no_other_error(package: Path) -> None:
    model = (package / MODEL).read_bytes()
    chance = random.Random(5)
    failures = 0
    for _ in range(300):
        content = bytearray(model[: chance.randrange(1, len(model))] if chance.random() < 0.2 else model)
        for _ in range(chance.randrange(1, 4)):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        (package / MODEL).write_bytes(content)
        try:
            MilProgram.read(package).run({"x": noise(1, 3, 16, 16)})
        except EdgePoseError:
            failures += 1
    assert failures > 100


def budget_case(function: Any, folder: Path) -> Path:
    program = mb.program(input_specs=[mb.TensorSpec((1, 3, 16, 16))], opset_version=IOS17)(function)
    return save(folder / "bomb.mlpackage", program)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: mb.tile(x=x, reps=[1, 1, 4096, 4096]),
        lambda x: mb.resize_bilinear(x=x, target_size_height=65536, target_size_width=65536),
        lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=4096, scale_factor_width=4096),
        lambda x: mb.upsample_bilinear(x=x, scale_factor_height=4096.0, scale_factor_width=4096.0),
        lambda x: mb.conv(x=x, weight=noise(4, 3, 3, 3), pad_type="custom", pad=[20000] * 4),
        lambda x: mb.add(x=x, y=np.zeros((2000, 1, 1, 1, 1), np.float32)),
        lambda x: mb.matmul(x=mb.reshape(x=x, shape=[768, 1]), y=noise(1, 1_000_000)),
        lambda x: mb.gather(x=x, indices=np.zeros(2_000_000, np.int32), axis=0),
    ],
    ids=["tile", "resize", "nearest", "bilinear", "conv", "broadcast", "matmul", "gather"],
)
def test_a_program_that_would_fill_memory_is_stopped_before(function: Any, tmp_path: Path) -> None:
    program = MilProgram.read(budget_case(function, tmp_path), memory_bytes=1 << 22)
    with pytest.raises(ArtifactError, match=r"bomb\.mlpackage: operator .*it takes \d+ MiB, and \d are left"):
        program.run({"x": noise(1, 3, 16, 16)})


def test_doubling_again_and_again_is_stopped(tmp_path: Path) -> None:
    def double(x: Any) -> Any:
        for _ in range(24):
            x = mb.concat(values=[x, x], axis=2)
        return x

    program = MilProgram.read(budget_case(double, tmp_path), memory_bytes=1 << 24)
    with pytest.raises(ArtifactError, match="operator concat .*MiB"):
        program.run({"x": noise(1, 3, 16, 16)})


def test_a_larger_batch_may_take_more(tmp_path: Path) -> None:
    """The allowance is for each item."""
    program = mb.program(input_specs=[mb.TensorSpec((8, 3, 16, 16))], opset_version=IOS17)(lambda x: mb.tile(x=x, reps=[1, 1, 2, 2]))
    package = save(tmp_path / "batch.mlpackage", program)
    needed = 4 * 8 * 3 * 16 * 16 * 5
    assert MilProgram.read(package, memory_bytes=needed // 8 + 1).run({"x": noise(8, 3, 16, 16)})
    with pytest.raises(ArtifactError, match="tile"):
        MilProgram.read(package, memory_bytes=needed // 8 - 100).run({"x": noise(8, 3, 16, 16)})
