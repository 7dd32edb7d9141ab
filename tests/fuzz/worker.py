"""A process that opens cases one after the other, under limits: ``python -m fuzz.worker CORPUS SEED KINDS``.

It reads the number of a case from each line of its input and answers with a line of JSON. A case that ends or blocks the process is found
by the parent, which knows what it asked for last.
"""

import json
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from fuzz.subjects import list_subjects, make_case, open_case

__all__ = ["MAX_MEMORY_BYTES", "main", "run_case"]

MAX_MEMORY_BYTES = 4 << 30
"""Of data, for the process: what the libraries take themselves, and 2 GB more than any case may."""


def run_case(subjects: list[Any], corpus: Path, seed: int, number: int) -> dict[str, Any]:
    """Make a case, open it, and say what happened and what it took."""
    folder = Path(tempfile.mkdtemp(prefix="edgepose-fuzz-case-"))
    try:
        subject, path = make_case(subjects, corpus, seed, number, folder)
        reset_peak()
        before = resident_bytes()
        # Processor time: how long it takes on a busy machine says nothing.
        start = time.process_time()
        try:
            seen, broken = open_case(subject, path), False
        except BaseException:  # whatever it is, it is what is looked for
            seen, broken = traceback.format_exc(), True
        return {
            "number": number,
            "subject": subject.name,
            "sealed": subject.sealed,
            "broken": broken,
            "seen": seen[-4000:],
            "seconds": round(time.process_time() - start, 3),
            "megabytes": (peak_bytes() - before) >> 20,
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def reset_peak() -> None:
    """Begin to measure the largest resident size anew, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_bytes() -> int:
    """Largest resident size since ``reset_peak``."""
    return _status("VmHWM:")


def resident_bytes() -> int:
    """Present resident size."""
    return _status("VmRSS:")


def _status(key: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), 0)


def main() -> None:
    """Serve the parent."""
    corpus, seed, kinds = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    subjects = list_subjects(corpus, kinds)
    # Libraries print to descriptor 1 as they like; the answers go where nobody else writes.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(run_case(subjects, corpus, seed, int(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
