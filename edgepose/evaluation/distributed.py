"""Running a model over more pictures than one machine handles: a Ray Data pipeline.

The pictures are cut into chunks; each chunk is a row that an actor with a loaded model turns into keypoints. Ray starts actors anew that
die, and gives their chunk to another: a chunk's result depends on nothing but the chunk, so the whole is the same. Artifact and pictures
have to be at the same paths on every machine.
"""

import json
import logging
import math
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import EdgePoseError, InputError
from edgepose.evaluation.dataset import People
from edgepose.evaluation.inference import Found, Pictures, find_keypoints
from edgepose.evaluation.procedures import ProcedureName
from edgepose.image import MAX_PIXELS
from edgepose.runtime import load
from edgepose.runtime.packages import import_package

__all__ = ["Cluster", "Model", "connect", "find_keypoints_on_cluster"]

CHUNK = 16
"""Pictures per row: enough that a call to an actor is worth its while, few enough that a dead actor costs little."""

_ANSWER_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where to run.

    Attributes:
        workers: actors, each with a model of its own.
        address: of a running cluster, as ``ray.init`` takes it; ``None`` starts one on this machine and ends it again.
        cpus: CPUs that each actor takes.
        gpus: GPUs, or a share of one, that each actor takes.
    """

    workers: int
    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What an actor loads and how it runs; see ``edgepose.load`` and ``find_keypoints``."""

    path: Path
    device: str = "auto"
    threads: int | None = 1
    options: dict[str, str]
    batch: int = 8
    flip_test: bool = False
    procedure: ProcedureName = "published"
    max_pixels: int = MAX_PIXELS


def find_keypoints_on_cluster(
    model: Model,
    pictures: Pictures,
    people: People,
    folder: Path,
    cluster: Cluster,
    *,
    only: NDArray[np.bool_] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[Found, str]:
    """Run a model on people, in many processes or on many machines.

    Args:
        model: what runs.
        pictures: as for ``find_keypoints``.
        people: as for ``find_keypoints``.
        folder: as for ``find_keypoints``.
        cluster: where it runs.
        only: as for ``find_keypoints``.
        progress: as for ``find_keypoints``.

    Returns:
        What was found (its device seconds are those of all actors together), and the runtime that they report.

    Raises:
        InputError: there is nobody to look for, or the cluster can't be reached.
        EdgePoseError: an actor failed on a chunk.
        MissingDependencyError: Ray isn't installed.
    """
    wanted = np.arange(len(people)) if only is None else np.flatnonzero(only[people.pictures])
    if not len(wanted):
        raise InputError("there is nobody to look for: no box is left to run the model on")
    ray = import_package("ray", extra="ray", purpose="running on a cluster")
    data = import_package("ray.data", extra="ray", purpose="running on a cluster")
    started = not ray.is_initialized()
    if started:
        connect(ray, cluster)
    try:
        data.DataContext.get_current().enable_progress_bars = False
        chunks = list(_chunks(pictures, people, wanted))
        rows = data.from_items(chunks, override_num_blocks=len(chunks)).map(
            _Finder,
            fn_constructor_args=(model, str(folder.resolve())),
            compute=data.ActorPoolStrategy(size=cluster.workers),
            num_cpus=cluster.cpus,
            num_gpus=cluster.gpus or None,
        )
        return _collect(ray, rows, pictures, people, len(wanted), progress)
    finally:
        if started:
            ray.shutdown()


def connect(ray: ModuleType, cluster: Cluster) -> None:
    """Join the cluster, or start one on this machine that has as many CPUs as the actors ask for.

    Raises:
        InputError: it doesn't answer.
    """
    if cluster.address:
        _check_reachable(cluster.address)
    local: dict[str, Any] = {"num_cpus": max(1, math.ceil(cluster.workers * cluster.cpus)), "include_dashboard": False}
    try:
        ray.init(
            cluster.address,
            **({} if cluster.address else local),
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"can't reach the Ray cluster at {cluster.address or 'this machine'!r}: {error}") from None


def _check_reachable(address: str) -> None:
    """Refuse a host that doesn't answer at once: Ray would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return  # "auto", and whatever else Ray understands
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"can't reach the Ray cluster at {address!r}: {error}") from None


def _chunks(pictures: Pictures, people: People, wanted: NDArray[np.intp]) -> Iterator[dict[str, Any]]:
    """Cut the work into rows that need nothing else: names, sizes and boxes of some pictures."""
    order, first = np.unique(people.pictures[wanted], return_index=True)  # people stand in the order of their pictures
    edges = np.append(first, len(wanted))
    for start in range(0, len(order), CHUNK):
        chosen = order[start : start + CHUNK]
        rows = wanted[edges[start] : edges[start + len(chosen)]]
        yield {
            "pictures": chosen.tobytes(),
            "names": json.dumps([pictures.names[index] for index in chosen]),
            "sizes": pictures.sizes[chosen].tobytes(),
            "people": rows.astype(np.int64).tobytes(),
            "picture_of": np.searchsorted(chosen, people.pictures[rows]).astype(np.int64).tobytes(),
            "boxes": people.boxes_xyxy[rows].tobytes(),
        }


class _Finder:
    """An actor: a loaded model that turns chunks into keypoints."""

    def __init__(self, model: Model, folder: str) -> None:
        self._model = model
        self._folder = Path(folder)
        self._session = load(model.path, model.device, model.threads, model.options)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        model = self._model
        people, picture_of, chosen = (np.frombuffer(row[name], np.int64) for name in ("people", "picture_of", "pictures"))
        found = find_keypoints(
            self._session,
            Pictures(names=json.loads(row["names"]), sizes=np.frombuffer(row["sizes"], np.int64).reshape(-1, 2)),
            People(
                pictures=picture_of,
                boxes_xyxy=np.frombuffer(row["boxes"]).reshape(-1, 4),
                scores=np.ones(len(people)),
                categories=np.ones(len(people), np.int64),
                annotations=np.full(len(people), -1, np.int64),
                skipped={},
            ),
            self._folder,
            flip_test=model.flip_test,
            procedure=model.procedure,
            batch=model.batch,
            workers=1,
            max_pixels=model.max_pixels,
        )
        return {
            "people": row["people"],
            "keypoints": found.keypoints.tobytes(),
            "unusable": json.dumps({int(chosen[index]): why for index, why in found.unusable.items()}),
            "pictures": found.pictures,
            "chosen": row["pictures"],
            "sizes": found.sizes.tobytes(),
            "digest": f"{found.digest:064x}",
            "device_seconds": found.device_seconds,
            "runtime": str(self._session.info),
        }


def _collect(
    ray: ModuleType, rows: Any, pictures: Pictures, people: People, total: int, progress: Callable[[int, int], None]
) -> tuple[Found, str]:
    """Put the chunks' results together as they come, in any order."""
    begin = time.perf_counter()
    table: NDArray[np.float64] | None = None
    sizes = np.zeros((len(pictures.names), 2), np.int64)
    unusable: dict[int, str] = {}
    done, read, digest, device_seconds, runtime = 0, 0, 0, 0.0, ""
    try:
        for row in rows.iter_rows():
            found = np.frombuffer(row["people"], np.int64)
            keypoints = np.frombuffer(row["keypoints"]).reshape(len(found), -1, 3)
            if table is None:
                table = np.full((len(people), *keypoints.shape[1:]), np.nan)
            table[found] = keypoints
            sizes[np.frombuffer(row["chosen"], np.int64)] = np.frombuffer(row["sizes"], np.int64).reshape(-1, 2)
            unusable |= {int(index): why for index, why in json.loads(row["unusable"]).items()}
            read, digest = read + row["pictures"], (digest + int(row["digest"], 16)) % 2**256
            device_seconds, runtime = device_seconds + row["device_seconds"], row["runtime"]
            done += len(found)
            progress(done, total)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        raise EdgePoseError(f"the cluster failed after {done} of {total} people: {cause or str(error).strip().splitlines()[-1]}") from None
    if table is None or done != total:
        raise EdgePoseError(f"the cluster gave the keypoints of {done} people; {total} were asked for ({len(pictures.names)} pictures)")
    seconds = time.perf_counter() - begin
    everything = Found(
        keypoints=table,
        unusable=unusable,
        pictures=read,
        sizes=sizes,
        digest=digest,
        seconds=seconds,
        device_seconds=device_seconds,
    )
    return everything, runtime
