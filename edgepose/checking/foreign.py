"""Forms of labels that edgepose doesn't read, and how each tool exports one that it reads."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Foreign", "find_binary", "find_document", "find_list", "find_text", "find_xml"]

_LINES = 50
_YOLO = re.compile(r"\d{1,5}(?:\s+-?\d*\.?\d+(?:[eE]-?\d+)?){4,}\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A form of another tool.

    Attributes:
        what: with an article: "CVAT's XML".
        advice: what to do instead.
    """

    what: str
    advice: str


_LABEL_STUDIO = Foreign(
    what="Label Studio's own JSON",
    advice="export the project as COCO where your version writes keypoints there, or convert it with mmpose's "
    "tools/dataset_converters/labelstudio2coco.py",
)
_CVAT_XML = Foreign(what="CVAT's XML", advice="label with skeletons and export the task as 'COCO Keypoints 1.0'")
_VOC_XML = Foreign(
    what="a Pascal VOC XML file, which has boxes and no keypoints", advice="export COCO keypoints from the tool that wrote it"
)
_YOLO_LABELS = Foreign(
    what="YOLO labels: class, centre and size, then keypoints, as shares of the picture",
    advice="export COCO keypoints from the tool that labelled them (Roboflow: 'COCO'; CVAT: 'COCO Keypoints 1.0')",
)
_YOLO_DATA = Foreign(what="the description of a YOLO data set (data.yaml)", advice=_YOLO_LABELS.advice)
_DEEPLABCUT = (
    "in DeepLabCut 3 write COCO's form with DLCLoader.to_coco (deeplabcut.pose_estimation_pytorch), or load it in sleap-io and save COCO"
)
_DEEPLABCUT_CSV = Foreign(what="a DeepLabCut table (CollectedData….csv)", advice=_DEEPLABCUT)
_DEEPLABCUT_H5 = Foreign(what="a DeepLabCut table (HDF5)", advice=_DEEPLABCUT)
_DEEPLABCUT_CONFIG = Foreign(what="a DeepLabCut project's config.yaml", advice=_DEEPLABCUT)
_SLEAP = Foreign(
    what="SLEAP's labels (.slp)", advice='write COCO\'s form with sleap-io: sio.save_coco(sio.load_slp("labels.slp"), "labels.json")'
)
_HDF5 = Foreign(what="an HDF5 file", advice="if it holds labels, export COCO keypoints from the tool that wrote it")
_MATLAB = Foreign(what="a MATLAB file", advice="MPII's mpii_gt_val.mat is read where it lies beside mpii_val.json: check that one")
_LABELME = Foreign(what="a LabelMe file of one picture", advice="convert the folder to COCO keypoints, with labelme2coco for instance")
_VIA = Foreign(what="a VGG Image Annotator project", advice="export COCO keypoints: CVAT can, after an import of the pictures")
_OPENPOSE = Foreign(what="OpenPose's keypoints of one picture", advice="collect them in COCO's results form")
_DATUMARO = Foreign(what="Datumaro's own JSON", advice="datum convert -if datumaro -f coco_person_keypoints")
_CONFIG = Foreign(what="a part of a Hugging Face folder", advice="name the folder")

_BINARY: tuple[tuple[bytes, tuple[bytes, ...], Foreign], ...] = (
    (b"\x89HDF\r\n\x1a\n", (b"df_with_missing", b"keypoints/table"), _DEEPLABCUT_H5),
    (b"\x89HDF\r\n\x1a\n", (b"pred_points", b"tracks_json", b"videos_json"), _SLEAP),
    (b"\x89HDF\r\n\x1a\n", (b"",), _HDF5),
    (b"MATLAB 5.0", (b"",), _MATLAB),
)


def find_binary(head: bytes, content: Callable[[], bytes]) -> Foreign | None:
    """Recognise a binary file by its first bytes, and by names in ``content``, which is read where that matters."""
    for magic, names, foreign in _BINARY:
        if head.startswith(magic) and (names == (b"",) or any(name in content() for name in names)):
            return foreign
    return None


def find_xml(text: str) -> Foreign | None:
    """Recognise an XML file by its root."""
    body = re.sub(r"<\?.*?\?>|<!--.*?-->|\s+", " ", text[:4096], flags=re.DOTALL).strip()
    if body.startswith("<annotations>"):
        return _CVAT_XML
    return _VOC_XML if body.startswith(("<annotation>", "<annotation ")) else None


def find_text(text: str) -> Foreign | None:
    """Recognise tables and settings by their first lines."""
    lines = [line for line in text.splitlines()[:_LINES] if line.strip()]
    if len(lines) >= 2 and lines[0].startswith("scorer,") and lines[1].startswith(("bodyparts,", "individuals,")):
        return _DEEPLABCUT_CSV
    # The last line of a long file may be cut.
    if lines and all(_YOLO.fullmatch(line) for line in lines[: max(1, len(lines) - 1)]):
        return _YOLO_LABELS
    keys = {line.partition(":")[0].strip() for line in lines if re.match(r"\w+\s*:", line)}
    if {"Task", "scorer"} <= keys:
        return _DEEPLABCUT_CONFIG
    return _YOLO_DATA if "names" in keys and keys & {"train", "val", "kpt_shape", "nc"} else None


def find_document(document: Mapping[str, object]) -> Foreign | None:
    """Recognise a JSON object by its names."""
    names = set(document)
    people = document.get("people")
    first = people[0] if isinstance(people, list) and people else None
    tests = (
        ({"shapes", "imagePath"} <= names, _LABELME),
        (bool(names & {"_via_settings", "_via_img_metadata"}), _VIA),
        (isinstance(first, dict) and "pose_keypoints_2d" in first, _OPENPOSE),
        ({"items", "categories"} <= names and isinstance(document["categories"], dict), _DATUMARO),
        ({"data"} < names and bool(names & {"annotations", "completions", "predictions"}), _LABEL_STUDIO),
        (bool(names & {"model_type", "architectures", "image_processor_type", "weight_map"}), _CONFIG),
    )
    return next((foreign for found, foreign in tests if found), None)


def find_list(first: Mapping[str, object]) -> Foreign | None:
    """Recognise a JSON list by its first object."""
    names = set(first)
    tasks = "data" in names and names & {"annotations", "completions", "predictions"}
    plain = {"annotator", "annotation_id"} <= names or {"annotator", "lead_time"} <= names
    return _LABEL_STUDIO if tasks or plain else None
