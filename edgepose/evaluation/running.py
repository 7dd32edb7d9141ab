"""Where a model runs over people: in this process, or on a Ray cluster."""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import Artifact
from edgepose.errors import InputError
from edgepose.evaluation.dataset import People
from edgepose.evaluation.distributed import Cluster, Model, find_keypoints_on_cluster
from edgepose.evaluation.inference import Found, Pictures, find_keypoints
from edgepose.evaluation.procedures import ProcedureName
from edgepose.evaluation.result import Work
from edgepose.image import MAX_PIXELS
from edgepose.runtime import load

__all__ = ["RunOptions", "run_model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Where and how a model runs; see ``edgepose.load`` and ``find_keypoints``.

    Attributes:
        device: device string.
        threads: CPU threads; ``None`` leaves it to the runtime, or gives each actor of a cluster one.
        streams: calls at the same time (not on a cluster, which has several actors).
        options: settings of the runtime.
        batch: crops per call.
        workers: threads that read and decode (not on a cluster, where each actor has one).
        max_pixels: larger pictures are refused.
        cluster: where to run; ``None`` is this process.

    Raises:
        InputError: a number below one.
    """

    device: str = "auto"
    threads: int | None = None
    streams: int | None = 1
    options: dict[str, str] = field(default_factory=dict)
    batch: int = 8
    workers: int = 2
    max_pixels: int = MAX_PIXELS
    cluster: Cluster | None = None

    def __post_init__(self) -> None:
        for name in ("batch", "workers", "max_pixels"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; allowed: 1 and more")


def run_model(
    artifact: Artifact,
    pictures: Pictures,
    people: People,
    folder: Path,
    run: RunOptions,
    *,
    only: NDArray[np.bool_] | None = None,
    flip_test: bool = False,
    procedure: ProcedureName = "published",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[Found, Work]:
    """Run a model on people; for the arguments see ``find_keypoints``.

    Raises:
        EdgePoseError: see ``edgepose.load``, ``find_keypoints`` and ``find_keypoints_on_cluster``.
    """
    if run.cluster is not None:
        threads: int | None = run.threads or 1
        model = Model(
            path=artifact.path.resolve(),
            device=run.device,
            threads=threads,
            options=run.options,
            batch=run.batch,
            flip_test=flip_test,
            procedure=procedure,
            max_pixels=run.max_pixels,
        )
        found, runtime = find_keypoints_on_cluster(model, pictures, people, folder, run.cluster, only=only, progress=progress)
        streams = run.cluster.workers
        device_seconds = found.device_seconds / streams
    else:
        with load(artifact.path, run.device, run.threads, run.options, run.streams) as session:
            found = find_keypoints(
                session,
                pictures,
                people,
                folder,
                only=only,
                flip_test=flip_test,
                procedure=procedure,
                batch=run.batch,
                workers=run.workers,
                max_pixels=run.max_pixels,
                progress=progress,
            )
            runtime, threads, streams = str(session.info), session.info.threads, session.info.streams
        device_seconds = found.device_seconds
    work = Work(
        runtime=runtime,
        threads=threads,
        streams=streams,
        batch=run.batch,
        machine=f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}",
        seconds=found.seconds,
        device_seconds=device_seconds,
    )
    return found, work
