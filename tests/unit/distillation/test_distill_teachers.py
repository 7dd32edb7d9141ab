"""Teachers: heatmaps, keypoints from ONNX, and the knowledge token."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from checkpoints import make_spec, random_crops, random_model
from onnx import TensorProto, helper
from people import draw_person, write_coco, write_recipe

from edgepose.distillation.heatmap_teacher import HeatmapTeacher
from edgepose.distillation.keypoint_teacher import KeypointTeacher
from edgepose.distillation.knowledge import Knowledge, TokenStudent, forward_with_token
from edgepose.distillation.recipe import Adapter, Phase
from edgepose.distillation.recipe_files import load_recipe
from edgepose.distillation.stream import stream
from edgepose.distillation.targets import draw_targets
from edgepose.distillation.token_learning import learn_token
from edgepose.distillation.trainingset import open_training_set
from edgepose.errors import InputError
from edgepose.models import Checkpoint
from edgepose.models.vitpose import ViTPose
from edgepose.skeleton import get_skeleton
from edgepose.spec import Codec

COCO = get_skeleton("coco")


def tiny(keypoints: int = 17, **changes: int) -> ViTPose:
    shape = {"dim": 24, "depth": 2, "heads": 3, "height": 64, "width": 48} | changes
    return random_model(head="simple", keypoints=keypoints, **shape)


def teacher_of(model: ViTPose, skeleton: object = COCO, **spec: object) -> HeatmapTeacher:
    import dataclasses

    described = dataclasses.replace(make_spec(model, skeleton=skeleton), **spec)
    return HeatmapTeacher(Checkpoint(model=model, spec=described), COCO)


def write_teacher(path: Path, output: np.ndarray, shape: tuple[int, ...], kind: int) -> Path:
    """An ONNX file that answers ``output`` whatever it sees; its input enters with a weight of zero."""
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "answer"], ["points"]),
    ]
    constants = [onnx.numpy_helper.from_array(output.astype(np.float32), "answer"), onnx.numpy_helper.from_array(np.float32(0), "zero")]
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info("points", TensorProto.FLOAT, output.shape)],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_keypoints_come_back_in_picture_pixels(tmp_path: Path) -> None:
    output = np.zeros((1, 1, 17, 3))
    output[0, 0, :, :2] = 0.5  # the middle of the crop
    output[0, 0, 3] = (0.25, 0.75, 0.9)
    path = write_teacher(tmp_path / "t.onnx", output, (1, 256, 256, 3), TensorProto.INT32)
    teacher = KeypointTeacher(path, Adapter(), COCO)
    image, _, _ = draw_person(np.random.default_rng(0))
    points = teacher(image, np.array([10.0, 20.0, 50.0, 100.0]))
    assert points.shape == (17, 3)
    np.testing.assert_allclose(points[0], [30, 60, 0], atol=1e-4)
    # A square crop of the larger side, 80, with 1.25 around it.
    np.testing.assert_allclose(points[3], [30 + 25, 60 - 25, 0.9], atol=0.11)


def test_adapters_declare_other_models(tmp_path: Path) -> None:
    output = np.zeros((14, 3))
    output[:, 0], output[:, 1], output[:, 2] = 31.5, 47.5, 0.8
    path = write_teacher(tmp_path / "t.onnx", output, (1, 3, 96, 64), TensorProto.FLOAT)
    adapter = Adapter(
        height=96,
        width=64,
        layout="nchw",
        dtype="float32",
        std=(255.0, 255.0, 255.0),
        skeleton="aic",
        columns=("x", "y", "score"),
        unit="pixel",
    )
    image, _, _ = draw_person(np.random.default_rng(0))
    points = KeypointTeacher(path, adapter, get_skeleton("aic"))(image, np.array([10.0, 20.0, 50.0, 80.0]))
    np.testing.assert_allclose(points[0], [30, 50, 0.8], atol=1e-3)
    with pytest.raises(InputError, match="the keypoints of 'aic', which lack .* of the student's 17: nose"):
        KeypointTeacher(path, adapter, COCO)
    with pytest.raises(InputError, match="can't run on float32"):
        wrong = Adapter(height=64, width=64, layout="nchw", dtype="float32", skeleton="aic")
        KeypointTeacher(path, wrong, get_skeleton("aic"))(image, np.array([10.0, 20.0, 50.0, 80.0]))
    with pytest.raises(InputError, match="the adapter's skeleton 'coco' needs"):
        wrong = Adapter(height=96, width=64, layout="nchw", dtype="float32")
        KeypointTeacher(path, wrong, COCO)(image, np.array([10.0, 20.0, 50.0, 80.0]))


def test_unreadable_teachers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't read the teacher"):
        KeypointTeacher(tmp_path / "none.onnx", Adapter(), COCO)
    (tmp_path / "bad.onnx").write_bytes(b"hello")
    with pytest.raises(InputError, match="isn't a usable ONNX file"):
        KeypointTeacher(tmp_path / "bad.onnx", Adapter(), COCO)


def test_a_vitpose_teaches_its_own_heatmaps() -> None:
    model = tiny()
    teacher = teacher_of(model)
    images = torch.randint(0, 256, (2, 64, 48, 3)).float()
    mean, std = (torch.tensor(each).reshape(1, 3, 1, 1) for each in (teacher.spec.input.mean, teacher.spec.input.std))
    wanted = model((images.permute(0, 3, 1, 2) / 255 - mean) / std)
    torch.testing.assert_close(teacher(images, (16, 12)), wanted, atol=1e-4, rtol=1e-4)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_wider_sets_are_mapped_by_name_and_others_refused() -> None:
    whole = get_skeleton("wholebody")
    model = tiny(keypoints=133)
    images = torch.randint(0, 256, (1, 64, 48, 3)).float()
    found = teacher_of(model, whole)(images, (16, 12))
    assert found.shape == (1, 17, 16, 12)
    with pytest.raises(InputError, match="'mpii', which lack .*Train a student with its keypoints"):
        teacher_of(tiny(keypoints=16), get_skeleton("mpii"))
    with pytest.raises(InputError, match="trained with the codec 'standard'"):
        teacher_of(model, whole, codec=Codec(kind="standard"))


def test_heatmaps_for_a_coarser_student_look_like_its_targets() -> None:
    class Drawn(torch.nn.Module):
        """A teacher that gives perfect targets."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return draw_targets(keypoints, (64, 48), (256, 192))[0].expand(len(x), -1, -1, -1)

    keypoints = torch.rand(1, 17, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([120.0, 180.0, 0]) + torch.tensor(
        [30, 30, 1.0]
    )
    teacher = teacher_of(tiny(height=256, width=192))
    teacher.model = Drawn()
    coarse = keypoints * torch.tensor([95 / 191, 127 / 255, 1])
    wanted, _ = draw_targets(coarse, (32, 24), (128, 96))
    given = teacher(torch.zeros(1, 256, 192, 3), (32, 24))
    assert (given - wanted).abs().max() < 0.08


def test_the_token_takes_part_in_attention() -> None:
    model = tiny()
    x = random_crops(model)
    token = torch.randn(1, 1, 24)
    assert not torch.allclose(forward_with_token(model, x, token), model(x), atol=1e-3)
    # A token that nobody looks at changes nothing: keys of minus infinity aren't reachable, but one block less attention is.
    for block in model.backbone.blocks:
        block.attn.proj.weight.data.zero_()
    torch.testing.assert_close(forward_with_token(model, x, token), model(x))


def test_only_the_fit_is_trained_and_the_student_stays_plain() -> None:
    model = tiny().train().requires_grad_(True)
    knowledge = Knowledge(torch.randn(1, 1, 40), 24)
    network = TokenStudent(model, knowledge)
    before = knowledge.token.clone()
    network(random_crops(model)).square().sum().backward()
    assert knowledge.fit.weight.grad.abs().sum() > 0
    assert torch.equal(knowledge.token, before)
    assert not knowledge.token.requires_grad
    assert set(model.state_dict()) == set(tiny().state_dict())


def test_learning_a_token_lowers_the_frozen_teachers_loss(tmp_path: Path) -> None:
    write_coco(tmp_path, 8)
    recipe = load_recipe(write_recipe(tmp_path / "tiny.toml"))
    data = open_training_set(recipe, tmp_path, tmp_path / "cache")
    model = tiny()
    # Random weights are too far from the targets for one token; a quieter head leaves something to learn.
    model.head.final.weight.data *= 0.05
    teacher = teacher_of(model)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    phase = Phase(name="token", images=160, height=64, width=48, batch=8)
    batches = list(stream(data.batches(recipe, phase, first=0, part=(0, 1)), begin=0, workers=0))
    learned = learn_token(teacher, batches, steps=len(batches), learning_rate=0.3, seed=0, device=torch.device("cpu"))
    assert learned.token.shape == (1, 1, 24)
    assert learned.loss < 0.99 * learned.without
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
