"""A seeded part of ``make fuzz``: tiny files of every format, and documents, changed, sealed again and opened in a process with limits."""

import os
import random
import shutil
import sys

import pytest
from artifacts import SUFFIXES
from fuzz.campaign import Campaign
from fuzz.corpus import write_texts
from fuzz.mutation import mutate_json, mutate_protobuf
from fuzz.subjects import list_subjects, make_case

CASES = 60


@pytest.fixture(scope="module")
def corpus(artifacts, tmp_path_factory):
    """Files of every format, one precision each; ``make fuzz`` has all of them."""
    folder = tmp_path_factory.mktemp("corpus")
    for kind in SUFFIXES:
        source = artifacts.path(kind)
        for file in source.parent.iterdir():
            (shutil.copytree if file.is_dir() else shutil.copy)(file, folder / f"{kind}{file.suffix}")
    write_texts(folder)
    return folder


@pytest.fixture
def children_find_us(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="its limits are Linux's")
# One seed decides everything, and which cases it makes may change with any of the writers: the first numbers are as good as others.
@pytest.mark.parametrize("kinds", [".onnx,.tflite,.xml,.mlpackage", "texts/"])
def test_no_case_gives_a_traceback_hangs_or_fills_memory(corpus, children_find_us, kinds):
    tally = Campaign(corpus, seed=1, kinds=kinds).run(iter(range(CASES)))
    assert tally.failures == []
    assert tally.total == CASES
    # Most are refused, and some are still files that run.
    assert any("Error" in outcome for outcome in tally.outcomes)
    assert kinds == "texts/" or tally.sealed == CASES


def test_a_failure_is_found_and_can_be_done_again(corpus, children_find_us, tmp_path, monkeypatch):
    """With a worker that takes every error for a traceback."""
    monkeypatch.setenv("FUZZ_TEST_BREAK", "1")
    campaign = Campaign(corpus, seed=2, kinds="boxes", failures=tmp_path)
    tally = campaign.run(iter(range(3)))
    assert len(tally.failures) == 3
    assert "python -m fuzz --seed 2 --case 1 --kinds boxes" in tally.failures[1]
    assert (tmp_path / "2-1" / "boxes.json").is_file()
    assert "RuntimeError: broken on purpose" in (tmp_path / "2-1" / "failure.txt").read_text()


def test_a_case_depends_on_its_seed_and_number_alone(corpus, tmp_path):
    subjects = list_subjects(corpus)
    contents = []
    for attempt in range(2):
        for number in range(8):
            folder = tmp_path / f"{attempt}-{number}"
            folder.mkdir()
            _, path = make_case(subjects, corpus, 3, number, folder)
            files = sorted(file for file in (path.rglob("*") if path.is_dir() else path.parent.glob("*")) if file.is_file())
            contents.append([file.read_bytes() for file in files])
    assert contents[:8] == contents[8:]


def test_changes_keep_the_structure():
    from edgepose.artifact.protobuf import message

    content = message(1, b"name") + message(7, message(1, b"x" * 40) + message(2, b"y"))
    changed = {mutate_protobuf(random.Random(seed), content) for seed in range(50)}
    assert len(changed) > 30
    assert len({mutate_json(random.Random(seed), '{"a": [1, 2, {"b": "c"}]}') for seed in range(50)}) > 30
