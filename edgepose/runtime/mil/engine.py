"""The evaluator as a runtime: Core ML packages on any operating system, slowly and exactly."""

import numpy as np
from numpy.typing import NDArray

from edgepose import __version__
from edgepose.artifact import Artifact
from edgepose.errors import InputError
from edgepose.runtime.mil.program import MilProgram, TensorInfo
from edgepose.runtime.ports import Port, check_ports
from edgepose.runtime.request import DeviceRequest
from edgepose.runtime.session import SessionInfo

__all__ = ["RUNTIME", "MilEngine", "MilRuntime"]

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
        device = request.choose(self.devices(), runtime=_NAME, preferred=_DEVICE)
        if request.options:
            raise InputError(f"{_NAME} has no options, but these were given: {', '.join(request.options)}")
        if request.threads is not None:
            raise InputError(f"{_NAME} can't be told to use {request.threads} threads: numpy decides; set OMP_NUM_THREADS before starting")
        program = MilProgram.read(artifact.path)
        batch = check_ports(artifact, [_port(info) for info in program.inputs], [_port(info) for info in program.outputs])
        info = SessionInfo(
            runtime=_NAME,
            version=self.version(),
            requested=request.text,
            device=device,
            threads=None,
            batch=batch,
            details={"numpy": np.__version__},
        )
        return MilEngine(program, info)


class MilEngine:
    """A program with one input and one output; any number of calls may run at once."""

    def __init__(self, program: MilProgram, info: SessionInfo) -> None:
        self.info = info
        self._program: MilProgram | None = program
        self._input = program.inputs[0].name
        self._output = program.outputs[0].name

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one batch."""
        program = self._program
        if program is None:
            raise InputError("this engine is closed; load the model again")
        heatmaps: NDArray[np.float32] = program.run({self._input: batch})[self._output]
        return heatmaps

    def close(self) -> None:
        """Free the weights."""
        self._program = None


def _port(info: TensorInfo) -> Port:
    return Port(name=info.name, dtype=info.dtype, shape=info.shape)


RUNTIME = MilRuntime()
