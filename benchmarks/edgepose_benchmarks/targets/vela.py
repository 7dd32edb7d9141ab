"""Arm Ethos-U, estimated by Arm's compiler ``vela`` (package ``ethos-u-vela``, Apache-2.0): ``vela://ethos-u85-256``.

Nothing runs: vela compiles a fully quantized ``.tflite`` for the accelerator and computes what it would take. These results are
``estimated``, and no table mixes them with measured ones.
"""

import csv
import hashlib
import re
import shutil
from dataclasses import replace
from pathlib import Path

from edgepose.errors import DeviceError, InputError
from edgepose.files import temporary_folder
from edgepose_benchmarks.command import run_command
from edgepose_benchmarks.job import Job, fill_result
from edgepose_benchmarks.result import BenchmarkResult, Machine, ReportedTimes

__all__ = ["VelaTarget", "read_summary"]

_ADDRESS = re.compile(r"vela://(?P<accelerator>ethos-u\d+-\d+)/?")
_OPERATORS = re.compile(r"(CPU|NPU) operators = (\d+ \([\d.]+%\))")
_VERSION_S = 60.0


class VelaTarget:
    """An accelerator that isn't here.

    Args:
        accelerator: vela's name of a configuration, such as ``ethos-u85-256``.
        vela: the ``vela`` command.
    """

    def __init__(self, accelerator: str, *, vela: str = "vela") -> None:
        self._accelerator = accelerator
        self._vela = vela
        self._version = ""

    @staticmethod
    def parse(text: str) -> str:
        """Read ``vela://ACCELERATOR``.

        Raises:
            InputError: it is something else.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise InputError(
                f"{text!r} isn't an accelerator for vela; expected something like vela://ethos-u85-256 or vela://ethos-u55-128"
            )
        return found["accelerator"]

    def machine(self) -> Machine:
        """Describe the accelerator."""
        if shutil.which(self._vela) is None:
            raise DeviceError(f"no {self._vela!r} command on this machine. Try: pip install ethos-u-vela, in an environment of its own")
        if not self._version:
            self._version = self._run(["--version"], _VERSION_S).strip().splitlines()[-1]
        return Machine(
            name=self._accelerator,
            id=hashlib.sha256(f"vela {self._version} {self._accelerator}".encode()).hexdigest()[:12],
            cpu=f"Arm {self._accelerator} (estimated by vela {self._version})",
            architecture="ethos-u",
            cores=1,
            memory_bytes=None,
            system="none",
        )

    def measure(self, job: Job) -> BenchmarkResult:
        """Estimate one case."""
        return fill_result(job, self.machine(), lambda result: replace(result, kind="estimated", reported=self._estimate(job)))

    def close(self) -> None:
        """Do nothing: nothing was brought anywhere."""

    def _estimate(self, job: Job) -> ReportedTimes:
        case = job.case
        if job.artifact.format != "litert":
            raise InputError(f"{case.artifact} is a {job.artifact.format} file; vela compiles fully quantized .tflite files")
        if case.scenario != "single-stream" or case.stage != "inference" or case.batch != 1:
            raise InputError("vela estimates the single-stream scenario of the inference stage with batch 1")
        with temporary_folder() as folder:
            arguments = [str(job.artifact.path.absolute()), "--accelerator-config", self._accelerator, "--output-dir", str(folder)]
            arguments += [word for name, value in case.options.items() for word in (f"--{name}", value)]
            output = self._run(arguments, job.settings.timeout_s)
            summaries = sorted(folder.glob("*_summary_*.csv"))
            if not summaries:
                raise DeviceError(f"vela wrote no summary: {(output.strip().splitlines() or ['it said nothing'])[-1]}")
            return read_summary(summaries[0], output)

    def _run(self, arguments: list[str], timeout_s: float) -> str:
        done = run_command([self._vela, *arguments], name="vela", timeout_s=timeout_s)
        return done.stdout + done.stderr


def read_summary(path: Path, output: str) -> ReportedTimes:
    """Read vela's summary, a CSV file of one row, and the share of operators from what it printed.

    Raises:
        DeviceError: it lacks the inference time.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        row = next(csv.DictReader(stream), None)
    if row is None or not row.get("inference_time"):
        raise DeviceError(f"vela's summary {path.name} holds no inference_time: is this version of vela supported?")
    notes = {name: row[name] for name in ("system_config", "memory_mode", "core_clock", "cycles_total", "nn_macs") if row.get(name)}
    notes |= {f"{device.lower()}_operators": count for device, count in _OPERATORS.findall(output)}
    kilobytes = [float(row[name]) for name in ("sram_memory_used", "dram_memory_used") if row.get(name)]
    return ReportedTimes(
        tool="vela",
        count=0,
        mean_s=float(row["inference_time"]),
        memory_peak_bytes=round(sum(kilobytes) * 1024) if kilobytes else None,
        notes=notes,
    )
