"""An Android device behind adb: ``adb://`` or ``adb://SERIAL``.

There is no Python there: TensorFlow Lite's ``benchmark_model``, a program for the device's architecture that the user names, is pushed
with the model and measures. It feeds random values, and gives averages and extremes instead of samples, so these results are ``reported``
and stand in a table of their own.
"""

import hashlib
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path, PurePosixPath

from edgepose.errors import DeviceError, InputError
from edgepose_benchmarks.case import BenchmarkCase
from edgepose_benchmarks.command import run_command
from edgepose_benchmarks.job import Job, fill_result
from edgepose_benchmarks.result import BenchmarkResult, Machine
from edgepose_benchmarks.targets.benchmark_model import parse_profile, parse_times

__all__ = ["ADBTarget"]

FOLDER = PurePosixPath("/data/local/tmp/edgepose")
TOOL = "benchmark_model"
_SOON_S = 60.0
_PUSH_S = 600.0
_ADDRESS = re.compile(r"adb://(?P<serial>[A-Za-z0-9._:-]*)/?")
# Device string → what benchmark_model is told.
_DELEGATES = {
    "auto": (),
    "cpu": (),
    "gpu": ("--use_gpu=true",),
    "npu": ("--use_nnapi=true",),
}


class ADBTarget:
    """An Android device.

    Args:
        serial: as ``adb devices`` shows it; ``None`` takes the only one.
        tool: ``benchmark_model`` for the device's architecture, on this machine.
        name: what to call the device; ``None`` takes its model name.
        adb: the ``adb`` command.
    """

    def __init__(self, serial: str | None, *, tool: Path, name: str | None = None, adb: str = "adb") -> None:
        if not tool.is_file():
            raise InputError(f"{str(tool)!r} isn't a file; --benchmark-model names TensorFlow Lite's benchmark_model, built for the device")
        self._serial = serial
        self._tool = tool
        self._name = name
        self._adb = adb
        self._machine: Machine | None = None
        self._pushed: dict[Path, PurePosixPath] = {}

    @staticmethod
    def parse(text: str) -> str | None:
        """Read ``adb://[SERIAL]``; return the serial.

        Raises:
            InputError: it is something else.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise InputError(f"{text!r} isn't an adb address; expected adb:// for the only device, or adb://SERIAL")
        return found["serial"] or None

    def machine(self) -> Machine:
        """Ask the device for its properties."""
        if self._machine is None:
            properties = dict(re.findall(r"^\[([^]]+)\]: \[(.*)\]$", self._shell("getprop"), re.MULTILINE))
            model = f"{properties.get('ro.product.manufacturer', '')} {properties.get('ro.product.model', '')}".strip()
            chip = f"{properties.get('ro.soc.manufacturer', '')} {properties.get('ro.soc.model', '')}".strip()
            serial = properties.get("ro.serialno") or self._serial or ""
            cores = self._shell("nproc").strip()
            self._machine = Machine(
                name=self._name or model or serial,
                # A serial number identifies its owner: only that it is another device shows.
                id=_identify(serial, model, chip),
                cpu=chip or properties.get("ro.hardware", "unknown"),
                architecture=properties.get("ro.product.cpu.abi", "unknown"),
                cores=int(cores) if cores.isdigit() else 0,
                memory_bytes=_memory(self._shell("cat", "/proc/meminfo")),
                system=f"Android {properties.get('ro.build.version.release', '?')}",
            )
        return self._machine

    def measure(self, job: Job) -> BenchmarkResult:
        """Measure one case."""

        def report(result: BenchmarkResult) -> BenchmarkResult:
            output = self._run_tool(job)
            profile = parse_profile(output) if job.settings.profile else None
            return replace(result, kind="reported", reported=parse_times(output), profile=profile)

        return fill_result(job, self.machine(), report)

    def close(self) -> None:
        """Remove what was pushed."""
        if self._pushed:
            self._pushed.clear()
            subprocess.run(self._command("shell", shlex.join(["rm", "-r", str(FOLDER)])), capture_output=True, timeout=_SOON_S, check=False)  # noqa: S603

    def _run_tool(self, job: Job) -> str:
        case = job.case
        delegate = _check(case, job.artifact.format)
        tool = self._push(self._tool)
        self._shell("chmod", "755", str(tool))
        words = [str(tool), f"--graph={self._push(job.artifact.path)}", *delegate]
        if case.threads is not None:
            words.append(f"--num_threads={case.threads}")
        words += [f"--min_secs={job.settings.seconds * job.settings.processes:g}", "--num_runs=30", "--warmup_min_secs=0.5"]
        words += [f"--{name}={value}" for name, value in case.options.items()]
        if job.settings.profile:
            words.append("--enable_op_profiling=true")
        # The tool writes to both streams; which one depends on its version.
        return self._shell(*words, and_errors=True, timeout_s=job.settings.timeout_s + job.settings.time_s)

    def _push(self, path: Path) -> PurePosixPath:
        if path not in self._pushed:
            self._shell("mkdir", "-p", str(FOLDER / str(len(self._pushed))))
            there = FOLDER / str(len(self._pushed)) / path.name
            # adb has no "--": a name that begins with a dash isn't one of its options behind a folder.
            self._run("push", str(path.absolute()), str(there), timeout_s=_PUSH_S)
            self._pushed[path] = there
        return self._pushed[path]

    def _command(self, *words: str) -> list[str]:
        if shutil.which(self._adb) is None:
            raise DeviceError(f"there is no {self._adb!r} command on this machine; install Android's platform tools, or name it with --adb")
        return [self._adb, *(("-s", self._serial) if self._serial else ()), *words]

    def _shell(self, *words: str, and_errors: bool = False, timeout_s: float = _SOON_S) -> str:
        """Run a command there: adb joins what it gets with blanks and gives it to the device's shell."""
        return self._run("shell", shlex.join(words) + " 2>&1" * and_errors, timeout_s=timeout_s)

    def _run(self, *words: str, timeout_s: float = _SOON_S) -> str:
        name = f"adb://{self._serial or ''}: `adb {words[0]}`"
        return run_command(self._command(*words), name=name, timeout_s=timeout_s).stdout


def _check(case: BenchmarkCase, format_name: str) -> tuple[str, ...]:
    """Return the tool's arguments for the case's device.

    Raises:
        InputError: a case that the tool can't measure.
    """
    if format_name != "litert":
        raise InputError(f"{case.artifact} is a {format_name} file; Android's benchmark_model measures .tflite files")
    if case.scenario != "single-stream" or case.stage != "inference" or case.batch != 1:
        raise InputError("over adb, the single-stream scenario of the inference stage with batch 1 can be measured")
    device = case.device.lower().removeprefix("litert:")
    if device not in _DELEGATES:
        raise InputError(f"over adb there is no device {case.device!r}; there are: {', '.join(_DELEGATES)}")
    return _DELEGATES[device]


def _memory(meminfo: str) -> int | None:
    found = re.search(r"MemTotal:\s+(\d+) kB", meminfo)
    return int(found.group(1)) * 1024 if found else None


def _identify(*facts: str) -> str:
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
