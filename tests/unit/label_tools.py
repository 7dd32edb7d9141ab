"""Annotation files as labelling tools write them: the same people in the form of each.

Forms are those of CVAT's exporter (datumaro), Label Studio's converter, Roboflow's COCO export, DeepLabCut's ``DLCLoader.to_coco``,
sleap-io's ``save_coco`` and Ultralytics' ``save_json``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from people import draw_person

from edgepose.skeleton import get_skeleton

NAMES = get_skeleton("coco").keypoints
WIDTH, HEIGHT = 90, 120

Document = dict[str, Any]
Person = tuple[list[float], list[list[float]]]
"""A box (left, top, width, height) and keypoints (x, y, visibility)."""


def make_people(count: int = 4, seed: int = 0) -> list[Person]:
    """People who face the camera, one to a picture; the last keypoint is unlabelled."""
    random = np.random.default_rng(seed)
    people = []
    for _ in range(count):
        _, points, box = draw_person(random)
        rows = [[round(float(x), 2), round(float(y), 2), 2.0] for x, y in points]
        rows[-1] = [0.0, 0.0, 0.0]
        people.append(([round(float(side), 2) for side in (*box[:2], *(box[2:] - box[:2]))], rows))
    return people


def write_pictures(folder: Path, names: Sequence[str], seed: int = 0) -> None:
    random = np.random.default_rng(seed)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), random.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8))


def flat(rows: Sequence[Sequence[float]]) -> list[float]:
    return [value for row in rows for value in row]


def plain(people: Sequence[Person]) -> Document:
    """COCO's own form."""
    return {
        "images": [{"id": number + 1, "file_name": f"{number:03}.png", "width": WIDTH, "height": HEIGHT} for number in range(len(people))],
        "annotations": [
            {
                "id": number + 1,
                "image_id": number + 1,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": box,
                "area": round(0.6 * box[2] * box[3], 2),
                "keypoints": flat(rows),
                "num_keypoints": sum(row[2] > 0 for row in rows),
            }
            for number, (box, rows) in enumerate(people)
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(NAMES), "skeleton": []}],
    }


def cvat(people: Sequence[Person]) -> Document:
    """Empty fields of ``info``, a licence without a name, attributes, and a label of the task that has no skeleton."""
    document = plain(people)
    for image in document["images"]:
        image |= {"license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0}
    for annotation in document["annotations"]:
        annotation |= {"segmentation": [], "attributes": {"occluded": False, "rotation": 0.0}}
        annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    document["categories"] = [
        {**document["categories"][0], "supercategory": ""},
        {"id": 2, "name": "ball", "keypoints": [], "skeleton": []},
    ]
    fields = ("contributor", "date_created", "description", "url", "version", "year")
    return {"licenses": [{"name": "", "id": 0, "url": ""}], "info": dict.fromkeys(fields, ""), **document}


def label_studio(people: Sequence[Person]) -> Document:
    """Ids and categories from 0, paths of the upload, no number of keypoints."""
    document = plain(people)
    for number, image in enumerate(document["images"]):
        image |= {"id": number, "file_name": f"images\\5f3c1e2a-{number:03}.png"}
    for number, annotation in enumerate(document["annotations"]):
        annotation |= {"id": number, "image_id": number, "category_id": 0, "segmentation": [], "ignore": 0}
        del annotation["num_keypoints"]
    document["categories"] = [{"id": 0, "name": "person", "keypoints": list(NAMES)}]
    info = {"year": 2024, "version": "1.0", "description": "", "contributor": "Label Studio", "url": "", "date_created": "2024-04-11"}
    return {**document, "info": info}


def roboflow(people: Sequence[Person]) -> Document:
    """A category of the project without keypoints, the original names in ``extra``, no number of keypoints."""
    document = plain(people)
    for number, image in enumerate(document["images"]):
        name = f"IMG_{number}_png.rf.21d9ecc535939df6226dbf15204e64a{number}.png"
        image |= {"id": number, "license": 1, "file_name": name, "date_captured": "2024-09-10", "extra": {"name": f"IMG_{number}.png"}}
    for number, annotation in enumerate(document["annotations"]):
        annotation |= {"id": number, "image_id": number, "segmentation": []}
        del annotation["num_keypoints"]
    document["categories"] = [
        {"id": 0, "name": "people-Qg7R", "supercategory": "none"},
        {**document["categories"][0], "supercategory": "people"},
    ]
    info = {"year": "2024", "version": "1", "description": "Exported from roboflow.com", "contributor": "", "url": "", "date_created": ""}
    return {"info": info, "licenses": [{"id": 1, "url": "", "name": "CC BY 4.0"}], **document}


def deeplabcut(people: Sequence[Person]) -> Document:
    """Absolute paths below ``labeled-data``, individuals, nested keypoints, no areas."""
    document = plain(people)
    for number, image in enumerate(document["images"]):
        image["file_name"] = f"/home/lab/project/labeled-data/walk/img{number:03}.png"
    for annotation, (_, rows) in zip(document["annotations"], people, strict=True):
        annotation |= {"keypoints": rows, "individual": "individual1", "individual_id": 0}
        del annotation["area"]
    document["categories"] = [{"id": 1, "name": "animals", "supercategory": "animal", "keypoints": list(NAMES)}]
    return document


def sleap(people: Sequence[Person]) -> Document:
    """Nothing but three lists; frames of a video; tracks; boxes as wide as the keypoints."""
    document = plain(people)
    for number, image in enumerate(document["images"]):
        image["file_name"] = f"clip_frame_{number:06}.png"
    for annotation, (_, rows) in zip(document["annotations"], people, strict=True):
        points = np.array([row[:2] for row in rows if row[2] > 0])
        low, high = points.min(axis=0), points.max(axis=0)
        annotation |= {"bbox": [*low.tolist(), *(high - low).tolist()], "area": float((high - low).prod()), "attributes": {"object_id": 1}}
    return document


def ultralytics(people: Sequence[Person]) -> list[Document]:
    """Results of a pose model: the name of the picture without its suffix is its id."""
    return [
        {
            "image_id": f"frame_{number:03}",
            "file_name": f"frame_{number:03}.png",
            "category_id": 1,
            "bbox": box,
            "score": 0.91,
            "keypoints": flat([[x, y, 0.9] for x, y, _ in rows]),
        }
        for number, (box, rows) in enumerate(people)
    ]
