"""Ids are matched by what they say; what several pictures could be, none is."""

from pathlib import Path

import numpy as np
import pytest
from coco_like import load, make_document

from edgepose.evaluation.dataset import select_pictures
from edgepose.evaluation.identities import Identities, number_ids, plain_id
from edgepose.evaluation.people import annotated_people


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (7.0, "7"),
        (" 7 ", "7"),
        ("7.0", "7"),
        (-3, "-3"),
        (0, "0"),
        ("007", "007"),
        ("a b", "a b"),
        (2.0**53, repr(2.0**53)),  # which of two whole numbers it was, nobody knows
        (2**53, str(2**53)),
        (17284612345678901234, "17284612345678901234"),
        (True, None),
        (None, None),
        (1.5, None),
        (float("nan"), None),
        (float("inf"), None),
        ("", None),
        ("x" * 5000, None),
        (10**200, None),
        ([1], None),
        ({}, None),
    ],
)
def test_what_an_id_says(value: object, text: str | None) -> None:
    assert plain_id(value) == text


def test_numbers_of_ids_keep_their_order() -> None:
    assert number_ids(["9", "-4", "100"]) == [9, -4, 100]
    assert number_ids([str(10**20), "9", "b", "a"]) == [2, 1, 4, 3]


def test_pictures_by_id() -> None:
    identities = Identities([1, "07", "x", 2.0**60])
    found = [identities.find(each) for each in (1, "1", 1.0, "01", 7, "07", "007", "x", 2.0**60, 2**60, "y", None, [1])]
    assert found == [0, 0, 0, 0, 1, 1, 1, 2, 3, -1, -1, -1, -1]
    assert Identities(["7", "07", "007"]).find(7) == 0, "the one that says so"
    assert Identities(["07", "007"]).find(7) == -1, "either could be"


def test_pictures_by_name() -> None:
    identities = Identities([5, 6, 7], ["cam1\\a.jpg", "cam2/a.jpg", "cam2/000139.jpg"])
    found = [identities.find_by_name(each) for each in ("cam1/a.jpg", "cam1/a", "cam2\\a", "a", "a.jpg", 139, "000139", "139", "b", None)]
    assert found == [0, 0, 1, -1, -1, 2, 2, 2, -1, -1]


def test_a_number_in_an_annotation_is_no_name(tmp_path: Path) -> None:
    """An id that is missing isn't the picture that happens to be called so."""
    document = make_document(pictures=3)
    document["images"][0]["file_name"] = "12345.jpg"
    document["annotations"][0]["image_id"] = "12345"
    annotations = load(tmp_path, document)
    assert annotations.skipped == {"annotations of unknown pictures": 1}


def test_a_part_of_the_pictures_keeps_its_ids(tmp_path: Path) -> None:
    document = make_document(pictures=6)
    for image in document["images"]:
        image["id"] = f"p{image['id']}"
    for annotation in document["annotations"]:
        annotation["image_id"] = f"p{annotation['image_id']}"
    annotations = load(tmp_path, document)
    people = annotated_people(annotations)
    kept = np.arange(6) >= 2
    some, _, _ = select_pictures(annotations, people, np.zeros((len(people), 17, 3)), kept)
    assert [some.stated_id(number) for number in range(4)] == [image["id"] for image in document["images"][2:]]
