"""How long ``edgepose convert`` takes, verification included, and how much memory it needs.

    python -m edgepose_benchmarks.conversion            ViTPose-S to four formats, fp16
    python -m edgepose_benchmarks.conversion --huge     ViTPose-H to OpenVINO and ONNX, fp16

Weights are random: what they are makes no difference to the time.
"""

import argparse
import sys
from pathlib import Path

import torch

from edgepose.cli.table import format_table
from edgepose.files import temporary_folder
from edgepose.models import Checkpoint, save_checkpoint
from edgepose.models.sizes import SIZES
from edgepose.models.vitpose import ViTPose, VitPoseConfig
from edgepose.skeleton import get_skeleton
from edgepose.spec import Architecture, ModelSpec, Provenance
from edgepose_benchmarks.process import measure

__all__ = ["main", "random_checkpoint"]


def random_checkpoint(name: str, path: Path, architecture: Architecture | None = None) -> None:
    """Write a ViTPose with random weights: of the size called ``name`` (``ti``, ``s`` …) with the classic head, or of ``architecture``."""
    torch.manual_seed(0)
    if architecture is None:
        size = next(size for size in SIZES if size.name == name)
        architecture = Architecture(dim=size.dim, depth=size.depth, heads=size.heads, head="classic")
    spec = ModelSpec(
        name=f"vitpose-{name}",
        architecture=architecture,
        skeleton=get_skeleton("coco"),
        provenance=Provenance(source="random weights, for measuring"),
    )
    save_checkpoint(Checkpoint(model=ViTPose(VitPoseConfig.from_spec(spec)), spec=spec), path)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="Time and memory of `edgepose convert`.")
    parser.add_argument("--huge", action="store_true", help="ViTPose-H instead of S; needs some 20 GB")
    options = parser.parse_args(arguments)
    name, targets = ("h", "openvino,onnx") if options.huge else ("s", "openvino,onnx,litert,coreml")
    with temporary_folder() as folder:
        checkpoint = folder / f"vitpose-{name}.safetensors"
        random_checkpoint(name, checkpoint)
        command = [
            sys.executable,
            "-m",
            "edgepose.cli",
            "convert",
            str(checkpoint),
            "--to",
            targets,
            "--precision",
            "fp16",
            "--out",
            str(folder),
        ]
        run = measure(command)
    row = [f"ViTPose-{name.upper()} → {targets}, fp16", f"{run.seconds:.1f} s", f"{run.peak_bytes / 1e9:.2f} GB"]
    print(format_table(["`edgepose convert`, verification included", "time", "peak memory"], [row], right=(1, 2)))


if __name__ == "__main__":
    main()
