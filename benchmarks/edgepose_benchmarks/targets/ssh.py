"""A remote device over SSH, such as a Raspberry Pi: ``ssh://pi@raspberrypi``.

Nothing needs to be installed there but Python, numpy and the runtime (and OpenCV for the end-to-end stage): the device part of edgepose
and the worker are pushed into a temporary folder with the model and its inputs, and the folder is removed at the end. The worker is asked
over SSH's own pipes, so times are taken there and the network isn't in them.

SSH is the system's own client: keys, agents, jump hosts and ``~/.ssh/config`` are as always. It never asks for a password.
"""

import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import edgepose
import edgepose_benchmarks
from edgepose.document import parse_json
from edgepose.errors import DeviceError, InputError, SpecError
from edgepose_benchmarks.command import run_command
from edgepose_benchmarks.job import Job
from edgepose_benchmarks.link import WorkerLink
from edgepose_benchmarks.measurement import measure_case
from edgepose_benchmarks.protocol import Describe, Described
from edgepose_benchmarks.result import BenchmarkResult, Machine

__all__ = ["SSHAddress", "SSHTarget", "list_runner_files"]

MIN_PYTHON = (3, 11)
CONNECT_S = 10
TRANSFER_S = 600.0
_REASONS = {255: "can't connect"}
_SOON_S = 120.0
_ADDRESS = re.compile(r"ssh://(?:(?P<user>[A-Za-z0-9._-]+)@)?(?P<host>[A-Za-z0-9][A-Za-z0-9._-]*)(?::(?P<port>\d{1,5}))?/?")
# What the worker doesn't need stays here: host-only packages, commands, pictures and weights.
_LEFT_OUT = ("models", "quantization", "distillation", "evaluation", "cli", "assets", "__pycache__")
_BENCHMARKS = (*("__init__", "case", "energy", "environment", "inputs", "loadgen", "peak", "protocol", "result", "worker"),)
# Runs on whatever Python is there, so in the simplest words.
_LOOK = """
import importlib.util, json, sys, tempfile
found = {"python": list(sys.version_info[:2]), "numpy": importlib.util.find_spec("numpy") is not None}
found["folder"] = tempfile.mkdtemp(prefix="edgepose-")
print(json.dumps(found))
"""
_UNPACK = """
import sys, tarfile
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
    archive.extractall(sys.argv[1])
"""
_REMOVE = "import shutil, sys; shutil.rmtree(sys.argv[1], ignore_errors=True)"


@dataclass(frozen=True, slots=True, kw_only=True)
class SSHAddress:
    """Where to connect to.

    Attributes:
        host: name or address, or an alias of ``~/.ssh/config``.
        user: ``None`` leaves it to SSH.
        port: ``None`` leaves it to SSH.
    """

    host: str
    user: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> "SSHAddress":
        """Read ``ssh://[user@]host[:port]``.

        Raises:
            InputError: it is something else.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise InputError(f"{text!r} isn't an SSH address; expected ssh://[user@]host[:port], such as ssh://pi@raspberrypi")
        port = found["port"]
        if port is not None and not 1 <= int(port) <= 65535:
            raise InputError(f"{text!r} has port {port}; allowed: 1 to 65535")
        return cls(host=found["host"], user=found["user"], port=int(port) if port else None)

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"ssh://{user}{self.host}" + (f":{self.port}" if self.port else "")


class SSHTarget:
    """A remote device.

    Args:
        address: where it is.
        name: what to call it; ``None`` takes its host name.
        python: its Python: the command, or a path such as ``venv/bin/python``.
        options: for the ``ssh`` command, such as ``("-i", "key")``.
    """

    def __init__(self, address: SSHAddress, *, name: str | None = None, python: str = "python3", options: Sequence[str] = ()) -> None:
        self._address = address
        self._name = name
        self._python = python
        self._options = tuple(options)
        self._folder: PurePosixPath | None = None
        self._machine: Machine | None = None
        self._placed: dict[Path, str] = {}

    def machine(self) -> Machine:
        """Connect, push the worker and let it describe its machine."""
        if self._machine is None:
            with self.start() as link:
                self._machine = link.ask(Describe(name=self._name), Described, timeout_s=_SOON_S).machine
        return self._machine

    def start(self, environment: Mapping[str, str] | None = None) -> WorkerLink:
        """Start a worker there."""
        variables = {"PYTHONPATH": str(self._connected() / "runner"), "PYTHONDONTWRITEBYTECODE": "1"} | dict(environment or {})
        words = ["env", *(f"{name}={value}" for name, value in variables.items()), self._python, "-m", "edgepose_benchmarks.worker"]
        return WorkerLink(self._command(words), where=str(self._address))

    def place(self, path: Path) -> str:
        """Push a file, or a folder, once; the parts of an OpenVINO model travel together."""
        if path not in self._placed:
            parts = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
            # Files of one name, from different folders, get folders of their own.
            folder = self._connected() / str(len(self._placed))
            self._push((part, f"{folder.name}/{part.name}") for part in parts if part.exists())
            self._placed[path] = str(folder / path.name)
        return self._placed[path]

    def measure(self, job: Job) -> BenchmarkResult:
        """Measure one case."""
        return measure_case(self, self.machine(), job)

    def close(self) -> None:
        """Remove the folder there."""
        if self._folder is not None:
            folder, self._folder = self._folder, None
            # A device that is gone takes its temporary folder with it sooner or later.
            subprocess.run(self._python_command(_REMOVE, str(folder)), capture_output=True, timeout=_SOON_S, check=False)  # noqa: S603

    def _connected(self) -> PurePosixPath:
        """Look at the device and push the worker, once; return the folder there."""
        if self._folder is None:
            found = self._look()
            self._folder = PurePosixPath(found)
            self._push(list_runner_files())
        return self._folder

    def _look(self) -> str:
        output = self._run(self._python_command(_LOOK))
        try:
            found: Any = parse_json(output.strip().splitlines()[-1], where="the answer")
            version, numpy, folder = tuple(found["python"]), found["numpy"], str(found["folder"])
        except (SpecError, KeyError, IndexError, TypeError):
            raise DeviceError(f"{self._address}: {self._python} gave no proper answer: {output.strip()[:200]!r}") from None
        if version < MIN_PYTHON or not numpy:
            self._folder = PurePosixPath(folder)
            self.close()
            if version < MIN_PYTHON:
                needed = ".".join(map(str, MIN_PYTHON))
                raise DeviceError(
                    f"{self._address}: {self._python} is Python {version[0]}.{version[1]}; edgepose needs {needed} or later: name another "
                    "one with --remote-python"
                )
            raise DeviceError(
                f"{self._address}: {self._python} has no numpy. There, try: {self._python} -m pip install numpy, and the runtime; or name "
                "another Python with --remote-python"
            )
        return folder

    def _push(self, files: Iterable[tuple[Path, str]]) -> None:
        """Send files and folders: a path here, and its place below the folder there."""
        with tempfile.TemporaryFile() as archive:
            with tarfile.open(fileobj=archive, mode="w") as tar:
                for path, name in files:
                    tar.add(path, name)
            archive.seek(0)
            self._run(self._python_command(_UNPACK, str(self._connected())), stdin=archive, timeout_s=TRANSFER_S)

    def _run(self, command: Sequence[str], *, stdin: IO[bytes] | None = None, timeout_s: float = _SOON_S) -> str:
        return run_command(command, name=str(self._address), timeout_s=timeout_s, stdin=stdin, reasons=_REASONS).stdout

    def _python_command(self, code: str, *arguments: str) -> list[str]:
        return self._command([self._python, "-W", "ignore", "-c", code, *arguments])

    def _command(self, words: Sequence[str]) -> list[str]:
        if shutil.which("ssh") is None:
            raise DeviceError("there is no 'ssh' command on this machine; install OpenSSH's client")
        address = self._address
        # A dead connection shows within half a minute; keys only, since nobody is there to type.
        settings = ("BatchMode=yes", f"ConnectTimeout={CONNECT_S}", "ServerAliveInterval=10", "ServerAliveCountMax=3")
        command = ["ssh", "-T", *self._options]
        for setting in settings:
            command += ["-o", setting]
        if address.port is not None:
            command += ["-p", str(address.port)]
        target = f"{address.user}@{address.host}" if address.user else address.host
        return [*command, "--", target, shlex.join(words)]


def list_runner_files() -> list[tuple[Path, str]]:
    """What is pushed: the worker and the part of edgepose that runs on devices, with each file's place there."""
    package = Path(edgepose.__file__).parent
    files = [
        (path, f"runner/edgepose/{path.relative_to(package).as_posix()}")
        for path in sorted(package.rglob("*"))
        if path.suffix in (".py", ".json") and not set(path.relative_to(package).parts) & set(_LEFT_OUT)
    ]
    home = Path(edgepose_benchmarks.__file__).parent
    files += [(home / f"{name}.py", f"runner/edgepose_benchmarks/{name}.py") for name in _BENCHMARKS]
    return files
