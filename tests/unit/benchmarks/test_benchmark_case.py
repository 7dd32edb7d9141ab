"""Cases: what is refused, and what a sweep expands to."""

import dataclasses

import pytest
import torch
from checkpoints import make_spec, random_model
from torch.utils.flop_counter import FlopCounterMode

from edgepose.errors import InputError
from edgepose_benchmarks.case import BenchmarkCase, expand_cases
from edgepose_benchmarks.complexity import count_macs

CASE = BenchmarkCase(artifact="a.xml", sha256="00" * 32)
SWEEP = {
    "devices": ["auto"],
    "threads": [None],
    "batches": [1],
    "streams": [None],
    "scenarios": ["single-stream"],
    "stages": ["inference"],
    "options": {},
    "people": 8,
    "bound_s": 0.1,
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"device": ":cpu"}, "device is ':cpu'"),
        ({"streams": 2}, "one stream"),
        ({"scenario": "offline", "streams": 0}, "streams is 0"),
        ({"stage": "end-to-end"}, "people is None"),
        ({"people": 3}, "people is 3"),
        ({"stage": "end-to-end", "people": 65}, "allowed: 1 to 64"),
        ({"stage": "end-to-end", "people": 3, "scenario": "offline"}, "single-stream scenario"),
        ({"scenario": "server"}, "latency bound is None"),
        ({"bound_s": 0.1}, "the others take none"),
    ],
)
def test_a_case_without_meaning_is_refused(changes, words):
    with pytest.raises(InputError, match=words):
        dataclasses.replace(CASE, **changes)


def test_the_key_tells_cases_and_machines_apart():
    keys = {
        CASE.key("m1"),
        CASE.key("m2"),
        *(dataclasses.replace(CASE, **change).key("m1") for change in ({"threads": 2}, {"sha256": "11" * 32})),
    }
    assert len(keys) == 4
    assert CASE.key("m1") == BenchmarkCase(artifact="a.xml", sha256="00" * 32).key("m1")


def test_a_sweep_makes_each_meaningful_combination_once():
    cases = expand_cases(
        ("a.xml", "00" * 32),
        **SWEEP
        | {
            "scenarios": ["single-stream", "offline", "multi-stream", "server"],
            "streams": [None, 2],
            "batches": [1, 4],
            "stages": ["inference", "end-to-end"],
        },
    )
    made = [(case.scenario, case.stage, case.batch, case.streams) for case in cases]
    assert len(made) == len(set(made))
    assert [line for line in made if line[0] == "single-stream"] == [
        ("single-stream", "inference", 1, 1),
        ("single-stream", "inference", 4, 1),
        ("single-stream", "end-to-end", 1, 1),
    ]
    assert {case.streams for case in cases if case.scenario == "multi-stream"} == {8, 2}
    assert {case.bound_s for case in cases if case.scenario == "server"} == {0.1}
    assert expand_cases(("a.xml", "00" * 32), **SWEEP | {"scenarios": ["offline"], "stages": ["end-to-end"]}) == []


@pytest.mark.parametrize("head", ["classic", "simple"])
def test_macs_are_those_that_torch_counts(head):
    model = random_model(dim=48, depth=2, heads=3, head=head, height=64, width=48)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 64, 48))
    assert count_macs(make_spec(model)) == pytest.approx(counter.get_total_flops() / 2, rel=0.001)
