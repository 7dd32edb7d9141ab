"""Libraries keep caches in the user's home and in the place for temporary files; a command leaves nothing there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from edgepose.files import temporary_folder

__all__ = ["private_caches"]


@contextmanager
def private_caches(*, keep_compiled: bool) -> Iterator[None]:
    """Let matplotlib and PyTorch keep what they cache in a folder that is removed at the end; who has named one keeps it.

    Args:
        keep_compiled: whether what PyTorch's compiler makes is worth keeping for the next run.
    """
    names = ["MPLCONFIGDIR", *([] if keep_compiled else ["TORCHINDUCTOR_CACHE_DIR"])]
    ours = [name for name in names if name not in os.environ]
    with temporary_folder() as folder:
        for name in ours:
            os.environ[name] = str(folder / name.lower())
        try:
            yield
        finally:
            for name in ours:
                os.environ.pop(name, None)
