"""``Session``: one checked way to run a model, whatever runtime is behind it."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import EdgePoseError, InputError
from edgepose.runtime.lifetime import Loaded, SessionInfo, loading
from edgepose.spec import ModelSpec

__all__ = ["Engine", "Session", "SessionInfo", "loading"]

MAX_BATCH = 64
"""Largest batch that is handed to a runtime at once: bounds the memory of one call."""


class Engine(Protocol):
    """What a runtime implements: one loaded model. ``Session`` has checked and cut the batches that it gets."""

    info: SessionInfo

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one batch; safe to call from several threads at once.

        Args:
            batch: (n, 3, H, W), C-contiguous. ``n`` is ``info.batch`` where that is set, else 1 to ``MAX_BATCH``.

        Returns:
            Heatmaps (n, K, h, w) in memory of their own.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...


class Session(Loaded[Engine]):
    """A loaded model: normalized crops in, heatmaps out.

    Usable from several threads at once; where the runtime allows only one call at a time, calls wait for each other. A context manager.
    It can't be pickled or copied, and belongs to the process that loaded it: after a fork, the parent's goes on and the child's refuses.

    Attributes:
        spec: the model's spec, as it stands in the file.
        info: runtime, version and the device that really runs.
    """

    def __init__(self, engine: Engine, spec: ModelSpec) -> None:
        super().__init__(engine)
        self.spec = spec

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute heatmaps.

        Args:
            batch: (N, 3, H, W) float32, RGB, normalized as ``spec.input`` says; N may be any number, whatever the file was compiled for.

        Returns:
            (N, K, H/4, W/4) float32 heatmaps.

        Raises:
            InputError: the batch has another shape or dtype, or the session is closed.
            EdgePoseError: the runtime failed, or gave another shape than the spec says.
        """
        return self._call(self._run, batch)

    def _run(self, engine: Engine, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self._check(batch)
        size = self.info.batch or MAX_BATCH
        if len(batch) == size or (self.info.batch is None and 0 < len(batch) < size):
            return self._infer(engine, batch)
        heatmaps = np.empty((len(batch), *self.spec.heatmap_shape), np.float32)
        for start in range(0, len(batch), size):
            piece = batch[start : start + size]
            heatmaps[start : start + size] = self._infer(engine, self._pad(piece))[: len(piece)]
        return heatmaps

    def _check(self, batch: NDArray[np.float32]) -> None:
        if not isinstance(batch, np.ndarray) or batch.dtype != np.float32:
            kind = batch.dtype if isinstance(batch, np.ndarray) else type(batch).__name__
            raise InputError(
                f"the batch is {kind}; expected a float32 array of normalized crops (edgepose.crop makes them from uint8 images)"
            )
        if batch.ndim != 4 or batch.shape[1:] != self.spec.input_shape:
            expected = ", ".join(map(str, self.spec.input_shape))
            raise InputError(f"the batch has shape {batch.shape}; expected (N, {expected})")

    def _pad(self, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        size = self.info.batch
        if size is None or len(piece) == size:
            return piece
        padded = np.zeros((size, *self.spec.input_shape), np.float32)
        padded[: len(piece)] = piece
        return padded

    def _infer(self, engine: Engine, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            heatmaps = engine.infer(np.ascontiguousarray(piece))
        except EdgePoseError:
            raise
        except Exception as error:  # each runtime has exception types of its own
            if self._refusal:
                raise InputError("this session was closed while it ran") from error
            raise EdgePoseError(f"{self.info} failed on a batch of shape {piece.shape}: {error}") from error
        if heatmaps.shape != (len(piece), *self.spec.heatmap_shape):
            raise EdgePoseError(
                f"{self.info} gave heatmaps of shape {heatmaps.shape}; the spec says {(len(piece), *self.spec.heatmap_shape)}"
            )
        return heatmaps
