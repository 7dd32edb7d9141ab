"""From a recipe to a trained student: opens teacher and data, and runs."""

import dataclasses
import platform
from collections.abc import Callable
from pathlib import Path

import accelerate
import numpy as np
import torch
from accelerate.utils import broadcast
from torch import Tensor

from edgepose import __version__
from edgepose.distillation.heatmap_teacher import HeatmapTeacher
from edgepose.distillation.initialization import configure, initialize
from edgepose.distillation.keypoint_teacher import KeypointTeacher
from edgepose.distillation.learner import KNOWLEDGE, Learner
from edgepose.distillation.readers import find_format
from edgepose.distillation.recipe import Phase, Recipe
from edgepose.distillation.run import Listener, Options, Outcome, Run
from edgepose.distillation.state import State
from edgepose.distillation.stream import stream
from edgepose.distillation.token_learning import learn_token
from edgepose.distillation.trainingset import TrainingSet, open_training_set
from edgepose.errors import InputError
from edgepose.models import ViTPose, load_checkpoint
from edgepose.skeleton import get_skeleton

__all__ = ["carry_out"]


def carry_out(state: State, options: Options, listener: Listener) -> Outcome:
    """Train from a state to the end of its recipe.

    Args:
        state: of a new run (a recipe and a data folder), or of one that goes on.
        options: how to carry it out.
        listener: who is told; in the main process only.

    Raises:
        InputError: teacher or data can't be used.
        CheckpointError: a teacher's or the first weights can't be read.
        TrainingError: the training failed.
    """
    accelerator = accelerate.Accelerator(cpu=options.device == "cpu", mixed_precision="bf16" if options.precision == "bf16" else "no")
    recipe = state.recipe
    # What takes minutes comes behind what can be wrong: teacher, data, weights to begin with.
    _check_paths(state)
    point, teacher = _open_teacher(recipe)
    with accelerator.main_process_first():
        # The first process packs the data; the others find the pack.
        data = open_training_set(
            recipe,
            Path(state.data),
            options.cache or options.out / "cache",
            point=point,
            teacher_id=point.identity if point else "",
            progress=_reading(listener) if accelerator.is_main_process else _silent,
        )
    _check_learnable(recipe, data, teacher)
    facts = (*data.describe(), _describe_machine(accelerator))
    if accelerator.is_main_process:
        for line in data.describe():
            listener.say(line)
    token = _find_token(state, data, teacher, accelerator, options, listener)
    state = dataclasses.replace(state, facts=tuple(dict.fromkeys((*state.facts, *facts))))
    learner = Learner(_make_student(state), state, accelerator, teacher=teacher, token=token, compile_network=options.compile)
    return Run(state, data, learner, options, listener).train()


def _check_paths(state: State) -> None:
    """See that the files that the recipe names are there.

    Raises:
        InputError: one isn't.
    """
    recipe, root = state.recipe, Path(state.data)
    configure(recipe.student, recipe.phases[state.position.phase])
    if recipe.init.kind == "vit" and not Path(recipe.init.path).exists():
        raise InputError(f"init.path: {recipe.init.path}: no such file")
    if recipe.teacher.path.endswith(".onnx") and not recipe.teacher.knowledge_token and not Path(recipe.teacher.path).is_file():
        raise InputError(f"can't read the teacher {recipe.teacher.path!r}: no such file")
    for path in [root / source.path for source in recipe.data] or [root]:
        if not path.exists() or not recipe.data:
            find_format(path)  # whose error says what is wrong with it


def _make_student(state: State) -> ViTPose:
    """Return the network with the state's weights, or its first ones."""
    config = configure(state.recipe.student, state.recipe.phases[state.position.phase])
    if not state.model:
        return initialize(config, state.recipe.init, seed=state.recipe.seed)
    student = ViTPose(config)
    student.load_state_dict(dict(state.model))
    return student


def _open_teacher(recipe: Recipe) -> tuple[KeypointTeacher | None, HeatmapTeacher | None]:
    path = recipe.teacher.path
    skeleton = get_skeleton(recipe.student.skeleton)
    if not path:
        if recipe.teacher.knowledge_token:
            raise InputError("teacher.knowledge_token needs a ViTPose to learn the token on: name one with --teacher")
        return None, None
    if path.endswith(".onnx"):
        if recipe.teacher.knowledge_token:
            raise InputError(f"teacher.knowledge_token needs a ViTPose; {path} is an ONNX file, whose tokens nothing can be appended to")
        return KeypointTeacher(Path(path), recipe.teacher.adapter, skeleton), None
    return None, HeatmapTeacher(load_checkpoint(path), skeleton)


def _check_learnable(recipe: Recipe, data: TrainingSet, teacher: HeatmapTeacher | None) -> None:
    """Refuse to train on nothing: samples without any label, and no heatmaps of a teacher in their place."""
    labelled = np.asarray((data.pack.keypoints[data.split.train, :, 2] > 0).any(axis=1))
    if teacher is None and not labelled.all():
        empty = int((~labelled).sum())
        raise InputError(
            f"{empty} of {len(labelled)} people have no label and there is no teacher that gives them one: name a teacher with --teacher, "
            "or leave these sources out"
        )
    if recipe.teacher.knowledge_token and not labelled.any():
        raise InputError("teacher.knowledge_token needs labels to learn the token from; these data have none")


def _find_token(
    state: State,
    data: TrainingSet,
    teacher: HeatmapTeacher | None,
    accelerator: accelerate.Accelerator,
    options: Options,
    listener: Listener,
) -> Tensor | None:
    """Return the knowledge token: the state's, or one learned now."""
    wanted = state.recipe.teacher
    if teacher is None or not wanted.knowledge_token:
        return None
    known = state.extra.get(f"{KNOWLEDGE}token")
    if known is not None:
        return known
    height, width = teacher.size
    batch = state.recipe.phases[0].batch
    phase = Phase(name="token", images=wanted.token_images, height=height, width=width, batch=batch)
    token = torch.zeros(1, 1, teacher.model.config.dim)
    teacher = teacher.to(accelerator.device)
    if accelerator.is_main_process:
        listener.say(f"learning the knowledge token on {wanted.token_images} images")
        batches = data.batches(state.recipe, phase, first=0, part=(0, 1))
        learned = learn_token(
            teacher,
            stream(batches, begin=0, workers=options.workers),
            steps=phase.steps,
            learning_rate=wanted.token_learning_rate,
            seed=state.recipe.seed,
            device=accelerator.device,
        )
        token = learned.token
        listener.say(f"knowledge token: the teacher's loss is {learned.loss:.4f} with it, {learned.without:.4f} without")
    shared: Tensor = broadcast(token.to(accelerator.device))
    return shared.cpu()


def _describe_machine(accelerator: accelerate.Accelerator) -> str:
    if accelerator.device.type == "cuda":
        name = torch.cuda.get_device_name()
    else:
        name = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    processes = f", {accelerator.num_processes} processes" if accelerator.num_processes > 1 else ""
    return f"trained on {name}{processes} with edgepose {__version__}, PyTorch {torch.__version__}"


def _reading(listener: Listener) -> Callable[[str, int, int], None]:
    return lambda what, done, total: listener.advance(done, total, f"decoding {what}")


def _silent(_what: str, _done: int, _total: int) -> None:
    return None
