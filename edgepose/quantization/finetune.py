"""Quantization-aware training: a decision's network learns to give the float model's heatmaps again (self-distillation, no labels)."""

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from edgepose.distillation.losses import cross_entropy, squared_error
from edgepose.distillation.order import Order
from edgepose.distillation.photometric import normalize, vary
from edgepose.distillation.recipe import Augmentation
from edgepose.errors import InputError, TrainingError
from edgepose.files import publish, staging_folder
from edgepose.models import Checkpoint, for_export, load_checkpoint, save_checkpoint
from edgepose.quantization.agreement import Agreement, measure_agreement
from edgepose.quantization.calibration import CalibrationSet
from edgepose.quantization.finetune_state import FinetunePlan, FinetuneState, save_state
from edgepose.quantization.lowering import apply, simulate
from edgepose.quantization.preparation import fingerprint
from edgepose.quantization.ranges import measure_ranges
from edgepose.quantization.recipe import Quantization, QuantizationRecipe
from edgepose.quantization.saved import file_name
from edgepose.quantization.trainable import TrainableNetwork
from edgepose.spec import InputSpec

__all__ = ["Batches", "Finetuned", "compute_heatmaps", "finetune", "make_plan", "measure_quantized", "train"]

Progress = Callable[[int, int, str], None]

# As much variety as a calibration set lacks, and no more: ranges are to fit crops as they come.
_STRENGTH = Augmentation(
    flip=0.5, half_body=0, scale=0.1, rotation=0, shift=0.03, brightness=0.1, contrast=0.1, saturation=0.1, tint=0.02, grey=0
)
_LARGEST_GRADIENT = 1.0
_RANGE_CROPS = 64
_PIXEL = 255.0
_BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """What came out of a run.

    Attributes:
        checkpoint: the file with the fine-tuned weights.
        decision: the file with the decision about them.
        before: distance of the post-training model from the float model, on held-out crops.
        after: that of the model in the files.
        improved: whether training helped; if not, the files hold what it began with.
    """

    checkpoint: Path
    decision: Path
    before: Agreement
    after: Agreement
    improved: bool


def make_plan(
    checkpoint: Checkpoint, recipe: QuantizationRecipe, data: CalibrationSet, *, steps: int, learning_rate: float, batch: int, seed: int
) -> FinetunePlan:
    """Describe a run.

    Raises:
        InputError: a number is out of its range.
    """
    for name, value, low, high in (("steps", steps, 1, 1_000_000), ("batch", batch, 1, 1024), ("seed", seed, 0, 2**31 - 1)):
        if not low <= value <= high:
            raise InputError(f"{name} is {value}; allowed: {low} to {high}")
    if not 0 < learning_rate <= 0.1:
        raise InputError(f"the learning rate is {learning_rate}; allowed: above 0, up to 0.1 (1e-6 to 1e-5 is usual)")
    return FinetunePlan(
        weights_sha256=fingerprint(checkpoint.model),
        recipe=recipe,
        photos_sha256=data.source.sha256,
        steps=steps,
        learning_rate=learning_rate,
        batch=batch,
        seed=seed,
    )


def finetune(
    checkpoint: Checkpoint,
    begin: FinetuneState,
    data: CalibrationSet,
    out: Path,
    *,
    state_path: Path,
    save_every_s: float = 60.0,
    progress: Progress = lambda _done, _total, _note: None,
) -> Finetuned:
    """Fine-tune a decision, and write ``NAME-qat.safetensors`` with ``NAME-qat-int8.quantization.json`` for it to ``out``.

    Args:
        checkpoint: the float model, which is the teacher.
        begin: the plan with its decision; with weights where a run is gone on with.
        data: the crops to train on, and those to judge by.
        out: the folder to write to.
        state_path: where the state is kept until the files are written.
        save_every_s: seconds between two states.
        progress: is told the steps done, of how many, and what is going on.

    Raises:
        MissingDependencyError: NNCF isn't installed.
        TrainingError: the loss isn't finite any more, or a file can't be written.
    """
    network = train(checkpoint, begin, data.crops, state_path=state_path, save_every_s=save_every_s, progress=progress)
    plan = begin.plan
    progress(plan.steps, plan.steps, "comparing")
    reference = compute_heatmaps(for_export(checkpoint.model), data.held_out)
    before = measure_quantized(checkpoint, begin.decision, data.held_out, reference)
    note = (
        f"Fine-tuned for int8 by edgepose quantize --finetune ({plan.steps} steps of {plan.batch} crops, learning rate "
        f"{plan.learning_rate:g}, seed {plan.seed}) from the weights with fingerprint {plan.weights_sha256}."
    )
    try:
        with staging_folder(out) as folder:
            result = _write(network, checkpoint, begin.decision, data.crops, folder, note)
            after = measure_quantized(*result, data.held_out, reference)
            improved = after.relative_rms < before.relative_rms
            if not improved:
                start = TrainableNetwork(checkpoint.model, begin.decision)
                note = f"{note} Training didn't help: these are the weights that it began with, prepared for int8."
                result = _write(start, checkpoint, begin.decision, data.crops, folder, note)
                after = measure_quantized(*result, data.held_out, reference)
            files = tuple(folder / path.name for path in _names(checkpoint, out))
            publish(files, out)
    except OSError as error:
        raise TrainingError(
            f"can't write to {str(out)!r}: {error.strerror or error}; the training is done and kept: repeat the command to write it"
        ) from None
    state_path.unlink(missing_ok=True)
    decision, model = _names(checkpoint, out)
    return Finetuned(checkpoint=model, decision=decision, before=before, after=after, improved=improved)


def train(
    checkpoint: Checkpoint, begin: FinetuneState, crops: NDArray[np.float32], *, state_path: Path, save_every_s: float, progress: Progress
) -> TrainableNetwork:
    """Train to the last step of the plan.

    The last state that was saved stays on the disk. ``begin`` isn't changed.

    Raises:
        TrainingError: the loss isn't finite any more, or the state can't be written.
    """
    plan = begin.plan
    network = TrainableNetwork(checkpoint.model, begin.decision)
    optimizer = torch.optim.AdamW(network.parameter_groups(), lr=0.0, weight_decay=0.0)
    if begin.trained:
        network.load(begin.trained)
        optimizer.load_state_dict(begin.optimizer)
    teacher = for_export(checkpoint.model)
    batches = Batches(crops, checkpoint.spec.input, batch=plan.batch, seed=plan.seed)
    saved_at = time.monotonic()
    note = "fine-tuning"
    for step in range(begin.step, plan.steps):
        progress(step, plan.steps, note)
        for group in optimizer.param_groups:
            group["lr"] = group["scale"] * _learning_rate(plan, step)
        loss, gradient = _backward(network, teacher, batches[step])
        if not (math.isfinite(loss) and math.isfinite(gradient)):
            saved = state_path.exists()
            kept = f"the last good state is kept in {state_path}; delete it and" if saved else "no state had been saved yet;"
            raise TrainingError(
                f"the loss is {loss:g} and the gradient's norm {gradient:g} in step {step + 1} of {plan.steps}; training has stopped and "
                f"{kept} start over with a lower --lr than {plan.learning_rate:g}"
            )
        optimizer.step()
        network.project()
        note = f"fine-tuning, loss {loss:.5f}"
        if step + 1 == plan.steps or time.monotonic() - saved_at >= save_every_s:
            trained = {name: parameter.detach() for name, parameter in network.trained().items()}
            state = dataclasses.replace(begin, step=step + 1, trained=trained, optimizer=optimizer.state_dict())
            save_state(state, state_path)
            saved_at = time.monotonic()
    return network


def _learning_rate(plan: FinetunePlan, step: int) -> float:
    """Rise linearly over the first tenth of the steps, and fall to zero along half a cosine.

    The network begins close to its optimum: without the rise, Adam's first steps, which have the full size in every weight whatever the
    gradient, throw it back further than a short run can make good.
    """
    rise = min(1.0, (step + 1) / max(1, plan.steps // 10))
    return rise * plan.learning_rate * (1 + math.cos(math.pi * step / plan.steps)) / 2


def _backward(network: TrainableNetwork, teacher: nn.Module, crops: Tensor) -> tuple[float, float]:
    """Compute clipped gradients; return the loss and the gradient's norm before clipping."""
    with torch.no_grad():
        wanted = teacher(crops)
    heatmaps = network(crops)
    weights = torch.ones(heatmaps.shape[:2])
    loss = squared_error(heatmaps, wanted, weights) + cross_entropy(heatmaps, wanted, weights)
    network.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(network.trained().values(), _LARGEST_GRADIENT)
    return float(loss.detach()), float(norm)


class Batches:
    """The training batches: crops in random order, mirrored, moved, scaled and recoloured at random.

    Args:
        crops: (N, 3, H, W) float32, normalized.
        size: of the network's input, with its normalization.
        batch: crops per step.
        seed: batches are pure functions of it and the number of the step.
    """

    def __init__(self, crops: NDArray[np.float32], size: InputSpec, *, batch: int, seed: int) -> None:
        self._crops = crops
        self._size = size
        self._batch = batch
        self._seed = seed
        self._order = Order([np.arange(len(crops))], [1.0], seed)
        mean, std = (torch.tensor(values)[:, None, None] for values in (size.mean, size.std))
        self._mean, self._std = mean, std

    def __getitem__(self, step: int) -> Tensor:
        """Return the batch (batch, 3, H, W) of a step."""
        chosen = [self._order[step * self._batch + place] for place in range(self._batch)]
        pixels = (torch.from_numpy(self._crops[chosen]) * self._std + self._mean) * _PIXEL
        random = np.random.default_rng([self._seed, 3, step])
        moved = _move(pixels, random).permute(0, 2, 3, 1)
        return normalize(vary(moved, _STRENGTH, int(random.integers(2**31))), self._size)


def _move(pixels: Tensor, random: np.random.Generator) -> Tensor:
    """Mirror, shift and scale images (N, 3, H, W); black comes in from outside, as beyond a photo's border."""
    count = len(pixels)
    scale = 1 + _STRENGTH.scale * random.uniform(-1, 1, count)
    mirror = np.where(random.random(count) < _STRENGTH.flip, -1.0, 1.0)
    matrices = np.zeros((count, 2, 3), np.float32)
    matrices[:, 0, 0], matrices[:, 1, 1] = scale * mirror, scale
    # Coordinates run from -1 to 1: a shift of the whole side is 2.
    matrices[:, :, 2] = 2 * _STRENGTH.shift * random.standard_normal((count, 2))
    grid = F.affine_grid(torch.from_numpy(matrices), list(pixels.shape), align_corners=True)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def measure_quantized(
    checkpoint: Checkpoint, quantization: Quantization, crops: NDArray[np.float32], reference: NDArray[np.float32]
) -> Agreement:
    """Simulate a decision and compare its heatmaps with those of the float model.

    Args:
        checkpoint: the model that the decision is about.
        quantization: the decision.
        crops: (N, 3, H, W) float32, normalized.
        reference: (N, K, h, w), the float model's heatmaps for them.

    Raises:
        InputError: the decision was made for another model.
    """
    simulated = simulate(apply(checkpoint.model, quantization))
    return measure_agreement(compute_heatmaps(simulated, crops), reference, reference, checkpoint.spec)


def compute_heatmaps(model: nn.Module, crops: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run ``model`` on crops (N, 3, H, W), normalized; returns (N, K, h, w) float32."""
    with torch.inference_mode():
        return np.concatenate([model(torch.from_numpy(crops[start : start + _BATCH])).numpy() for start in range(0, len(crops), _BATCH)])


def _names(checkpoint: Checkpoint, folder: Path) -> tuple[Path, Path]:
    """The decision and the checkpoint that it is about."""
    name = f"{checkpoint.spec.name}-qat"
    return folder / file_name(name, "int8"), folder / f"{name}.safetensors"


def _write(
    network: TrainableNetwork, checkpoint: Checkpoint, decision: Quantization, crops: NDArray[np.float32], folder: Path, note: str
) -> tuple[Checkpoint, Quantization]:
    """Write both files; return what reading them back gives."""
    spec, provenance = checkpoint.spec, checkpoint.spec.provenance
    spec = dataclasses.replace(spec, name=f"{spec.name}-qat", provenance=dataclasses.replace(provenance, notes=(*provenance.notes, note)))
    decision_path, model_path = _names(checkpoint, folder)
    save_checkpoint(Checkpoint(model=network.to_model(), spec=spec), model_path)
    written = load_checkpoint(model_path)
    quantization = dataclasses.replace(
        decision, model=spec.name, weights_sha256=fingerprint(written.model), statistics=network.to_statistics()
    )
    quantization = measure_ranges(quantization, apply(written.model, quantization), crops[:_RANGE_CROPS])
    quantization.save(decision_path)
    return written, quantization
