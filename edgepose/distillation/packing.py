"""Decoded once: the people of all data sources as pixels in one file that training maps into memory.

Each person's surroundings are cut out, wide enough for every augmentation, and shrunk to about the size that the network sees, so that a
training sample costs one small warp. The pack is made anew when the sources, or what was asked of them, have changed.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from edgepose.boxes import check_boxes
from edgepose.crop import pad_boxes
from edgepose.distillation.labels import Merged, merge_labels
from edgepose.distillation.readers import Faults, Person, read_people
from edgepose.distillation.recipe import LabelRules, Recipe, Source
from edgepose.document import from_document, parse_json, to_document
from edgepose.errors import InputError, SpecError
from edgepose.files import publish, staging_folder
from edgepose.skeleton import Skeleton, get_skeleton
from edgepose.spec import Codec, InputSpec

__all__ = ["Pack", "Pixels", "Point", "Report", "open_pack"]

VERSION = 1
CONTEXT = 1.5  # how much further than the padded box a cut reaches: for larger scales, shifts and rotations
MAX_ENLARGEMENT = 1.25  # cuts are shrunk until the padded box is no higher than this times the input
THUMBNAIL = 16
CHUNK = 256
PIXELS, INDEX, REPORT = "pixels.bin", "index.npz", "report.json"

Point = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.float64]], npt.NDArray[np.float32]]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What happened while a pack was made.

    Attributes:
        sources: name → number of people, repairs and what was left out, in words.
        faults: kind → how many.
        listed: the faults one by one, up to a thousand for each source.
    """

    sources: dict[str, str]
    faults: dict[str, int]
    listed: tuple[str, ...]


class Pixels:
    """Bytes of a file, mapped into memory; another process that this is sent to maps them anew instead of getting a copy.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.array: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r")

    def __reduce__(self) -> tuple[type["Pixels"], tuple[Path]]:
        return Pixels, (self.path,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pack:
    """N people, ready to be warped.

    Attributes:
        pixels: all pictures one after the other, RGB.
        offsets: (N,) where each picture begins.
        shapes: (N, 2) height and width.
        boxes_xyxy: (N, 4) float64, in pixels of the cut.
        keypoints: (N, K, 3) float32, likewise; the third column is the weight in the loss.
        truth: (N, K, 3) float32: the data set's own labels, for validation; the third column is 1 where there is one.
        sources: (N,) number of the source.
        thumbnails: (N, 16, 16) float32, grey, mean 0 and norm 1: what near duplicates are found by.
        names: (N,) what the data set calls them.
        report: what was left out, repaired, and how many people each source has.
    """

    pixels: "Pixels"
    offsets: npt.NDArray[np.int64]
    shapes: npt.NDArray[np.int64]
    boxes_xyxy: npt.NDArray[np.float64]
    keypoints: npt.NDArray[np.float32]
    truth: npt.NDArray[np.float32]
    sources: npt.NDArray[np.int64]
    thumbnails: npt.NDArray[np.float32]
    names: npt.NDArray[np.str_]
    report: "Report"

    def __len__(self) -> int:
        return len(self.offsets)

    def image(self, index: int) -> npt.NDArray[np.uint8]:
        """The cut of one person: (H, W, 3) uint8, RGB. It is a view; don't write to it."""
        height, width = map(int, self.shapes[index])
        start = int(self.offsets[index])
        return self.pixels.array[start : start + height * width * 3].reshape(height, width, 3)


def open_pack(
    recipe: Recipe,
    sources: tuple[Source, ...],
    root: Path,
    cache: Path,
    *,
    point: Point | None = None,
    teacher_id: str = "",
    progress: Callable[[str, int, int], None] = lambda _what, _done, _all: None,
) -> Pack:
    """Open the pack of these sources in the folder ``cache``, or make it.

    Args:
        recipe: of which the skeleton, the input size and the label rules matter.
        sources: what to read.
        root: what their paths are relative to.
        cache: where packs are kept; each has a folder of its own, named after what went in.
        point: a keypoint teacher: picture and box (4,) → keypoints (K, 3) with scores, in pixels of the picture.
        teacher_id: a hash that tells this teacher from others.
        progress: told about what is being read: source, people done, people in all.

    Raises:
        InputError: a source can't be read, has nobody in it, or the pack can't be written.
    """
    folder = cache / _fingerprint(recipe, sources, root, teacher_id)
    if not (folder / REPORT).is_file():
        skeleton = get_skeleton(recipe.student.skeleton)
        try:
            with staging_folder(cache) as staging:
                made = staging / folder.name
                made.mkdir()
                _write(made, recipe, sources, root, skeleton, point, progress)
                publish((made,), cache)
        except OSError as error:
            raise InputError(f"can't write the decoded pictures to {str(cache)!r}: {error.strerror or error}") from None
    return _load(folder)


def _fingerprint(recipe: Recipe, sources: tuple[Source, ...], root: Path, teacher_id: str) -> str:
    """Hash everything that decides the pack's content; files by size and time."""
    heights = max((phase.height, phase.width) for phase in recipe.phases)
    settings = [VERSION, recipe.student.skeleton, heights, to_document(recipe.labels), teacher_id]
    entries: list[object] = [settings]
    for source in sources:
        entries.append(to_document(dataclasses.replace(source, share=None)))
        for path in (root / source.path, (root / source.path).with_suffix(".zip"), root / source.images if source.images else None):
            if path is None or not path.exists():
                continue
            files = sorted(path.rglob("*")) if path.is_dir() else [path]
            entries.extend((str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file())
    return "pack-" + hashlib.sha256(json.dumps(entries).encode()).hexdigest()[:16]


def _write(
    folder: Path,
    recipe: Recipe,
    sources: tuple[Source, ...],
    root: Path,
    skeleton: Skeleton,
    point: Point | None,
    progress: Callable[[str, int, int], None],
) -> None:
    largest = max(recipe.phases, key=lambda phase: phase.height * phase.width)
    size = InputSpec(height=largest.height, width=largest.width)
    cuts: list[_Cut] = []
    offset = 0
    told: dict[str, str] = {}
    faults = Faults()
    with (folder / PIXELS).open("wb") as pixels, ThreadPoolExecutor() as pool:
        for number, source in enumerate(sources):
            people = read_people(source, root, skeleton)
            tally = _Tally(source=source, number=number, faults=people.faults, rules=recipe.labels, skeleton=skeleton, point=point)
            done = 0
            for chunk in _chunks(people.each, CHUNK):
                for person, image in zip(chunk, pool.map(_decode, chunk), strict=True):
                    if (cut := tally.cut(person, image, size)) is not None:
                        pixels.write(np.ascontiguousarray(cut.image).tobytes())
                        cuts.append(dataclasses.replace(cut, image=cut.image[:0], offset=offset, shape=cut.image.shape[:2]))
                        offset += cut.image.size
                        tally.kept += 1
                done += len(chunk)
                progress(source.name, min(done, people.count), people.count)
            if not tally.kept:
                raise InputError(f"source {source.name!r} has nobody to train on: {people.count} people, of them left out: {people.faults}")
            told[source.name] = "; ".join([str(tally), *map(str, people.findings)])
            faults.counts.update(people.faults.counts)
            faults.named.extend(people.faults.named)
    _save(folder / INDEX, cuts)
    listed = tuple(f"{kind}: {what}" for kind, what in faults.named)
    report = Report(sources=told, faults=dict(faults.counts), listed=listed)
    (folder / REPORT).write_text(json.dumps(to_document(report), indent=1), "utf-8")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Cut:
    image: npt.NDArray[np.uint8]
    name: str
    source: int
    box_xyxy: npt.NDArray[np.float64]
    keypoints: npt.NDArray[np.float32]
    truth: npt.NDArray[np.float32]
    thumbnail: npt.NDArray[np.float32]
    offset: int = 0
    shape: tuple[int, ...] = ()


@dataclass(slots=True, kw_only=True, eq=False)
class _Tally:
    """Turns the people of one source into cuts, and counts."""

    source: Source
    number: int
    faults: Faults
    rules: LabelRules
    skeleton: Skeleton
    point: Point | None
    kept: int = 0
    swapped: int = 0
    overruled: int = 0

    def __str__(self) -> str:
        repairs = [f"{self.swapped} with left and right exchanged"] * bool(self.swapped)
        repairs += [f"{self.overruled} labels replaced by the teacher's"] * bool(self.overruled)
        return ", ".join([f"{self.kept} people", *repairs, *([f"left out: {self.faults}"] if self.faults.counts else [])])

    def cut(self, person: Person, image: npt.NDArray[np.uint8] | InputError, size: InputSpec) -> _Cut | None:
        """Cut one person out of the picture, or count why not."""
        where = f"{self.source.name}: {person.name}"
        if isinstance(image, InputError):
            self.faults.add("broken pictures", str(image))
            return None
        box = person.box_xyxy if person.box_xyxy is not None else np.array([0.0, 0.0, image.shape[1], image.shape[0]])
        try:
            check_boxes(box[None], image.shape)
        except InputError as error:
            self.faults.add("boxes outside the picture", f"{where}: {error}")
            return None
        own = self._inside(person.keypoints, image, where)
        teacher = person.teacher
        if teacher is None and self.point is not None and self.source.labels != "own":
            teacher = self.point(image, box)
        merged: Merged = merge_labels(own, teacher, mode=self.source.labels, rules=self.rules, skeleton=self.skeleton, box_xyxy=box)
        # Without labels a person is of use to a teacher's heatmaps alone, which a keypoint teacher doesn't have.
        if not (merged.keypoints[:, 2] > 0).any() and (self.source.labels != "teacher" or teacher is not None):
            self.faults.add("people without labels", where)
            return None
        self.swapped += merged.swapped
        self.overruled += merged.overruled
        return _cut_out(image, box, merged.keypoints, own, size, name=person.name, source=self.number)

    def _inside(self, points: npt.NDArray[np.float32], image: npt.NDArray[np.uint8], where: str) -> npt.NDArray[np.float32]:
        """Drop labels that lie outside the picture."""
        height, width = image.shape[:2]
        outside = (points[:, 2] > 0) & ((points[:, :2] < -0.5) | (points[:, :2] > (width + 0.5, height + 0.5))).any(axis=1)
        outside |= ~np.isfinite(points).all(axis=1)
        if not outside.any():
            return points
        self.faults.add("keypoints outside the picture", f"{where}: {int(outside.sum())}")
        return np.where(outside[:, None], np.float32(0), points)


def _decode(person: Person) -> npt.NDArray[np.uint8] | InputError:
    try:
        return person.image()
    except InputError as error:
        return error


def _cut_out(
    image: npt.NDArray[np.uint8],
    box: npt.NDArray[np.float64],
    keypoints: npt.NDArray[np.float32],
    truth: npt.NDArray[np.float32],
    size: InputSpec,
    *,
    name: str,
    source: int,
) -> _Cut:
    centres, sizes = pad_boxes(box[None], size, Codec())
    reach = sizes[0] * CONTEXT / 2
    low = np.maximum(np.floor(centres[0] - reach), 0).astype(int)
    high = np.minimum(np.ceil(centres[0] + reach), image.shape[1::-1]).astype(int)
    piece = image[low[1] : high[1], low[0] : high[0]]
    shrink = min(1.0, MAX_ENLARGEMENT * size.height / sizes[0, 1])
    if shrink < 1:
        width, height = (max(1, round(side * shrink)) for side in piece.shape[1::-1])
        piece = cv2.resize(piece, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    factor = np.array(piece.shape[1::-1], np.float64) / (high - low)

    def moved(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        # Pixel centres: the middle of the first pixel is 0, its left edge -0.5.
        return np.column_stack([(points[:, :2] - low + 0.5) * factor - 0.5, points[:, 2]]).astype(np.float32)

    corners = (box.reshape(2, 2) - low) * factor
    return _Cut(
        image=piece,
        name=name,
        source=source,
        box_xyxy=corners.reshape(4),
        keypoints=moved(keypoints),
        truth=moved(truth),
        thumbnail=_thumbnail(piece),
    )


def _thumbnail(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    grey = cv2.cvtColor(cv2.resize(image, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey -= grey.mean()
    result: npt.NDArray[np.float32] = grey / np.float32(max(float(np.linalg.norm(grey)), 1e-6))
    return result


def _save(path: Path, cuts: list[_Cut]) -> None:
    np.savez(
        path,
        offsets=np.array([cut.offset for cut in cuts], np.int64),
        shapes=np.array([cut.shape for cut in cuts], np.int64),
        boxes_xyxy=np.stack([cut.box_xyxy for cut in cuts]),
        keypoints=np.stack([cut.keypoints for cut in cuts]),
        truth=np.stack([cut.truth for cut in cuts]),
        sources=np.array([cut.source for cut in cuts], np.int64),
        thumbnails=np.stack([cut.thumbnail for cut in cuts]),
        names=np.array([cut.name for cut in cuts]),
    )


def _load(folder: Path) -> Pack:
    try:
        with np.load(folder / INDEX, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        report = from_document(Report, parse_json((folder / REPORT).read_bytes(), where=REPORT), where=REPORT)
        pixels = Pixels(folder / PIXELS)
    except (OSError, ValueError, SpecError) as error:
        raise InputError(f"the decoded pictures in {str(folder)!r} are damaged ({error}); remove that folder") from None
    if len(pixels.array) != int(arrays["shapes"].prod(axis=1).sum()) * 3:
        raise InputError(f"the decoded pictures in {str(folder)!r} are incomplete; remove that folder")
    return Pack(pixels=pixels, report=report, **arrays)


def _chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
