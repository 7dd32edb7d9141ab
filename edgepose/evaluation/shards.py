"""A shard: the keypoints of every n-th picture in one file, and putting shards together again."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.document import from_document, parse_json, to_document
from edgepose.errors import InputError, SpecError
from edgepose.evaluation.inference import Found
from edgepose.evaluation.result import Conditions, Work
from edgepose.files import staged_file

__all__ = ["Shard", "ShardRecord", "load_shard", "merge_shards", "pictures_of_shard", "save_shard"]

VERSION = 1
MAX_RECORD_BYTES = 64_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """What a shard is of.

    Attributes:
        number: 1 to ``of``.
        of: number of shards.
        conditions: what its keypoints depend on.
        work: where they were computed.
        boxes: number of boxes of the whole data set.
        pictures: number of pictures read.
        digest: of their names and bytes, in hex; see ``Found.digest``.
        unusable: index of a picture that couldn't be used, in decimal → why.
    """

    number: int
    of: int
    conditions: Conditions
    work: Work
    boxes: int
    pictures: int
    digest: str
    unusable: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shard:
    """Some of a data set's keypoints.

    Attributes:
        record: what they are of.
        people: int64 (m,), indices of the people.
        keypoints: float64 (m, K, 3).
    """

    record: ShardRecord
    people: NDArray[np.int64]
    keypoints: NDArray[np.float64]


def pictures_of_shard(pictures: int, number: int, of: int) -> NDArray[np.bool_]:
    """Return which pictures belong to shard ``number`` (from 1) ``of``: every ``of``-th, so that shards take about equally long.

    Raises:
        InputError: there is no such shard.
    """
    if not 1 <= number <= of:
        raise InputError(f"shard {number}/{of} doesn't exist; allowed: 1/{of} to {of}/{of}")
    belongs: NDArray[np.bool_] = np.arange(pictures) % of == number - 1
    return belongs


def save_shard(shard: Shard, path: Path) -> None:
    """Write a shard, whole or not at all: NumPy's ``.npz``, without pickle.

    Raises:
        InputError: the file can't be written.
    """
    record = json.dumps({"edgepose_shard": VERSION} | to_document(shard.record)).encode()
    try:
        with staged_file(path) as staged, staged.open("wb") as file:
            np.savez(file, record=np.frombuffer(record, np.uint8), people=shard.people, keypoints=shard.keypoints)
    except OSError as error:
        raise InputError(f"can't write the shard {str(path)!r}: {error.strerror or error}") from None


def load_shard(path: Path, *, boxes: int, keypoints: int) -> Shard:
    """Read what ``save_shard`` wrote.

    Args:
        path: the file.
        boxes: M, of the data set.
        keypoints: K, of the data set.

    Raises:
        InputError: the file can't be read, or is of a data set with another number of boxes.
        SpecError: it isn't a shard, is damaged, or of another version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # Sizes stand in the archive: one that would fill the memory is refused before it is read.
            if archive.getinfo("record.npy").file_size > MAX_RECORD_BYTES:
                raise SpecError(f"{path}: the shard's record is too large; evaluate the shard again")
        with np.load(path, allow_pickle=False) as arrays:
            record = _parse_record(arrays["record"].tobytes(), path)
            if record.boxes != boxes:
                raise InputError(f"{path} is of a data set with {record.boxes} boxes, not {boxes}; evaluate the shard again")
            with zipfile.ZipFile(path) as archive:
                declared = archive.getinfo("keypoints.npy").file_size + archive.getinfo("people.npy").file_size
            if declared > boxes * (keypoints * 24 + 8) + 1024:
                raise SpecError(f"{path}: holds more keypoints than its data set has people; evaluate the shard again")
            people, found = arrays["people"], arrays["keypoints"]
    except OSError as error:
        raise InputError(f"can't read the shard {str(path)!r}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise SpecError(f"{path} isn't a shard, or is damaged ({error}); evaluate the shard again") from None
    fits = people.dtype == np.int64 and found.dtype == np.float64 and people.ndim == 1 and found.shape == (len(people), keypoints, 3)
    if not fits or (len(people) and not 0 <= people.min() <= people.max() < boxes):
        raise SpecError(f"{path}: its arrays have shapes {people.shape} and {found.shape}, which don't fit; evaluate the shard again")
    return Shard(record=record, people=people, keypoints=found)


def merge_shards(
    paths: Sequence[Path], *, boxes: int, pictures: int, keypoints: int, conditions: Conditions | None = None
) -> tuple[Found, ShardRecord]:
    """Put shards together.

    Args:
        paths: one file per shard, in any order.
        boxes: M, of the data set as it is now.
        pictures: I.
        keypoints: K.
        conditions: what they must have been evaluated under; by default those of the first.

    Returns:
        What one run over everything would have found, with the shards' times added up, and the record of the first shard.

    Raises:
        InputError: a file can't be read, a shard is missing or there twice, or they don't belong together.
        SpecError: a file isn't a shard.
    """
    shards = [load_shard(path, boxes=boxes, keypoints=keypoints) for path in paths]
    first = shards[0].record
    table = np.full((boxes, keypoints, 3), np.nan)
    for path, shard in zip(paths, shards, strict=True):
        record = shard.record
        if record.conditions != (conditions or first.conditions) or record.of != first.of:
            raise InputError(
                f"{path} doesn't belong to the other shards or to these annotations: {_difference(record, first, conditions)}; "
                "evaluate the shard again"
            )
        table[shard.people] = shard.keypoints
    numbers = [shard.record.number for shard in shards]
    missing = sorted(set(range(1, first.of + 1)) - set(numbers))
    if missing or len(set(numbers)) != len(numbers):
        wrong = f"missing: {', '.join(f'{each}/{first.of}' for each in missing)}" if missing else "a shard is there twice"
        raise InputError(f"the shards don't make the whole: {wrong}; give each of the {first.of} once")
    found = Found(
        keypoints=table,
        unusable={int(index): why for shard in shards for index, why in shard.record.unusable.items()},
        pictures=sum(shard.record.pictures for shard in shards),
        sizes=np.zeros((pictures, 2), np.int64),
        digest=sum(int(shard.record.digest, 16) for shard in shards) % 2**256,
        seconds=sum(shard.record.work.seconds for shard in shards),
        device_seconds=sum(shard.record.work.device_seconds for shard in shards),
    )
    return found, first


def _parse_record(text: bytes, path: Path) -> ShardRecord:
    document = parse_json(text, where=str(path))
    if not isinstance(document, dict) or document.pop("edgepose_shard", None) != VERSION:
        raise SpecError(f"{path} isn't a shard of this version of edgepose; evaluate the shard again")
    return from_document(ShardRecord, document, where=str(path))


def _difference(record: ShardRecord, first: ShardRecord, conditions: Conditions | None) -> str:
    if record.of != first.of:
        return f"it is one of {record.of} shards, not of {first.of}"
    mine, theirs = to_document(record.conditions), to_document(conditions or first.conditions)
    name = next(name for name in mine if mine[name] != theirs[name])
    return f"its {name} is {mine[name]!r}, not {theirs[name]!r}"
