"""Side by side, from a frame with eight people to keypoints: edgepose's files, ``transformers`` and ``rtmlib``, on the same weights.

    python -m edgepose_benchmarks.contest [--size s] [--precision fp32,int8] [--models DIR] [--write README.md]

A ViTPose with random weights is made by ``transformers`` and converted by ``edgepose convert``; ``rtmlib`` gets the fp32 ONNX file. All are
processes that take turns, frame by frame, in an order drawn by lot, and what counts is the ratio: each set of fresh processes gives one.

*Of peak* is what a pipeline's people per second would take in multiply-accumulates, over the machine's fastest large matrix product in the
arithmetic of its file: a bound that no pipeline on these weights can pass.
"""

import argparse
import itertools
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from edgepose.artifact import Artifact, open_artifact
from edgepose.cli.table import format_table
from edgepose.errors import EdgePoseError, InputError
from edgepose.files import staged_file, temporary_folder
from edgepose.models.sizes import SIZES
from edgepose.precision import Arithmetic
from edgepose_benchmarks.case import BenchmarkCase
from edgepose_benchmarks.complexity import count_macs
from edgepose_benchmarks.inputs import read_photos
from edgepose_benchmarks.job import InputStore, describe_model
from edgepose_benchmarks.link import WorkerLink
from edgepose_benchmarks.peak import find_arithmetic
from edgepose_benchmarks.protocol import FindPeak, FoundPeak, Measure, Measured, Open, Opened
from edgepose_benchmarks.quantization import write_pieces
from edgepose_benchmarks.result import Interval, PairRatio
from edgepose_benchmarks.statistics import CONFIDENCE, ratio_interval
from edgepose_benchmarks.targets.local import WORKER_COMMAND

__all__ = ["Contender", "Standing", "list_files", "main", "make_models", "measure_peaks", "run_contest", "write_between"]

PEOPLE = 8
TIMEOUT_S = 600.0
WARM_UP = Measure(seconds=1.0, least=2)
BLOCK = Measure(seconds=0.0, least=2, most=2)  # the first frame isn't counted: it finds the caches as others left them
BEGIN, END = "<!-- contest: begin -->", "<!-- contest: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to estimate a frame.

    Attributes:
        command: runs its worker.
        artifact: what it is given to open.
        arithmetic: what its matrix products are computed in, or ``None`` where no peak can be measured for it.
    """

    command: tuple[str, ...]
    artifact: Path
    arithmetic: Arithmetic | None = None


@dataclass(slots=True, kw_only=True)
class Standing:
    """What has been measured of a contender.

    Attributes:
        name: runtime and version, as it says itself.
        sets: for each set of processes, the median seconds per frame of each block.
        arithmetic: of its matrix products.
    """

    name: str = ""
    arithmetic: Arithmetic | None = None
    sets: list[list[float]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Median seconds per frame."""
        return median(itertools.chain.from_iterable(self.sets))

    def over(self, other: "Standing") -> Interval:
        """This one's seconds over the other's."""
        pairs = [
            PairRatio(a_s=tuple(theirs), b_s=tuple(ours), b_first=(False,) * len(ours))
            for theirs, ours in zip(other.sets, self.sets, strict=True)
        ]
        return ratio_interval(pairs, confidence=CONFIDENCE)


def run_contest(contenders: Mapping[str, Contender], case: BenchmarkCase, inputs: Path, *, sets: int, rounds: int) -> dict[str, Standing]:
    """Measure.

    Args:
        contenders: by label.
        case: end to end, for those that are edgepose's.
        inputs: what ``Inputs.save`` wrote.
        sets: how many sets of fresh processes.
        rounds: turns of each contender in each set.

    Raises:
        EdgePoseError: one of them failed.
    """
    order = random.Random(0)  # noqa: S311  nothing secret
    standings = {label: Standing(arithmetic=contender.arithmetic) for label, contender in contenders.items()}
    for _ in range(sets):
        with ExitStack() as stack:
            links = {}
            for label, contender in contenders.items():
                links[label] = stack.enter_context(WorkerLink(contender.command, where=label))
                message = Open(case=case, artifact=str(contender.artifact), inputs=str(inputs))
                opened = links[label].ask(message, Opened, timeout_s=TIMEOUT_S)
                standings[label].name = f"{opened.session.runtime} {opened.session.version}"
                standings[label].sets.append([])
                links[label].ask(WARM_UP, Measured, timeout_s=TIMEOUT_S)
            for _ in range(rounds):
                for label in order.sample(list(links), len(links)):
                    measured = links[label].ask(BLOCK, Measured, timeout_s=TIMEOUT_S)
                    standings[label].sets[-1].append(median(measured.samples_ns[1:]) * 1e-9)
    return standings


def make_models(size: str, precisions: str, folder: Path) -> tuple[Path, list[Path]]:
    """Make a ViTPose with random weights; return the folder for ``transformers`` and the converted files.

    Raises:
        InputError: no published size has that name.
    """
    import torch
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

    known = {each.name: each for each in SIZES}
    if size not in known:
        raise InputError(f"no size is called {size!r}; there are: {', '.join(known)}")
    torch.manual_seed(0)
    shape = known[size]
    backbone = VitPoseBackboneConfig(
        hidden_size=shape.dim, num_hidden_layers=shape.depth, num_attention_heads=shape.heads, out_indices=[shape.depth]
    )
    labels = {index: f"LABEL_{index}" for index in range(17)}
    config = VitPoseConfig(backbone_config=backbone, use_simple_decoder=False, id2label=labels, label2id={v: k for k, v in labels.items()})
    original = folder / "transformers"
    VitPoseForPoseEstimation(config).save_pretrained(original)
    command = [sys.executable, "-m", "edgepose.cli", "convert", str(original), "--name", f"vitpose-{size}"]
    command += ["--to", "openvino,onnx,litert", "--precision", precisions, "--out", str(folder)]
    if "int8" in precisions.split(","):
        command += ["--calibration", str(write_pieces(folder / "photos"))]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  our own command
    return original, list_files(folder)


def list_files(folder: Path) -> list[Path]:
    """The model files in a folder that can be run here."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".xml", ".onnx", ".tflite"))


def measure_peaks(contenders: Mapping[str, Contender]) -> dict[Arithmetic, float]:
    """Multiply-accumulates per second of the machine's fastest large matrix product, in each arithmetic that a contender uses."""
    peaks: dict[Arithmetic, float] = {}
    for arithmetic in sorted({each.arithmetic for each in contenders.values() if each.arithmetic is not None}):
        with WorkerLink(WORKER_COMMAND, where="peak") as link:
            message = FindPeak(precision=arithmetic, device="cpu", threads=None)
            peak = link.ask(message, FoundPeak, timeout_s=TIMEOUT_S).peak
        if peak is not None:
            peaks[arithmetic] = peak.macs_per_s
    return peaks


def write_between(path: Path, text: str) -> None:
    """Replace what stands between the marks in a Markdown file.

    Raises:
        InputError: the file lacks the marks.
    """
    before, begin, rest = path.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{path} lacks the marks {BEGIN} and {END}")
    with staged_file(path) as staged:
        staged.write_text(f"{before}{BEGIN}\n{text.strip()}\n{END}{after}", "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="edgepose, transformers and rtmlib side by side, from a frame to keypoints.")
    parser.add_argument("--size", default="s", help="of the ViTPose (default: s)")
    parser.add_argument("--precision", default="fp32", metavar="PRECISIONS", help="to convert to (default: fp32)")
    parser.add_argument("--sets", type=int, default=4, help="sets of fresh processes (default: 4)")
    parser.add_argument("--rounds", type=int, default=8, help="turns of each in each set (default: 8)")
    parser.add_argument("--models", type=Path, metavar="DIR", help="where to make the models, or where an earlier run has made them")
    parser.add_argument("--write", type=Path, metavar="FILE", help=f"Markdown file to put the table into, between {BEGIN} and {END}")
    options = parser.parse_args(arguments)
    with temporary_folder() as folder:
        models = options.models or folder / "models"
        original, files = models / "transformers", list_files(models) if models.is_dir() else []
        if not files:
            models.mkdir(parents=True, exist_ok=True)
            original, files = make_models(options.size, options.precision, models)
        wanted = options.precision.split(",")
        artifacts = [each for each in map(open_artifact, files) if each.spec.export is not None and each.spec.export.precision in wanted]
        if not artifacts:
            raise InputError(f"{models} holds no files of the precisions {options.precision}: name another folder, or an empty one")
        contenders = _list_contenders(artifacts, original)
        first = artifacts[0]
        case = BenchmarkCase(artifact=first.path.name, sha256=first.sha256, stage="end-to-end", people=PEOPLE)
        inputs = InputStore(read_photos([], None), folder).path(first.spec, PEOPLE)
        contenders, absent = _drop_absent(contenders, case, inputs)
        peaks = measure_peaks(contenders)
        standings = run_contest(contenders, case, inputs, sets=options.sets, rounds=options.rounds)
        macs = count_macs(first.spec)
        shares = {label: _share(standing, macs, peaks) for label, standing in standings.items()}
    notes = [f"Medians over {options.sets} sets of processes, each with {options.rounds} turns; ratios with 95 % intervals."]
    notes += [f"Peak in {name}: {rate * 1e-9:.1f} GMAC/s; a person takes {macs * 1e-9:.2f} GMAC." for name, rate in peaks.items()]
    table = _format(standings, shares) + "\n\n" + "\n".join([*notes, *absent])
    print(table)
    if options.write:
        write_between(options.write, table)
    return 0


def _list_contenders(artifacts: Sequence[Artifact], original: Path) -> dict[str, Contender]:
    contenders = {}
    for artifact in artifacts:
        arithmetic = find_arithmetic(artifact.format, describe_model(artifact).precision)
        contenders[artifact.path.name] = Contender(command=WORKER_COMMAND, artifact=artifact.path, arithmetic=arithmetic)
    onnx = [artifact.path for artifact in artifacts if artifact.format == "onnx" and describe_model(artifact).precision == "fp32"]
    for name, path in (("transformers", original), *(("rtmlib", path) for path in onnx)):
        command = (sys.executable, "-m", "edgepose_benchmarks.rivals", name)
        contenders[name] = Contender(command=command, artifact=path, arithmetic="f32")
    return contenders


def _share(standing: Standing, macs: int, peaks: Mapping[Arithmetic, float]) -> float | None:
    """What a contender reaches of the peak, over its whole pipeline."""
    peak = peaks.get(standing.arithmetic) if standing.arithmetic is not None else None
    return None if peak is None else PEOPLE * macs / standing.seconds / peak


def _drop_absent(contenders: dict[str, Contender], case: BenchmarkCase, inputs: Path) -> tuple[dict[str, Contender], list[str]]:
    """Leave out rivals that aren't installed; say which and why."""
    absent = []
    for label in ("transformers", "rtmlib"):
        if label in contenders:
            with WorkerLink(contenders[label].command, where=label) as link:
                try:
                    link.ask(Open(case=case, artifact=str(contenders[label].artifact), inputs=str(inputs)), Opened, timeout_s=TIMEOUT_S)
                except EdgePoseError as error:
                    absent.append(str(error))
                    del contenders[label]
    return contenders, absent


def _format(standings: Mapping[str, Standing], shares: Mapping[str, float | None]) -> str:
    rivals = [label for label in ("transformers", "rtmlib") if label in standings]
    rows = []
    for label, standing in sorted(standings.items(), key=lambda item: item[1].seconds):
        ratios = []
        for rival in rivals:
            ratio = standings[rival].over(standing)
            ends = f" [{ratio.low:.2f}, {ratio.high:.2f}]" if ratio.low is not None and ratio.high is not None else ""
            ratios.append("1" if rival == label else f"{ratio.value:.2f}{ends}")
        name = standing.name if label in rivals else f"{label}, {standing.name}"
        share = shares[label]
        peak = "" if share is None else f"{share:.0%} ({standing.arithmetic})"
        rows.append([name, f"{standing.seconds * 1e3:.1f} ms", f"{PEOPLE / standing.seconds:.1f}", peak, *ratios])
    heads = [f"frame with {PEOPLE} people to keypoints", "frame", "people/s", "of peak", *(f"× {rival}" for rival in rivals)]
    return format_table(heads, rows, right=range(1, len(heads)))


if __name__ == "__main__":
    sys.exit(main())
