"""How long a fresh process takes to import edgepose, and to find its first pose.

    python -m edgepose_benchmarks.startup ARTIFACT

Medians over fresh processes; the operating system's file cache is warm.
"""

import argparse
import statistics
import sys
from pathlib import Path

from edgepose.assets import SAMPLE_BOXES, SAMPLE_IMAGE
from edgepose.cli.table import format_table
from edgepose.files import temporary_folder
from edgepose_benchmarks.process import measure

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="Start-up time of edgepose.")
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args(arguments)
    with temporary_folder() as folder:
        predict = [sys.executable, "-m", "edgepose.cli", "predict", str(options.artifact)]
        predict += [str(SAMPLE_IMAGE), "--boxes", str(SAMPLE_BOXES), "--out", str(folder)]
        commands = {
            "python -c 'pass'": [sys.executable, "-c", "pass"],
            "python -c 'import edgepose'": [sys.executable, "-c", "import edgepose"],
            f"edgepose predict {options.artifact.name} (four people)": predict,
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for command in commands.values():
            measure(command)
        for _ in range(options.rounds):
            for name, command in commands.items():
                seconds[name].append(measure(command).seconds)
    rows = [[name, f"{statistics.median(values):.3f} s", f"{min(values):.3f} s"] for name, values in seconds.items()]
    print(format_table(["fresh process", "median", "fastest"], rows, right=(1, 2)))


if __name__ == "__main__":
    main()
