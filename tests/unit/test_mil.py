"""The MIL evaluator on whole packages that coremltools saved: results, constants, rounding, and the engine around it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mil_packages import IOS17, ct, evaluate, get_new_symbol, mb, noise, save, save_convolution
from numpy.testing import assert_array_equal

from edgepose.artifact import Artifact
from edgepose.errors import ArtifactError, DeviceError, InputError
from edgepose.models.vitpose import ViTPose, VitPoseConfig
from edgepose.runtime.mil import RUNTIME, MilEngine, MilProgram
from edgepose.runtime.mil.package import read_package
from edgepose.runtime.request import DeviceRequest
from edgepose.skeleton import Skeleton
from edgepose.spec import Architecture, InputSpec, ModelSpec, Provenance

HEIGHT, WIDTH = 64, 48


def vitpose(head: Any) -> ViTPose:
    torch.manual_seed(3)
    model = ViTPose(VitPoseConfig(dim=48, depth=1, heads=3, head=head, keypoints=5, height=HEIGHT, width=WIDTH)).eval()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.05 * torch.rand_like(tensor))
    return model


@pytest.mark.parametrize(
    ("head", "precision", "batch", "tolerance"),
    [
        ("classic", "FLOAT32", 2, 1e-5),
        ("classic", "FLOAT16", None, 1e-2),
        ("simple", "FLOAT32", None, 1e-5),
        ("simple", "FLOAT16", 1, 1e-2),
    ],
)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_converted_vitpose_computes_what_torch_computes(
    tmp_path: Path, head: str, precision: str, batch: int | None, tolerance: float
) -> None:
    model = vitpose(head)
    crops = torch.from_numpy(noise(batch or 3, 3, HEIGHT, WIDTH))
    shape = (batch or ct.RangeDim(1, 8), 3, HEIGHT, WIDTH)
    package = ct.convert(
        torch.jit.trace(model, crops),
        inputs=[ct.TensorType(name="crops", shape=shape, dtype=np.float32)],
        outputs=[ct.TensorType(name="heatmaps", dtype=np.float32)],
        minimum_deployment_target=IOS17,
        compute_precision=getattr(ct.precision, precision),
        compute_units=ct.ComputeUnit.CPU_ONLY,
        skip_model_load=True,
    )
    package.save(str(tmp_path / "model.mlpackage"))
    with torch.no_grad():
        expected = model(crops).numpy()

    program = MilProgram.read(tmp_path / "model.mlpackage")
    (heatmaps,) = program.run({"crops": crops.numpy()}).values()

    assert program.operators["layer_norm"] == 3
    assert program.inputs[0].shape == (batch, 3, HEIGHT, WIDTH)
    assert program.inputs[0].limits[0] == ((batch, batch) if batch else (1, 8))
    assert heatmaps.dtype == np.float32
    difference = np.abs(heatmaps - expected).max() / np.abs(expected).max()
    assert difference <= tolerance
    # Half precision must leave its mark, or it isn't what was evaluated.
    assert (difference > 1e-5) == (precision == "FLOAT16")


def test_a_flipped_weight_bit_changes_the_result(tmp_path: Path) -> None:
    crops = noise(1, 3, 16, 16)
    package = save_convolution(tmp_path)
    before = MilProgram.read(package).run({"x": crops})["y"]
    weights = package / "Data/com.apple.CoreML/weights/weight.bin"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 0x40
    weights.write_bytes(content)
    assert not np.allclose(MilProgram.read(package).run({"x": crops})["y"], before)


def test_constants_are_those_that_coremltools_reads(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((2,))], opset_version=IOS17)
    def program(x: Any) -> Any:
        stored = [
            mb.const(val=noise(40, 2).astype(np.float16), name="halves"),
            mb.const(val=noise(40, 2), name="floats"),
            mb.const(val=np.arange(-6, 6, dtype=np.int32), name="integers"),
            mb.const(val=np.arange(-60, 60, dtype=np.int8), name="bytes"),
            mb.const(val=np.arange(0, 40000, 1000, dtype=np.uint16), name="words"),
            mb.const(val=np.array([True, False, True]), name="truths"),
        ]
        return [mb.identity(x=value) for value in stored] + [mb.relu(x=x)]

    path = save(tmp_path / "constants.mlpackage", program)
    spec = ct.utils.load_spec(str(path))
    weights = path / "Data/com.apple.CoreML/weights"
    theirs = ct.converters.mil.frontend.milproto.load.load(spec, spec.specificationVersion, str(weights))
    expected = {operation.outputs[0].name: operation.val.val for operation in theirs.functions["main"].find_ops(op_type="const")}
    operations = read_package(path, {"const", "identity", "relu", "cast"}).operations
    ours = {operation.outputs[0][0]: operation.arguments["val"][0] for operation in operations if operation.operator == "const"}
    for name in ("halves", "floats", "integers", "bytes", "words", "truths"):
        assert_array_equal(ours[name], expected[name], strict=True)


def test_half_precision_rounds_after_each_operator_but_not_inside(tmp_path: Path) -> None:
    x, y = noise(1, 4096).astype(np.float16), noise(4096, 3, seed=1).astype(np.float16)

    def program(x: Any, y: Any) -> Any:
        product = mb.matmul(x=x, y=y)
        return product, mb.add(x=product, y=np.float16(1e-3)), mb.mul(x=x, y=np.float16(60000)), mb.reduce_sum(x=y, axes=[0])

    product, total, large, column = evaluate(tmp_path, program, {"x": x, "y": y})
    wide = x.astype(np.float64) @ y.astype(np.float64)
    assert_array_equal(product, wide.astype(np.float16), strict=True)
    assert_array_equal(total, product + np.float16(1e-3), strict=True)
    assert np.isinf(large).any()
    assert_array_equal(column, y.sum(axis=0, dtype=np.float64).astype(np.float16), strict=True)


def test_a_flexible_batch_has_the_limits_that_the_file_states(tmp_path: Path) -> None:
    program = mb.program(input_specs=[mb.TensorSpec((get_new_symbol(), 3))], opset_version=IOS17)(lambda x: mb.relu(x=x))
    package = save(tmp_path / "flexible.mlpackage", program, inputs=[ct.TensorType(name="x", shape=(ct.RangeDim(2, 4), 3))])
    limited = MilProgram.read(package)
    assert limited.inputs[0].limits == ((2, 4), (3, 3))
    for batch in (1, 5):
        with pytest.raises(InputError, match=rf"\({batch}, 3\).*\(2…4, 3\)"):
            limited.run({"x": noise(batch, 3)})

    model = package / "Data/com.apple.CoreML/model.mlmodel"
    spec = ct.utils.load_spec(str(package))
    spec.description.input[0].type.multiArrayType.shapeRange.sizeRanges[0].upperBound = -1
    model.write_bytes(spec.SerializeToString())
    unlimited = MilProgram.read(package)
    assert unlimited.inputs[0].limits == ((2, None), (3, 3))
    assert len(unlimited.run({"x": noise(100, 3)}).popitem()[1]) == 100


def test_it_needs_neither_coremltools_nor_torch(tmp_path: Path) -> None:
    package = save_convolution(tmp_path)
    code = (
        "import sys, numpy; from edgepose.runtime.mil import MilProgram;"
        "print(MilProgram.read(sys.argv[1]).run({'x': numpy.ones((1, 3, 16, 16))})['y'].shape, {'coremltools', 'torch'} & {*sys.modules})"
    )
    output = subprocess.run([sys.executable, "-c", code, str(package)], capture_output=True, text=True, check=True).stdout
    assert output.split("\n")[0] == "(1, 4, 16, 16) set()"


def open_engine(package: Path, device: str = "mil:cpu", **options: Any) -> MilEngine:
    spec = ModelSpec(
        name="small",
        architecture=Architecture(dim=48, depth=1, heads=3, head="simple"),
        skeleton=Skeleton.unnamed(2),
        input=InputSpec(height=32, width=32),
        provenance=Provenance(source="test"),
    )
    artifact = Artifact(path=package, format="coreml", spec=spec, files=(), sha256="")
    return RUNTIME.open(artifact, DeviceRequest.parse(device, **options))


def save_network(folder: Path, channels: int = 3) -> Path:
    """Save what looks like a pose network for 32×32 pixels and 2 keypoints."""

    @mb.program(input_specs=[mb.TensorSpec((1, channels, 32, 32))], opset_version=IOS17)
    def program(crops: Any) -> Any:
        return mb.conv(x=crops, weight=noise(2, channels, 4, 4), strides=[4, 4], name="heatmaps")

    return save(folder / "network.mlpackage", program)


def test_the_engine_runs_batches_until_it_is_closed(tmp_path: Path) -> None:
    package = save_network(tmp_path)
    engine = open_engine(package)
    crops = noise(1, 3, 32, 32)
    assert (engine.info.runtime, engine.info.device, engine.info.batch) == ("mil", "cpu", 1)
    assert engine.info.device in RUNTIME.devices()
    assert engine.info.version == RUNTIME.version()
    heatmaps = engine.infer(crops)
    assert heatmaps.shape == (1, 2, 8, 8)
    assert_array_equal(heatmaps, MilProgram.read(package).run({"crops": crops})["heatmaps"], strict=True)
    engine.close()
    with pytest.raises(InputError, match="closed"):
        engine.infer(crops)


def test_the_engine_refuses_what_it_can_not_do(tmp_path: Path) -> None:
    package = save_network(tmp_path)
    with pytest.raises(DeviceError, match=r"'gpu'.*cpu"):
        open_engine(package, "mil:gpu")
    with pytest.raises(InputError, match="2 threads"):
        open_engine(package, threads=2)
    with pytest.raises(InputError, match="FAST"):
        open_engine(package, options={"FAST": "1"})
    with pytest.raises(InputError, match=r"\(2, 3, 32, 32\).*\(1, 3, 32, 32\)"):
        open_engine(package).infer(noise(2, 3, 32, 32))
    with pytest.raises(ArtifactError, match=r"takes float32 \(1, 4, 32, 32\), but its spec says float32 \(1, 3, 32, 32\)"):
        open_engine(save_network(tmp_path, channels=4))
