"""``python -m edgepose_benchmarks``: every measurement, on a ViTPose-S with random weights; ``make bench`` calls this."""

import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from edgepose_benchmarks import codec, conversion, session_overhead, startup

__all__ = ["main"]


def main() -> None:
    """Convert a ViTPose-S, measure, and print Markdown."""
    print(f"{platform.processor() or platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "vitpose-s.safetensors"
        conversion.random_checkpoint("s", checkpoint)
        command = [sys.executable, "-m", "edgepose.cli", "convert", str(checkpoint), "--to", "openvino,onnx,litert", "--precision", "fp32"]
        subprocess.run([*command, "--out", folder], check=True, stdout=subprocess.DEVNULL)  # noqa: S603  our own command
        files = [str(Path(folder) / f"vitpose-s-fp32{suffix}") for suffix in (".xml", ".onnx", ".tflite")]
        for title, measure, arguments in (
            ("Conversion", conversion.main, []),
            ("Start-up", startup.main, files[:1]),
            ("What a session adds", session_overhead.main, [*files, "--rounds", "60"]),
            ("Crop and decode", codec.main, []),
        ):
            print(f"\n## {title}\n", flush=True)
            measure(arguments)


if __name__ == "__main__":
    main()
