"""Annotations and detections from strangers: any value anywhere ends in figures or in an error that says what is wrong."""

import copy
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_like import Document, detect, load, make_document, make_spec

from edgepose.distillation.readers.coco import read_coco
from edgepose.distillation.recipe import Source
from edgepose.errors import EdgePoseError
from edgepose.evaluation import plausibility
from edgepose.evaluation.annotations import load_annotations
from edgepose.evaluation.detections import detected_people
from edgepose.evaluation.people import annotated_people
from edgepose.evaluation.picture_files import locate_pictures
from edgepose.evaluation.protocols import choose_protocol
from edgepose.findings import Findings
from edgepose.skeleton import get_skeleton

MUTATIONS = 400
COCO = get_skeleton("coco")

DEEP: Any = []
for _ in range(60):
    DEEP = [DEEP]

HOSTILE = [
    *(None, True, False, 0, -1, 1, 2, 3, 1.5, -0.0, 1e-320, 1e9, 1e12, 1e300, float("nan"), float("inf"), -float("inf")),
    *(2**31, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**19, 10**99, -(10**99), 10**399),
    *(
        "",
        " ",
        "1",
        "01",
        "1.0",
        "1e5",
        "1e999",
        "nan",
        "9" * 400,
        "x" * 5000,
        "\x1b[31m\r\n",
        "\ud800",
        "a\0b",
        "../../x",
        "C:\\x",
        "點",
        "１",
    ),
    *(
        [],
        {},
        [[]],
        [{}],
        [None] * 4,
        [1e300] * 51,
        [10**99] * 51,
        [float("nan")] * 51,
        ["\ud800"] * 17,
        [[1, 2, 2]] * 17,
        [1] * 5000,
        DEEP,
    ),
    *({"id": 1}, {"x": 1, "y": 2, "w": 3, "h": 4}, {"counts": [10**99]}, {"counts": "abc", "size": [1, 1]}, {"\ud800": "\x1b"}),
]


def mutate(document: Any, random: np.random.Generator) -> Any:
    """Replace, delete, double or move one to three values anywhere in a document."""
    changed = copy.deepcopy(document)
    for _ in range(random.integers(1, 4)):
        at, steps = changed, int(random.integers(1, 6))
        while steps and isinstance(at, dict | list) and at:
            key = random.choice(list(at)) if isinstance(at, dict) else int(random.integers(len(at)))
            key = str(key) if isinstance(at, dict) else key
            below = at[key]
            if steps == 1 or not isinstance(below, dict | list) or not below:
                _change(at, key, random)
                break
            at, steps = below, steps - 1
    return changed


def _change(at: Any, key: Any, random: np.random.Generator) -> None:
    kind = random.integers(6)
    if kind == 0:
        del at[key]
    elif kind == 1 and isinstance(at, list):
        at.append(copy.deepcopy(at[key]))
    elif kind == 2 and isinstance(at[key], list):
        at[key] = {str(number): value for number, value in enumerate(at[key])}
    else:
        at[key] = copy.deepcopy(HOSTILE[int(random.integers(len(HOSTILE)))])


def small(seed: int) -> Document:
    document = make_document(seed, pictures=3)
    for annotation in document["annotations"]:
        annotation["segmentation"] = [[1, 2, 30, 2, 30, 40, 1, 40]]
    return document


def documents() -> Iterator[tuple[Document, Any]]:
    random = np.random.default_rng(11)
    for number in range(MUTATIONS):
        base = small(number % 7)
        if number % 3 == 0:
            yield mutate(base, random), None
            continue
        detections = [
            {"image_id": image["id"], "category_id": 1, "bbox": [10, 20, 80, 150], "score": 0.5}
            for image in base["images"]
            for _ in range(2)
        ]
        yield base if number % 3 == 1 else mutate(base, random), mutate(detections, random)


def test_mutated_documents_are_read_or_refused(tmp_path: Path) -> None:
    path, boxes = tmp_path / "a.json", tmp_path / "d.json"
    read = scored = 0
    messages: list[str] = []
    for document, detections in documents():
        path.write_text(json.dumps(document))
        findings = Findings()
        try:
            annotations = load_annotations(path, keypoints=17, names=COCO.keypoints, findings=findings)
            protocol = choose_protocol(None, annotations, COCO, findings=findings)
            people = annotated_people(annotations)
            if detections is not None:
                boxes.write_text(json.dumps(detections))
                people = detected_people(boxes, annotations, findings=findings)
        except EdgePoseError as error:
            messages.append(str(error))
            continue
        read += 1
        assert np.isfinite(annotations.keypoints).all()
        assert np.isfinite(annotations.boxes_xywh).all()
        assert len(set(annotations.picture_ids.tolist())) == len(annotations.file_names)
        assert len(set(annotations.ids.tolist())) == len(annotations.ids)
        assert np.isfinite(people.boxes_xyxy).all()
        assert np.isfinite(people.scores).all()
        for finding in findings:
            assert str(finding).isprintable()
            assert finding.severity != "error"
        locate_pictures(tmp_path, annotations.file_names, np.ones(len(annotations.file_names), np.bool_), findings)
        if len(people) and read % 25 == 0:
            keypoints = np.tile([[20.0, 30.0, 0.5]], (len(people), 17, 1))
            score = protocol.score(annotations, people, keypoints, make_spec())
            assert all(np.isnan(value) or 0 <= value <= 1 for value in score.metrics.values())
            scored += 1
    assert min(read, len(messages)) > MUTATIONS // 10, "mutations of both kinds"
    assert all(message.isprintable() and len(message) < 2000 for message in messages)
    assert scored > 2


def test_mutated_documents_are_trained_on_or_refused(tmp_path: Path) -> None:
    for picture in small(0)["images"]:
        (tmp_path / picture["file_name"]).touch()
    read = refused = 0
    random = np.random.default_rng(12)
    for _ in range(MUTATIONS // 2):
        (tmp_path / "a.json").write_text(json.dumps(mutate(small(0), random)))
        try:
            people = read_coco(Source(name="people", path="a.json"), tmp_path, COCO)
            for person in people.each:
                assert person.box_xyxy is not None
                assert np.isfinite(person.box_xyxy).all()
                assert np.isfinite(person.keypoints).all()
                read += 1
        except EdgePoseError as error:
            refused += str(error).isprintable()
            continue
        assert all(text.isprintable() for pair in people.faults.named for text in pair)
        assert all(str(finding).isprintable() for finding in people.findings)
    assert read > MUTATIONS // 2
    assert refused > MUTATIONS // 20


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["annotations"][0].update(keypoints=[1] * 120_000),
        lambda document: document["annotations"][0].update(keypoints=[[1, 2, 2]] * 20_000),
        lambda document: document["categories"][0].update(keypoints=["k"] * 100_000),
        lambda document: document["images"][0].update(width=10**12, height=10**12),
        lambda document: document["annotations"][0].update(segmentation=[[1, 2, 3, 4, 5, 6]] * 20_000, area=0),
    ],
)
def test_no_number_in_a_file_makes_memory(tmp_path: Path, change: Any) -> None:
    document = small(0)
    change(document)
    text = json.dumps(document)
    path = tmp_path / "a.json"
    path.write_text(text)
    tracemalloc.start()
    try:
        load_annotations(path, keypoints=17, names=COCO.keypoints)
    except EdgePoseError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 40 * len(text) + 2e7


def test_no_two_lists_are_compared_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody on one picture, and each detection there, too."""
    document = small(0)
    first = next(annotation for annotation in document["annotations"] if annotation["num_keypoints"] and not annotation["iscrowd"])
    document["annotations"] = [first | {"id": number, "bbox": [number % 300, 5, 80, 90]} for number in range(600)]
    annotations = load(tmp_path, document)
    compared = []
    overlaps = plausibility._overlaps
    monkeypatch.setattr(plausibility, "_overlaps", lambda *boxes: compared.append(tuple(map(len, boxes))) or overlaps(*boxes))
    path = tmp_path / "d.json"
    path.write_text(json.dumps(detect(annotations)))
    assert len(detected_people(path, annotations)) > 500
    assert compared
    assert max(max(pair) for pair in compared) <= 100
