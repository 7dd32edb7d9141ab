"""The evaluator as a runtime: Core ML packages on any operating system, slowly and exactly."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose import __version__
from edgepose.artifact import Artifact
from edgepose.errors import InputError
from edgepose.runtime.mil.program import MilProgram, TensorInfo
from edgepose.runtime.ports import Port, check_ports
from edgepose.runtime.request import DeviceRequest
from edgepose.runtime.session import SessionInfo

__all__ = ["RUNTIME", "MilEngine", "MilNetwork", "MilRuntime"]

_NAME = "mil"
_DEVICE = "cpu"


class MilRuntime:
    """The evaluator: numpy is all that it needs."""

    def version(self) -> str:
        """Version of edgepose, whose own code this is."""
        return __version__

    def devices(self) -> tuple[str, ...]:
        """The CPU."""
        return (_DEVICE,)

    def open(self, artifact: Artifact, request: DeviceRequest) -> "MilEngine":
        """Read a Core ML package.

        Raises:
            DeviceError: another device than the CPU was asked for.
            ArtifactError: the package can't be read, or isn't what its spec says; see ``MilProgram.read``.
            InputError: an option or a number of threads was given; the evaluator takes neither.
        """
        program, info = self._open(artifact.path, request)
        engine = MilEngine(program, info)
        engine.info = replace(info, batch=check_ports(artifact, engine.inputs, engine.outputs))
        return engine

    def open_network(self, path: Path, request: DeviceRequest) -> "MilNetwork":
        """Read a network's package; errors as those of ``open``."""
        return MilNetwork(*self._open(path, request))

    def _open(self, path: Path, request: DeviceRequest) -> tuple[MilProgram, SessionInfo]:
        device = request.choose(self.devices(), runtime=_NAME, preferred=_DEVICE)
        if request.options:
            raise InputError(f"{_NAME} has no options, but these were given: {', '.join(request.options)}")
        if request.threads is not None:
            raise InputError(f"{_NAME} can't be told to use {request.threads} threads: numpy decides; set OMP_NUM_THREADS before starting")
        info = SessionInfo(
            runtime=_NAME,
            version=self.version(),
            requested=request.text,
            device=device,
            threads=None,
            batch=None,
            details={"numpy": np.__version__},
        )
        return MilProgram.read(path), info


class MilNetwork:
    """A program with one input; any number of calls may run at once."""

    def __init__(self, program: MilProgram, info: SessionInfo) -> None:
        self.info = info
        self.inputs = [_port(info) for info in program.inputs]
        self.outputs = [_port(info) for info in program.outputs]
        self._program: MilProgram | None = program

    def run(self, values: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Compute all outputs."""
        program = self._program
        if program is None:
            raise InputError("this engine is closed; load the model again")
        found = program.run({self.inputs[0].name: values})
        return tuple(found[port.name] for port in self.outputs)

    def close(self) -> None:
        """Free the weights."""
        self._program = None


class MilEngine(MilNetwork):
    """The network of a pose model."""

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one batch."""
        return self.run(batch)[0]


def _port(info: TensorInfo) -> Port:
    return Port(name=info.name, dtype=info.dtype, shape=info.shape)


RUNTIME = MilRuntime()
