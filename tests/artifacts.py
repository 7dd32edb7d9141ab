"""Tiny model files in every format, for tests: a ViTPose of one block on 64×48 crops, converted and sealed.

A file is made when a test first asks for it and kept for the session; tests that change one take a ``copy``. Conversions take seconds, so
the workers of pytest-xdist share a folder.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from checkpoints import make_spec, random_model
from numpy.typing import NDArray

from edgepose.artifact import embed_spec
from edgepose.models import Checkpoint, for_export, save_checkpoint
from edgepose.precision import get_precision
from edgepose.quiet import quiet
from edgepose.spec import ExportRecord
from edgepose_converters.target import Source
from edgepose_converters.targets import get_target

__all__ = ["DEVICE_FORMATS", "SUFFIXES", "TinyArtifacts", "largest_difference", "make_crops"]

HEIGHT, WIDTH = 64, 48
SUFFIXES = {"openvino": ".xml", "onnx": ".onnx", "litert": ".tflite", "coreml": ".mlpackage", "safetensors": ".safetensors"}
DEVICE_FORMATS = ("openvino", "onnx", "litert", "coreml")


def make_crops(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Random crops (count, 3, 64, 48), float32, distributed roughly as normalized pixels are."""
    return np.random.default_rng(seed).standard_normal((count, 3, HEIGHT, WIDTH)).astype(np.float32)


def largest_difference(given: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Relative to the largest absolute value."""
    return float(np.abs(given - wanted).max() / np.abs(wanted).max())


class TinyArtifacts:
    """Makes the files.

    Args:
        folder: where to keep them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.model = for_export(random_model(dim=48, depth=1, heads=3, head="simple", height=HEIGHT, width=WIDTH))
        self.spec = make_spec(self.model, name="tiny")

    def path(self, kind: str, batch: int | None = 1) -> Path:
        """Return the model in the format ``kind``; ``batch`` ``None`` is dynamic. The file is shared: don't change it."""
        home = self._folder / f"{kind}-{batch or 'any'}"
        path = home / f"tiny{SUFFIXES[kind]}"
        if not path.exists():
            staged = Path(tempfile.mkdtemp(dir=self._folder))
            self._write(kind, batch, staged / path.name)
            # Another worker may have been faster; its file is as good.
            with contextlib.suppress(OSError):
                staged.rename(home)
        return path

    def copy(self, kind: str, folder: Path, batch: int | None = 1) -> Path:
        """Copy the artifact with all its files into ``folder``."""
        source = self.path(kind, batch)
        shutil.copytree(source.parent, folder, dirs_exist_ok=True)
        return folder / source.name

    def heatmaps(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute with the torch model what every file should give."""
        with torch.inference_mode():
            return self.model(torch.from_numpy(crops)).numpy()

    def _write(self, kind: str, batch: int | None, path: Path) -> None:
        if kind == "safetensors":
            save_checkpoint(Checkpoint(model=self.model, spec=self.spec), path)
            return
        with quiet():
            get_target(kind).write(Source(module=self.model, spec=self.spec), path, precision=get_precision("fp32"), batch=batch)
        embed_spec(path, self.spec.replace_export(ExportRecord(target=kind, precision="fp32", batch=batch)))


def session_folder(base: Path) -> Path:
    """Return the folder of this test session, which all workers share, below pytest's ``base``."""
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "artifacts"
    folder.mkdir(exist_ok=True)
    return folder
