"""Synthetic data sets of COCO's form, and what a middling model would find in them."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepose.evaluation.annotations import load_annotations
from edgepose.evaluation.dataset import Annotations, People
from edgepose.skeleton import Skeleton, get_skeleton
from edgepose.spec import Architecture, ModelSpec, Provenance

Document = dict[str, Any]


def make_spec(skeleton: Skeleton | str = "coco") -> ModelSpec:
    """The spec of a model that nobody runs."""
    chosen = get_skeleton(skeleton) if isinstance(skeleton, str) else skeleton
    architecture = Architecture(dim=48, depth=2, heads=3, head="simple")
    return ModelSpec(name="test", architecture=architecture, skeleton=chosen, provenance=Provenance(source="nowhere"))


def make_document(
    seed: int = 0, *, pictures: int = 40, keypoints: int = 17, categories: tuple[int, ...] = (1,), names: tuple[str, ...] | None = None
) -> Document:
    """Pictures with none to five people: small, medium and large ones, crowds, people without labels. Ids are shuffled."""
    random = np.random.default_rng(seed)
    names = names or get_skeleton("coco").keypoints[:keypoints]
    ids = (random.permutation(pictures) * 7 + 3).tolist()
    annotations = []
    numbers = (random.permutation(pictures * 5) + 1).tolist()
    for picture in ids:
        for _ in range(random.integers(0, 6)):
            side = np.exp(random.uniform(np.log(15), np.log(300), 2))
            corner = random.uniform(-5, 300, 2)
            points = np.concatenate([corner + side * random.uniform(0.05, 0.95, (keypoints, 2)), random.integers(0, 3, (keypoints, 1))], 1)
            kind = random.uniform()
            if kind < 0.15:
                points[:, 2] = 0
            points[points[:, 2] == 0] = 0
            annotations.append(
                {
                    "id": numbers.pop(),
                    "image_id": picture,
                    "category_id": int(random.choice(categories)),
                    "bbox": [*corner.tolist(), *side.tolist()],
                    "area": float(side.prod() * random.uniform(0.3, 0.8)),
                    "iscrowd": int(kind > 0.93),
                    "keypoints": points.ravel().tolist(),
                    "num_keypoints": int((points[:, 2] > 0).sum()),
                }
            )
    random.shuffle(annotations)
    return {
        "images": [{"id": picture, "file_name": f"{picture:06}.jpg", "width": 500, "height": 400} for picture in ids],
        "annotations": annotations,
        "categories": [{"id": category, "name": f"kind {category}", "keypoints": list(names)} for category in categories],
    }


def write(folder: Path, document: object, name: str = "annotations.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(document))
    return path


def load(folder: Path, document: Document, *, keypoints: int = 17) -> Annotations:
    return load_annotations(write(folder, document), keypoints=keypoints)


def find(annotations: Annotations, people: People, seed: int = 0, *, noise: float = 0.06, ties: bool = True) -> NDArray[np.float64]:
    """Keypoints near those of somebody on the picture, (M, K, 3), some far off; scores with ties where asked."""
    random = np.random.default_rng(seed)
    count = annotations.keypoints.shape[1]
    found = np.zeros((len(people), count, 3))
    for row, picture in enumerate(people.pictures):
        box = people.boxes_xyxy[row]
        side = box[2:] - box[:2]
        there = np.flatnonzero((annotations.pictures == picture) & (annotations.keypoints[:, :, 2] > 0).any(axis=1))
        own = people.annotations[row]
        guess = box[:2] + side * random.uniform(0.1, 0.9, (count, 2))
        if own >= 0 or len(there):
            truth = annotations.keypoints[own if own >= 0 else random.choice(there)]
            labelled = truth[:, 2] > 0
            guess[labelled] = truth[labelled, :2] + random.normal(0, noise * random.choice([0.2, 1, 4]), (labelled.sum(), 2)) * side
        found[row, :, :2] = guess
        found[row, :, 2] = random.uniform(0, 1, count)
        if ties:
            found[row, :, 2] = random.choice([0.3, 0.6, 0.9])
    return found


def detect(annotations: Annotations, seed: int = 0, *, per_picture: int = 3) -> list[Document]:
    """A detector's boxes: people's, moved; some of nobody, some twice."""
    random = np.random.default_rng(seed)
    boxes = []
    for row in range(len(annotations.ids)):
        for _ in range(random.integers(0, per_picture)):
            left, top, width, height = annotations.boxes_xywh[row]
            move = random.normal(0, 4, 2)
            boxes.append((int(annotations.pictures[row]), [left + move[0], top + move[1], width, height], int(annotations.categories[row])))
    boxes += [(picture, [10.0, 20.0, 80.0, 150.0], int(annotations.categories[0])) for picture in range(0, len(annotations.picture_ids), 3)]
    random.shuffle(boxes)
    return [
        {
            "image_id": int(annotations.picture_ids[picture]),
            "category_id": category,
            "bbox": box,
            "score": float(random.choice([0.2, 0.5, 0.9])),
        }
        for picture, box, category in boxes
    ]


def hide_package(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Let a package look as if it weren't installed."""

    class Nowhere:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name.partition(".")[0] == package:
                raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Nowhere(), *sys.meta_path])
