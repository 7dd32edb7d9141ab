"""Which categories of a COCO file have the model's keypoints."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepose.errors import InputError, SpecError
from edgepose.evaluation import kinds
from edgepose.evaluation.coco_file import Entry, list_entries, shown
from edgepose.evaluation.identities import plain_id
from edgepose.evaluation.keypoint_names import agreement
from edgepose.findings import Findings
from edgepose.skeleton import MAX_KEYPOINTS, get_skeleton, list_skeletons

__all__ = [
    "WHOLEBODY_PARTS",
    "Form",
    "KeypointSets",
    "check_count",
    "collect_keypoint_sets",
    "count_listed",
    "find_form",
    "list_categories",
]

WHOLEBODY_PARTS = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
"""COCO-WholeBody's lists of keypoints, in the order of a model's 133 heatmaps, and how many each holds."""

KeypointSets = dict[tuple[str, ...], dict[str, object]]
"""Names of keypoints → the categories that have them: ``plain_id`` → the id as stated."""

_LOOKED_AT = 1000  # annotations that say how many keypoints there are


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Form:
    """What each annotation has to look like.

    Attributes:
        categories: ``plain_id`` of those that have the keypoints → the id as stated; empty where the file doesn't say.
        names: of the keypoints, or empty.
        parts: name of each list of keypoints → number of keypoints.
    """

    categories: dict[str, object]
    names: tuple[str, ...]
    parts: dict[str, int]

    @property
    def only(self) -> str | None:
        """The one category there is, if so."""
        return next(iter(self.categories)) if len(self.categories) == 1 else None


def list_categories(document: object, path: Path, findings: Findings) -> list[Entry]:
    """Return the categories of a COCO document; none where it has no such list.

    Raises:
        SpecError: there is something else in their place.
    """
    if isinstance(document, dict) and document.get("categories") is None:
        findings.add(kinds.NO_CATEGORIES, count=0)
        return []
    return list_entries(document, path, "categories")


def find_form(
    entries: list[Entry], categories: list[Entry], path: Path, keypoints: int | None, names: Sequence[str], findings: Findings
) -> Form:
    """Find the categories with the model's keypoints, and how many the annotations list.

    Args:
        entries: the annotations.
        categories: of the file.
        path: the file, for messages.
        keypoints: of the model; ``None`` takes what the file has.
        names: of the model's keypoints; empty where nobody stated them.
        findings: is told what was chosen.

    Raises:
        InputError: the file annotates another number of keypoints.
        SpecError: it has none, or several sets of which none or several could be meant.
    """
    sets = collect_keypoint_sets(categories, path)
    chosen = _choose(sets, path, keypoints, names, findings)
    ids = sets.get(chosen, {})
    listed = count_listed(entries, ids)
    count = len(chosen) or listed
    if not count:
        raise SpecError(f"{path}: neither its categories nor its annotations have keypoints; expected a COCO keypoint file")
    if count > listed > 0 and (keypoints is None or listed == keypoints) and not _is_wholebody(entries, keypoints):
        # Human-Art names 21 keypoints and has COCO's 17 in its lists.
        findings.add(kinds.MORE_NAMES, f"{count} names, {listed} keypoints in each list", count=count - listed)
        chosen, count = chosen[:listed], listed
    keypoints = count if keypoints is None else keypoints
    wholebody = _is_wholebody(entries, keypoints)
    if not (wholebody and count == WHOLEBODY_PARTS["keypoints"]):
        check_count(count, keypoints, chosen, path)
    if count > MAX_KEYPOINTS:
        raise SpecError(f"{path} annotates {count} keypoints; allowed: at most {MAX_KEYPOINTS}")
    if not chosen:
        findings.add(kinds.FILE_UNNAMED, count=0)
    return Form(categories=ids, names=chosen, parts=WHOLEBODY_PARTS if wholebody else {"keypoints": count})


def check_count(count: int, keypoints: int, names: Sequence[str], path: Path) -> None:
    """Refuse a file that annotates another number of keypoints than the model finds.

    Raises:
        InputError: it does.
    """
    if count == keypoints:
        return
    like = [name for name in list_skeletons() if len(get_skeleton(name).keypoints) == count]
    listed = f" ({', '.join(name if name.isprintable() else repr(name) for name in names[:3])[:80]} …)" if names else ""
    raise InputError(
        f"{path} annotates {count} keypoints{listed}, but the model finds {keypoints}: take the annotations of the model's own data set, "
        f"or a model of {count} keypoints" + (f", whose skeleton is {' or '.join(like)}" if like else "")
    )


def collect_keypoint_sets(categories: list[Entry], path: Path) -> KeypointSets:
    """Return the different sets of keypoints that categories name.

    Raises:
        SpecError: a category with keypoints has no id, or names too many.
    """
    sets: KeypointSets = {}
    for number, category in enumerate(categories):
        names = category.get("keypoints")
        if not isinstance(names, list) or not names:
            continue
        identity = plain_id(category.get("id"))
        if identity is None:
            raise SpecError(f"{path}: category {number}: 'id' is {shown(category.get('id'))}; expected a whole number or text")
        if len(names) > MAX_KEYPOINTS:
            raise SpecError(f"{path}: category {number} names {len(names)} keypoints; allowed: at most {MAX_KEYPOINTS}")
        # Names may be numbers; what else stands there is no name of anything.
        texts = tuple(map(_name_of, names))
        sets.setdefault(texts, {})[identity] = category.get("id")
    return sets


def _name_of(keypoint: object) -> str:
    """A keypoint's name: text, a number, or an object that has one."""
    name = keypoint.get("name") if isinstance(keypoint, dict) else keypoint
    return name if isinstance(name, str) else shown(keypoint)


def _choose(sets: KeypointSets, path: Path, keypoints: int | None, names: Sequence[str], findings: Findings) -> tuple[str, ...]:
    """Choose the set with the model's names, or where there are none, the one with their number."""
    if len(sets) <= 1:
        return next(iter(sets), ())
    whole = [each for each in sets if names and len(each) >= len(names) and agreement(each, names) == len(names)]
    counted = [each for each in sets if len(each) == keypoints]
    for some in (whole, counted):
        if len(some) == 1:
            others = [category for each, ids in sets.items() if each != some[0] for category in ids]
            findings.add(kinds.OTHER_KEYPOINTS, f"category {shown(others[0])}", count=len(others))
            return some[0]
    described = "; ".join(f"{len(each)}: {shown(list(each[:3]))}" for each in list(sets)[:4])
    raise SpecError(
        f"{path}: its categories name {len(sets)} different sets of keypoints ({described}); expected one, or one that is the model's: "
        "leave the others out of the file"
    )


def count_listed(entries: list[Entry], ids: dict[str, object]) -> int:
    """Return how many keypoints the lists of these categories (all, where there are none) hold, most often; 0 where there is no list."""
    counts: Counter[int] = Counter()
    for entry in entries:
        points = entry.get("keypoints")
        if not isinstance(points, list) or not points or (ids and (category := plain_id(entry.get("category_id"))) and category not in ids):
            continue
        nested = all(isinstance(each, list) for each in points)
        counts[len(points) if nested else len(points) // 3] += 1
        if counts.total() >= _LOOKED_AT:
            break
    return counts.most_common(1)[0][0] if counts else 0


def _is_wholebody(entries: list[Entry], keypoints: int | None) -> bool:
    return keypoints == sum(WHOLEBODY_PARTS.values()) and any("face_kpts" in entry for entry in entries)
