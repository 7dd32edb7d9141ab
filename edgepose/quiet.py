"""Keep the tools from talking over the progress bar, and their words at hand for when they fail."""

import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

__all__ = ["quiet"]

_TAIL_CHARACTERS = 2000


@contextmanager
def quiet() -> Iterator[Callable[[], str]]:
    """Send what the process writes to its standard streams, native libraries included, into a temporary file.

    Yields:
        A function that returns the end of what was written so far.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as log, os.fdopen(os.dup(log.fileno()), "w", buffering=1, errors="replace") as stream:
        saved = [(number, os.dup(number)) for number in (1, 2)]

        def tail() -> str:
            stream.flush()
            end = os.lseek(log.fileno(), 0, os.SEEK_END)
            return os.pread(log.fileno(), _TAIL_CHARACTERS, max(0, end - _TAIL_CHARACTERS)).decode("utf-8", "replace")

        try:
            for number, _ in saved:
                os.dup2(log.fileno(), number)
            # Python's own streams too: in a notebook they lead elsewhere than to the process's.
            with redirect_stdout(stream), redirect_stderr(stream), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield tail
        finally:
            for number, original in saved:
                os.dup2(original, number)
                os.close(original)
