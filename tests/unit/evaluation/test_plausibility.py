"""Files in another unit or order are refused or warned of; right ones pass, however bad the detector."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_like import Document, write

from edgepose.errors import InputError
from edgepose.evaluation.annotations import load_annotations
from edgepose.evaluation.dataset import Annotations
from edgepose.evaluation.detections import detected_people
from edgepose.findings import Findings
from edgepose.skeleton import get_skeleton

WIDTH, HEIGHT = 640, 480


def make(people: int = 30, seed: int = 0) -> Document:
    """Pictures of 640×480 with two people each, whose keypoints fill most of their boxes, a few of them unlabelled."""
    random = np.random.default_rng(seed)
    annotations = []
    for number in range(people):
        width, height = random.uniform(30, 250), random.uniform(60, 300)
        left, top = random.uniform(0, WIDTH - width), random.uniform(0, HEIGHT - height)
        points = np.concatenate([[left, top] + random.uniform(0.05, 0.95, (17, 2)) * [width, height], np.full((17, 1), 2)], axis=1)
        points[random.uniform(size=17) < 0.3] = 0
        annotations.append(
            {
                "id": number + 1,
                "image_id": number // 2,
                "category_id": 1,
                "bbox": [left, top, width, height],
                "area": 0.5 * width * height,
                "iscrowd": 0,
                "keypoints": points.ravel().tolist(),
            }
        )
    images = [{"id": number, "file_name": f"{number}.jpg", "width": WIDTH, "height": HEIGHT} for number in range((people + 1) // 2)]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "keypoints": list(get_skeleton("coco").keypoints)}]}


def read(folder: Path, document: Document) -> tuple[Annotations, list[str]]:
    findings = Findings()
    return load_annotations(write(folder, document), keypoints=17, findings=findings), [finding.code for finding in findings]


Box = Sequence[float]


def boxes(change: Callable[..., Box]) -> Callable[[Document], None]:
    def apply(document: Document) -> None:
        for annotation in document["annotations"]:
            annotation["bbox"] = list(change(*annotation["bbox"]))

    return apply


def points(change: Callable[..., Box]) -> Callable[[Document], None]:
    def apply(document: Document) -> None:
        for annotation in document["annotations"]:
            rows = np.reshape(annotation["keypoints"], (-1, 3))
            annotation["keypoints"] = [
                value for x, y, v in rows.tolist() for value in (*(change(x, y, *annotation["bbox"]) if v else (0, 0)), v)
            ]

    return apply


def as_corners(left: float, top: float, width: float, height: float) -> Box:
    return left, top, left + width, top + height


def as_centre(left: float, top: float, width: float, height: float) -> Box:
    return left + width / 2, top + height / 2, width, height


def normalise(left: float, top: float, width: float, height: float) -> Box:
    return left / WIDTH, top / HEIGHT, width / WIDTH, height / HEIGHT


@pytest.mark.parametrize("people", [1, 2, 30])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (boxes(as_corners), "boxes look like left, top, right, bottom.*write left, top, width, height"),
        (boxes(as_centre), "boxes look like centre and size"),
        (boxes(normalise), r"annotated boxes are normalised.*\(the first is \[0\..*multiply them by the width"),
        (points(lambda x, y, *_: (x / WIDTH, y / HEIGHT)), "keypoints are normalised"),
        (points(lambda x, y, left, top, *_: (x - left, y - top)), "relative to their box"),
        (points(lambda x, y, *_: (y, x)), "x and y look as if they were exchanged"),
        (boxes(lambda left, top, width, height: (top, left, height, width)), "x and y look as if they were exchanged"),
    ],
)
def test_annotations_in_another_unit_or_order(tmp_path: Path, change: Callable[[Document], None], message: str, people: int) -> None:
    document = make(people, seed=6)
    change(document)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, document)
    assert "annotations.json" in str(caught.value)


def test_right_annotations_pass(tmp_path: Path) -> None:
    for seed in range(60):
        assert read(tmp_path, make(people=1 + seed % 4, seed=seed))[1] == []


def test_people_cut_out_of_their_pictures_pass(tmp_path: Path) -> None:
    """Boxes near the corner read as left, top, right, bottom nearly as well."""
    document = make(20)
    for image in document["images"]:
        image |= {"width": 2000, "height": 2000}
    for number, annotation in enumerate(document["annotations"]):
        left, top, width, height = annotation["bbox"]
        annotation["keypoints"] = [
            value - (left - number if k % 3 == 0 else top - number if k % 3 == 1 else 0) if annotation["keypoints"][k - k % 3 + 2] else 0
            for k, value in enumerate(annotation["keypoints"])
        ]
        annotation["bbox"] = [number, number, width, height]
    assert read(tmp_path, document)[1] == []


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        (points(lambda x, y, *_: (x / 3, y / 3)), ["keypoints-outside-box"]),
        (boxes(lambda *box: np.multiply(box, 100 / WIDTH).tolist()), ["boxes-percent", "keypoints-outside-box", "areas-odd"]),
    ],
)
def test_strange_annotations_are_warned_of(tmp_path: Path, change: Callable[[Document], None], codes: list[str]) -> None:
    document = make(seed=3)
    change(document)
    assert read(tmp_path, document)[1] == codes


def detect(document: Document, form: Callable[..., Box], *, found: float, noise: float = 0.03, wrong: int = 3) -> list[dict[str, Any]]:
    """A detector that finds a share of the people, not exactly, and for each some that aren't there, with lower scores."""
    random = np.random.default_rng(1)
    detections = []
    for annotation in document["annotations"]:
        _, _, width, height = annotation["bbox"]
        moved = np.add(annotation["bbox"], random.normal(0, noise, 4) * [width, height, width, height]).tolist()
        somewhere = [
            [*random.uniform(0, [WIDTH / 2, HEIGHT / 2]).tolist(), *random.uniform(5, [WIDTH / 2, HEIGHT / 2]).tolist()]
            for _ in range(wrong)
        ]
        for number, box in enumerate([moved, *somewhere] if random.uniform() < found else somewhere):
            detections.append({"image_id": annotation["image_id"], "category_id": 1, "bbox": list(form(*box)), "score": 0.9 / (number + 1)})
    return detections


def look(folder: Path, document: Document, detections: list[dict[str, Any]]) -> list[str]:
    annotations, _ = read(folder, document)
    findings = Findings()
    detected_people(write(folder, detections, "d.json"), annotations, findings=findings)
    return [finding.code for finding in findings]


@pytest.mark.parametrize(("found", "noise", "wrong"), [(1, 0, 0), (1, 0.03, 3), (0.95, 0.1, 20), (0.4, 0.05, 3)])
def test_right_detections_pass(tmp_path: Path, found: float, noise: float, wrong: int) -> None:
    for seed in range(5):
        document = make(seed=seed)
        assert look(tmp_path, document, detect(document, lambda *box: box, found=found, noise=noise, wrong=wrong)) == []


@pytest.mark.parametrize("found", [1, 0.4])
@pytest.mark.parametrize(
    ("form", "message"),
    [
        (as_corners, "read as left, top, right, bottom, .* otherwise"),
        (as_centre, "read as centre, width, height"),
        (lambda left, top, width, height: (top, left, top + height, left + width), "read as top, left, bottom, right"),
        (normalise, "detections are normalised"),
    ],
)
def test_detections_in_another_unit_or_order(tmp_path: Path, form: Callable[..., Box], message: str, found: float) -> None:
    document = make(seed=2)
    with pytest.raises(InputError, match=message) as caught:
        look(tmp_path, document, detect(document, form, found=found))
    assert "d.json" in str(caught.value)


@pytest.mark.parametrize("form", [lambda *box: np.multiply(box, 0.3).tolist(), lambda *box: np.add(box, [300, 200, 0, 0]).tolist()])
def test_detections_of_something_else_are_warned_of(tmp_path: Path, form: Callable[..., Box]) -> None:
    document = make(seed=4)
    assert look(tmp_path, document, detect(document, form, found=1, wrong=0))[0] == "detections-overlap-few"


def test_a_picture_full_of_boxes_costs_little(tmp_path: Path) -> None:
    document = make(2)
    detections = detect(document, lambda *box: box, found=1, wrong=5000)
    assert look(tmp_path, document, detections) == []
