"""The student in training: networks, optimizer, and one step of gradient descent."""

from collections.abc import Mapping
from typing import Any

import accelerate
import torch
from torch import Tensor, nn

from edgepose.distillation.heatmap_teacher import HeatmapTeacher
from edgepose.distillation.initialization import resize_network
from edgepose.distillation.knowledge import Knowledge, TokenStudent
from edgepose.distillation.losses import cross_entropy, squared_error
from edgepose.distillation.optimization import add_drop_path, average_weights, learning_rate, make_optimizer, memory
from edgepose.distillation.photometric import normalize, vary
from edgepose.distillation.recipe import Phase
from edgepose.distillation.state import Position, State, optimizer_state, restore_optimizer
from edgepose.distillation.stream import Batch
from edgepose.distillation.targets import draw_targets
from edgepose.models import ViTPose
from edgepose.spec import InputSpec

__all__ = ["Learner"]

KNOWLEDGE, AVERAGE = "knowledge.", "average_knowledge."


class Learner:
    """A student, its averaged weights and its optimizer.

    Args:
        student: with the weights to begin with.
        state: where to begin: averages and optimizer, and the recipe.
        accelerator: device, precision, processes.
        teacher: a frozen ViTPose whose heatmaps are learned, too.
        token: its knowledge token (1, 1, C), where the student is to have it.
        compile_network: whether ``torch.compile`` fuses the network.

    Attributes:
        accelerator: as given.
        student: the network in training.
        average: its averaged weights.
        knowledge: token and map in training, or ``None``.
        average_knowledge: likewise, averaged.
    """

    def __init__(
        self,
        student: ViTPose,
        state: State,
        accelerator: accelerate.Accelerator,
        *,
        teacher: HeatmapTeacher | None = None,
        token: Tensor | None = None,
        compile_network: bool = False,
    ) -> None:
        self._recipe = state.recipe
        self.accelerator = accelerator
        self._compile = compile_network
        self._teacher = teacher.to(accelerator.device) if teacher else None
        self._carried: Mapping[str, Mapping[str, Tensor]] = state.optimizer
        self.student = student
        self.average = ViTPose(student.config)
        self.average.load_state_dict(dict(state.average) or student.state_dict())
        self.knowledge: Knowledge | None = None
        self.average_knowledge: Knowledge | None = None
        if token is not None:
            self.knowledge, self.average_knowledge = (Knowledge(token, student.config.dim).to(accelerator.device) for _ in range(2))
            for part, prefix in ((self.knowledge, KNOWLEDGE), (self.average_knowledge, AVERAGE)):
                given = {name.removeprefix(prefix): tensor for name, tensor in state.extra.items() if name.startswith(prefix)}
                part.load_state_dict(given or part.state_dict())
        self._network: nn.Module = nn.Identity()
        self._optimizer: torch.optim.Optimizer | None = None
        self._with_token = False

    def enter(self, phase: Phase) -> None:
        """Fit the networks to a phase's input, and begin or carry over the optimizer."""
        carried = self.optimizer_state()
        student = resize_network(self.student, phase.height, phase.width)
        knowledge = self.knowledge if phase.token else None
        if self._optimizer is None or student is not self.student or (knowledge is not None) != self._with_token:
            if self._optimizer is None or student is not self.student:
                self.student = student.to(self.accelerator.device).train()
                self.average = resize_network(self.average, phase.height, phase.width).to(self.accelerator.device).eval()
                add_drop_path(self.student, self._recipe.student.drop_path)
            self._with_token = knowledge is not None
            network: Any = self.student if knowledge is None else TokenStudent(self.student, knowledge)
            self._network = self.accelerator.prepare_model(torch.compile(network) if self._compile else network)
        self._optimizer = make_optimizer(self.student, () if knowledge is None else knowledge.parameters(), self._recipe.optimizer)
        restore_optimizer(self._optimizer, self._parameters(), carried)

    def optimizer_state(self) -> Mapping[str, Mapping[str, Tensor]]:
        """The optimizer's state by parameter name."""
        if self._optimizer is None:
            return self._carried
        return optimizer_state(self._optimizer, self._parameters())

    def extra_state(self) -> dict[str, Tensor]:
        """What trains beside the student, by name."""
        if self.knowledge is None or self.average_knowledge is None:
            return {}
        current, average = self.knowledge.state_dict(), self.average_knowledge.state_dict()
        return {KNOWLEDGE + name: tensor for name, tensor in current.items()} | {AVERAGE + name: tensor for name, tensor in average.items()}

    def average_with_token(self) -> nn.Module | None:
        """The averaged network with its token, where the phase trains with one."""
        if not self._with_token or self.average_knowledge is None:
            return None
        return TokenStudent(self.average, self.average_knowledge)

    def _parameters(self) -> dict[str, nn.Parameter]:
        trained = self.knowledge if self._with_token else None
        extra = {} if trained is None else {KNOWLEDGE + name: each for name, each in trained.named_parameters()}
        return dict(self.student.named_parameters()) | extra

    def step(self, phase: Phase, batch: Batch, position: Position) -> tuple[Tensor, Tensor]:
        """Learn from one batch.

        Returns:
            The loss and the norm of the gradient before clipping, on the device.
        """
        optimizer = self._optimizer
        if optimizer is None:
            raise RuntimeError("enter a phase first")
        seed = _mix(self._recipe.seed, position.images, self.accelerator.process_index)
        torch.manual_seed(seed)  # dropped branches
        rate = learning_rate(phase, position.done)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        loss = self._loss(phase, batch, seed)
        optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        norm = nn.utils.clip_grad_norm_(list(self._parameters().values()), self._recipe.optimizer.clip or float("inf"))
        optimizer.step()
        keep = memory(self._recipe.optimizer.ema_half_life, batch=phase.batch, seen=position.images + phase.batch)
        average_weights(self.average, self.student, keep=keep)
        if self.knowledge is not None and self.average_knowledge is not None:
            average_weights(self.average_knowledge, self.knowledge, keep=keep)
        return loss.detach(), norm.detach()

    def _loss(self, phase: Phase, batch: Batch, seed: int) -> Tensor:
        device = self.accelerator.device
        size = InputSpec(height=phase.height, width=phase.width)
        images = vary(batch.images.to(device, non_blocking=True), self._recipe.augmentation, seed)
        heatmaps = self._network(normalize(images, size))
        keypoints = batch.keypoints.to(device, non_blocking=True)
        targets, weights = draw_targets(keypoints, size.heatmap_size, (size.height, size.width))
        loss = _compare(heatmaps, targets, weights, phase)
        if self._teacher is not None and self._recipe.teacher.weight:
            with torch.no_grad(), self.accelerator.autocast():
                wanted = self._teacher(images, size.heatmap_size)
            loss = loss + self._recipe.teacher.weight * _compare(heatmaps, wanted, torch.ones_like(weights), phase)
        return loss


def _compare(heatmaps: Tensor, targets: Tensor, weights: Tensor, phase: Phase) -> Tensor:
    """The phase's mixture of losses."""
    loss = heatmaps.new_zeros((), dtype=torch.float32)
    if phase.cross_entropy:
        loss = loss + phase.cross_entropy * cross_entropy(heatmaps, targets, weights)
    if phase.mse:
        loss = loss + phase.mse * squared_error(heatmaps, targets, weights)
    return loss


def _mix(*numbers: int) -> int:
    """One seed of several numbers, so that neighbours have nothing in common (SplitMix64's finalizer)."""
    mixed = 0
    for number in numbers:
        mixed = (mixed + number + 0x9E3779B97F4A7C15) % 2**64
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
        mixed ^= mixed >> 31
    return mixed >> 1
