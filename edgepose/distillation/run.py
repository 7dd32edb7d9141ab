"""A run: phases, checkpoints, measurements and the log."""

import dataclasses
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from edgepose.distillation.history import EventLog, Row, plot_history, write_history
from edgepose.distillation.learner import Learner
from edgepose.distillation.optimization import learning_rate
from edgepose.distillation.recipe import Phase
from edgepose.distillation.state import Position, State, save_state
from edgepose.distillation.stream import Batch, stream
from edgepose.distillation.trainingset import TrainingSet
from edgepose.distillation.validation import mean_oks, predict
from edgepose.errors import TrainingError
from edgepose.evaluation.protocols.pck import pck
from edgepose.models import Checkpoint, save_checkpoint
from edgepose.spec import Architecture, InputSpec, ModelSpec, Provenance

__all__ = ["BEST", "CHECKPOINT", "CURVE", "Listener", "Options", "Outcome", "Run"]

CHECKPOINT = "checkpoint.pt"
BEST, LAST = "best.safetensors", "last.safetensors"
HISTORY, CURVE = "history.csv", "curve.png"
DRAW_EVERY_S = 60.0


class Listener(Protocol):
    """Who is told how a run goes."""

    def advance(self, images: int, total: int, note: str) -> None:
        """Images seen, of how many, and what is going on."""
        ...

    def say(self, line: str) -> None:
        """Something to keep on the screen."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a run is carried out; none of it changes what is learned, but for the precision.

    Attributes:
        out: the run's folder.
        cache: folder for decoded pictures; ``None``: in ``out``.
        device: ``auto`` takes a GPU where there is one.
        precision: of the arithmetic in training; weights are float32 in any case.
        workers: processes that prepare batches.
        compile: whether ``torch.compile`` fuses the network.
        save_every_s: seconds between two checkpoints.
        log_every: steps between two rows of the log; a loss that isn't finite is found no later.
        tensorboard: whether to write TensorBoard events, too.
    """

    out: Path
    cache: Path | None = None
    device: Literal["auto", "cpu"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    workers: int = 2
    compile: bool = False
    save_every_s: float = 300.0
    log_every: int = 20
    tensorboard: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came out.

    Attributes:
        model: the file with the best weights, or the last ones where nothing was measured.
        score: its validation score, or ``None``.
        images: seen in training.
        seconds: of training.
        history: the rows of the log.
        main: whether this is the process that has written it.
    """

    model: Path
    score: float | None
    images: int
    seconds: float
    history: tuple[Row, ...]
    main: bool = True


class Run:
    """One run, from its first or any later state.

    Args:
        state: where to begin; without weights, at the very beginning.
        data: the people.
        learner: the student, in the same state.
        options: how to carry it out.
        listener: who is told; only in the main process.
    """

    def __init__(self, state: State, data: TrainingSet, learner: Learner, options: Options, listener: Listener) -> None:
        self._state = state
        self._recipe = state.recipe
        self._data = data
        self._options = options
        self._listener = listener
        self._learner = learner
        self._accelerator = learner.accelerator
        self._position = state.position
        self._seconds = state.seconds
        self._best = dict(state.best)
        self._history = list(state.history)
        self._events = EventLog(options.out) if options.tensorboard and self._accelerator.is_main_process else None
        self._saved_at = self._drawn_at = time.monotonic()
        scored = [row.images for row in self._history if row.score is not None]
        self._measured_at = max(scored, default=0)

    def train(self) -> Outcome:
        """Train to the end of the last phase.

        Raises:
            TrainingError: the loss isn't finite any more, or a file can't be written.
        """
        try:
            return self._train()
        finally:
            if self._events is not None:
                self._events.close()

    def _train(self) -> Outcome:
        for number in range(self._position.phase, len(self._recipe.phases)):
            phase = self._recipe.phases[number]
            if number != self._position.phase:
                self._position = Position(phase=number, first=self._position.images)
            self._learner.enter(phase)
            if self._position.done < phase.steps * phase.batch:
                self._train_phase(phase)
                self._save(f"after-{phase.name}.pt")
        final = _size(self._recipe.phases[-1])
        score = self._best.get(final)
        self._write_model(self._options.out / LAST, self._history[-1].score if self._history else None)
        return Outcome(
            model=self._options.out / (LAST if score is None else BEST),
            score=score,
            images=self._position.images,
            seconds=self._seconds,
            history=tuple(self._history),
            main=self._accelerator.is_main_process,
        )

    def _train_phase(self, phase: Phase) -> None:
        part = (self._accelerator.process_index, self._accelerator.num_processes)
        batches = self._data.batches(self._recipe, phase, first=self._position.first, part=part)
        begin = self._position.done // phase.batch
        pin = self._accelerator.device.type == "cuda"
        window = _Window(begin=self._position.images)
        for number, (batch, waited) in enumerate(_timed(stream(batches, begin=begin, workers=self._options.workers, pin=pin)), begin + 1):
            loss, gradient = self._learner.step(phase, batch, self._position)
            window.add(loss, gradient, waited)
            self._position = dataclasses.replace(self._position, done=number * phase.batch)
            last = number == phase.steps
            if last or number % self._options.log_every == 0:
                row = self._close(window, phase, number)
                due = last or row.images - self._measured_at >= self._recipe.validation.every
                self._record(self._measure(row, phase) if due else row)
                if due or time.monotonic() - self._saved_at > self._options.save_every_s:
                    self._save(CHECKPOINT)
                window = _Window(begin=self._position.images)

    def _close(self, window: "_Window", phase: Phase, step: int) -> Row:
        """Make a row of the log, after a look for losses that aren't finite.

        Raises:
            TrainingError: there is one.
        """
        losses = self._accelerator.reduce(torch.stack(window.losses), "mean").tolist()
        gradients = torch.stack(window.gradients).tolist()
        for index, (loss, gradient) in enumerate(zip(losses, gradients, strict=True)):
            if not (math.isfinite(loss) and math.isfinite(gradient)):
                checkpoint = self._options.out / CHECKPOINT
                kept = f"the last good checkpoint is {checkpoint}" if checkpoint.exists() else "no checkpoint had been written yet"
                raise TrainingError(
                    f"the loss is {loss:g} and the gradient's norm {gradient:g} in phase {phase.name!r}, step "
                    f"{step - len(losses) + index + 1} of {phase.steps}; training has stopped and {kept}. Lower the learning rate "
                    f"(--set phases.{phase.name}.learning_rate=…), lengthen the warm-up, or use --precision fp32"
                )
        elapsed = time.perf_counter() - window.start
        self._seconds += elapsed
        speed = (self._position.images - window.begin) / elapsed
        row = Row(
            images=self._position.images,
            phase=phase.name,
            step=step,
            seconds=self._seconds,
            learning_rate=learning_rate(phase, self._position.done - phase.batch),
            loss=sum(losses) / len(losses),
            gradient=sum(gradients) / len(gradients),
            images_per_s=speed,
            waited=window.waited / elapsed,
            input=_size(phase),
        )
        total = self._position.first + sum(each.steps * each.batch for each in self._recipe.phases[self._position.phase :])
        self._tell(row, total)
        return row

    def _record(self, row: Row) -> None:
        self._history.append(row)
        if self._events is not None:
            self._events.add(row)

    def _tell(self, row: Row, total: int) -> None:
        if self._accelerator.is_main_process:
            best = max(self._best.values(), default=None)
            score = "" if best is None else f", best {self._recipe.validation.metric} {best:.3f}"
            self._listener.advance(row.images, total, f"{row.phase}: loss {row.loss:.4f}, {row.images_per_s:.0f} images/s{score}")

    def _measure(self, row: Row, phase: Phase) -> Row:
        """Measure the averaged weights, and keep them if they are the best for this input size."""
        self._measured_at = row.images
        people = self._data.split.validation
        if not len(people) or not self._accelerator.is_main_process:
            return row
        score = self._score(self._learner.average, phase)
        with_token = self._learner.average_with_token()
        token_score = None if with_token is None else self._score(with_token, phase)
        size = _size(phase)
        final = size == _size(self._recipe.phases[-1])
        if score > self._best.get(size, -1.0):
            self._best[size] = score
            self._write_model(self._options.out / (BEST if final else f"best-{size}.safetensors"), score)
        metric = self._recipe.validation.metric.upper()
        token_note = "" if token_score is None else f" ({token_score:.4f} with the token)"
        self._listener.say(
            f"{row.images} images: {metric} {score:.4f}{token_note} at {size}, best {self._best[size]:.4f}; loss {row.loss:.4f}"
        )
        return dataclasses.replace(row, score=score, score_with_token=token_score)

    def _score(self, network: nn.Module, phase: Phase) -> float:
        people, pack, skeleton = self._data.split.validation, self._data.pack, self._data.skeleton
        found = predict(network, pack, people, InputSpec(height=phase.height, width=phase.width))
        if self._recipe.validation.metric == "pck":
            return pck(found, pack.truth[people], skeleton)[0]
        return mean_oks(found, pack.truth[people], pack.boxes_xyxy[people], skeleton)[0]

    def _save(self, name: str) -> None:
        """Write a checkpoint and the log, and now and then draw the course: that takes as long as many steps."""
        # No barrier: the others have the same weights, and wait where they next need this process.
        if not self._accelerator.is_main_process:
            return
        learner = self._learner
        state = dataclasses.replace(
            self._state,
            position=self._position,
            model=learner.student.state_dict(),
            average=learner.average.state_dict(),
            optimizer=learner.optimizer_state(),
            extra=learner.extra_state(),
            best=self._best,
            seconds=self._seconds,
            history=tuple(self._history),
        )
        out = self._options.out
        save_state(state, out / name)
        try:
            write_history(self._history, out / HISTORY)
            if self._ended() or time.monotonic() - self._drawn_at > DRAW_EVERY_S:
                self._drawn_at = time.monotonic()
                plot_history(self._history, out / CURVE, metric=self._recipe.validation.metric.upper())
        except OSError as error:
            raise TrainingError(f"can't write the log in {str(out)!r}: {error}; the checkpoint {name!r} is whole") from None
        self._saved_at = time.monotonic()

    def _ended(self) -> bool:
        last = self._recipe.phases[-1]
        return self._position.phase == len(self._recipe.phases) - 1 and self._position.done >= last.steps * last.batch

    def _write_model(self, path: Path, score: float | None) -> None:
        """Write the averaged weights as a checkpoint of edgepose."""
        if not self._accelerator.is_main_process:
            return
        model = self._learner.average
        config, recipe = model.config, self._recipe
        measured = () if score is None else (self._describe(score),)
        spec = ModelSpec(
            name=recipe.name,
            architecture=Architecture(
                dim=config.dim, depth=config.depth, heads=config.heads, head=config.head, layer_norm_eps=config.layer_norm_eps
            ),
            skeleton=self._data.skeleton,
            input=InputSpec(height=config.height, width=config.width),
            provenance=Provenance(
                source=f"edgepose distill, {self._position.images} images", licence=recipe.licence, notes=(*recipe.notes, *measured)
            ),
        )
        save_checkpoint(Checkpoint(model=model, spec=spec), path)

    def _describe(self, score: float) -> str:
        count = len(self._data.split.validation)
        if self._recipe.validation.metric == "pck":
            what = "PCK@0.2 (limb keypoints, relative to left shoulder to right hip)"
        else:
            what = "mean object keypoint similarity"
        return f"{what}: {score:.3f} on {count} people held out of training."


@dataclass(slots=True, kw_only=True)
class _Window:
    """What has happened since the last row of the log."""

    begin: int
    start: float = dataclasses.field(default_factory=time.perf_counter)
    waited: float = 0.0
    losses: list[Tensor] = dataclasses.field(default_factory=list)
    gradients: list[Tensor] = dataclasses.field(default_factory=list)

    def add(self, loss: Tensor, gradient: Tensor, waited: float) -> None:
        self.losses.append(loss)
        self.gradients.append(gradient)
        self.waited += waited


def _timed(batches: Iterator[Batch]) -> Iterator[tuple[Batch, float]]:
    """Yield each batch with the seconds that it was waited for."""
    while True:
        start = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            return
        yield batch, time.perf_counter() - start


def _size(phase: Phase) -> str:
    return f"{phase.height}x{phase.width}"
