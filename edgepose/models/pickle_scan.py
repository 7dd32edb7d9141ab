"""Look through a pickled checkpoint before anything is built from it.

PyTorch's ``weights_only`` reader runs no foreign code, but what it does build may be large: a kilobyte can ask for a ``bytearray`` of
gigabytes, or claim storages that the file doesn't hold. Here the opcodes are read, not executed, and everything that a checkpoint of a
ViTPose has no use for is refused.
"""

import io
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edgepose.errors import CheckpointError

__all__ = ["scan_pickle"]

MAX_OPCODES = 2_000_000
MAX_PICKLE_BYTES = 128 << 20
MAX_RECORDS = 100_000
_LEGACY_PICKLES = 5  # a magic number, the protocol, the system, the content, and the keys of the storages behind it
_TORCHSCRIPT = ("constants.pkl", "code/")
# What takes memory that isn't in the file: PyTorch would call these with whatever numbers stand beside them.
_COSTLY = re.compile(
    r"(builtins|__builtin__)\.bytearray$|torch\._utils\._rebuild_(nested_tensor|wrapper_subclass|device_tensor\w+|qtensor|sparse_tensor)$"
    r"|torch\.(cuda\.)?(sparse\.)?\w+Tensor$"
)


def scan_pickle(path: Path, where: str) -> None:
    """Refuse a file of either of PyTorch's formats that isn't safe to build.

    Args:
        path: the file.
        where: how errors name it.

    Raises:
        CheckpointError: it is an archive that torch didn't write so, holds more than the file can, or asks for what no weights need.
        OSError: it can't be read.
    """
    if zipfile.is_zipfile(path):
        _scan(io.BytesIO(_read_archive(path, where)), where, pickles=1)
        return
    with path.open("rb") as stream:
        _scan(stream, where, pickles=_LEGACY_PICKLES)


def _read_archive(path: Path, where: str) -> bytes:
    """Return the pickle in an archive whose records lie in the file as they are."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            names = [record.filename for record in records]
            if any(part in name for name in names for part in _TORCHSCRIPT):
                raise CheckpointError(
                    f"{where}: a TorchScript archive, which holds a program; save the weights instead: "
                    "torch.save(torch.jit.load(file).state_dict(), 'weights.pth')"
                )
            if len(records) > MAX_RECORDS or len(set(names)) != len(names):
                raise CheckpointError(
                    f"{where}: an archive of {len(records)} records, or with a name twice; PyTorch writes no such archive"
                )
            if any(record.compress_type != zipfile.ZIP_STORED for record in records) or sum(record.file_size for record in records) > size:
                raise CheckpointError(f"{where}: its records are compressed, or larger than the file: PyTorch writes no such archive")
            pickles = [record for record in records if record.filename.endswith("data.pkl")]
            if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE_BYTES:
                raise CheckpointError(f"{where}: can't be read as a PyTorch checkpoint: it has no data.pkl, or an implausible one")
            return archive.read(pickles[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{where}: can't be read as a PyTorch checkpoint; it may be cut short or damaged ({error})") from None


def _scan(stream: IO[bytes], where: str, *, pickles: int) -> None:
    left = MAX_OPCODES
    for _ in range(pickles):
        for name, argument in _opcodes(stream, where):
            left -= 1
            if left < 0:
                raise CheckpointError(f"{where}: a pickle of more than {MAX_OPCODES:,} parts; no checkpoint of a ViTPose has so many")
            # PyTorch's reader knows no other opcode that names a class or function.
            if name == "GLOBAL" and _COSTLY.match(asked := str(argument).replace(" ", ".", 1)):
                raise CheckpointError(f"{where}: a pickle that asks for {asked!r}, which no weights need; refused")


def _opcodes(stream: IO[bytes], where: str) -> Iterator[tuple[str, object]]:
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            yield opcode.name, argument
    except (ValueError, EOFError, UnicodeDecodeError, OverflowError, MemoryError, IndexError) as error:
        cause = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise CheckpointError(f"{where}: can't be read as a PyTorch checkpoint; it may be cut short or damaged ({cause})") from None
