"""Which tool wrote a file of COCO's form, where it left marks that others don't leave."""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import cast

__all__ = ["find_result_writer", "find_writer", "sample"]

_SAMPLE = 200
_Entry = Mapping[str, object]
_SLEAP_FRAME = re.compile(r".*_frame_\d{6}\.png")
_ROBOFLOW_NAME = re.compile(r".*\.rf\.[0-9A-Za-z]{16,}\.\w+")


def sample(entries: object) -> list[_Entry]:
    """Return the first objects of a list."""
    if not isinstance(entries, list):
        return []
    return [cast("_Entry", entry) for entry in islice(entries, _SAMPLE) if isinstance(entry, dict)]


def find_writer(document: Mapping[str, object], path: Path) -> str:
    """Return the tool that wrote an annotation file, or an empty text.

    The marks are those of CVAT's exporter (datumaro), Label Studio's converter, Roboflow's and COCO Annotator's exports, DeepLabCut's
    ``to_coco``, sleap-io's ``save_coco``, and of COCO's own files.
    """
    images, people = sample(document.get("images")), sample(document.get("annotations"))
    categories = sample(document.get("categories"))
    info = document.get("info")
    said = " ".join(str(value)[:100] for value in info.values() if isinstance(value, str)).lower() if isinstance(info, dict) else ""
    names = [name for image in images if isinstance(name := image.get("file_name"), str)]
    attributes = [value for person in people if isinstance(value := person.get("attributes"), dict)]
    marks = {
        "Roboflow": "roboflow" in said
        or path.name.endswith("_annotations.coco.json")
        or any(_ROBOFLOW_NAME.fullmatch(name) for name in names),
        "Label Studio": "label studio" in said,
        "DeepLabCut": any("individual" in person or "individual_id" in person for person in people)
        or any("labeled-data" in re.split(r"[/\\]", name) for name in names),
        "COCO Annotator": any("keypoint_colors" in category for category in categories) or any("dataset_id" in image for image in images),
        "CVAT": any("occluded" in each for each in attributes) or _is_datumaro(document, info),
        "SLEAP": any(set(each) == {"object_id"} for each in attributes)
        or (set(document) == {"images", "annotations", "categories"} and bool(names) and all(map(_SLEAP_FRAME.fullmatch, names))),
        "edgepose label": "keypoints of " in said and isinstance(info, dict) and set(info) == {"description"},
        "COCO": "coco consortium" in said or "microsoft coco" in said,
    }
    return next((tool for tool, found in marks.items() if found), "")


def find_result_writer(entries: Sequence[_Entry]) -> str:
    """Return the tool that wrote a list of detections or results: Ultralytics takes file names without suffix as ids."""
    ids = [(entry.get("image_id"), entry.get("file_name")) for entry in entries]
    named = any(isinstance(name, str) and Path(name).stem.lstrip("0") == str(number).lstrip("0") for number, name in ids)
    stems = any(isinstance(number, str) and not number.isdigit() for number, _ in ids)
    keypoints = any("keypoints" in entry and "bbox" in entry for entry in entries)
    return "Ultralytics" if named or (stems and keypoints) else ""


def _is_datumaro(document: Mapping[str, object], info: object) -> bool:
    """Datumaro writes the fields of ``info`` empty, and one licence without a name."""
    fields = {"contributor", "date_created", "description", "url", "version", "year"}
    empty = isinstance(info, dict) and set(info) == fields and not any(info.values())
    return empty and document.get("licenses") == [{"name": "", "id": 0, "url": ""}]
