"""``python -m edgepose_benchmarks``: every measurement, on a ViTPose-S with random weights; ``make bench`` calls this."""

import argparse
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from edgepose.files import temporary_folder
from edgepose_benchmarks import agreement, asynchronous, codec, contest, conversion, evaluation, quantization, session_overhead, startup

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert a ViTPose-S, measure, and print Markdown."""
    parser = argparse.ArgumentParser(description="Every measurement of benchmarks/README.md.")
    parser.add_argument("--precision", default="fp32,int8", metavar="PRECISIONS", help="of the files in the contest (default: fp32,int8)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="Markdown file to put the contest's table into")
    options = parser.parse_args(arguments)
    write = ["--write", str(options.write)] if options.write else []
    print(f"{platform.processor() or platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}\n")
    with temporary_folder() as folder:
        checkpoint = folder / "vitpose-s.safetensors"
        conversion.random_checkpoint("s", checkpoint)
        command = [sys.executable, "-m", "edgepose.cli", "convert", str(checkpoint), "--to", "openvino,onnx,litert", "--precision", "fp32"]
        subprocess.run([*command, "--out", str(folder)], check=True, stdout=subprocess.DEVNULL)  # noqa: S603  our own command
        files = [str(folder / f"vitpose-s-fp32{suffix}") for suffix in (".xml", ".onnx", ".tflite")]
        measurements: tuple[tuple[str, Callable[[list[str]], object], list[str]], ...] = (
            ("Conversion", conversion.main, []),
            ("Quantization", quantization.main, []),
            ("Evaluation", evaluation.main, ["--artifact", files[0]]),
            ("Start-up", startup.main, files[:1]),
            ("What a session adds", session_overhead.main, [*files, "--rounds", "60"]),
            ("Several calls at once", asynchronous.main, files[:1]),
            ("Crop and decode", codec.main, []),
            ("The runtimes' own tools", agreement.main, [files[0], files[2]]),
            ("Side by side", contest.main, ["--precision", options.precision, *write]),
        )
        for title, measure, given in measurements:
            print(f"\n## {title}\n", flush=True)
            measure(given)


if __name__ == "__main__":
    main()
