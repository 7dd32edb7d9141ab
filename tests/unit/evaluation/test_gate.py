import pytest
from evaluation_results import conditions, work

from edgepose.errors import InputError
from edgepose.evaluation.gate import parse_conditions
from edgepose.evaluation.result import Comparison, Interval


def comparison(drop=0.5, oks_drop=0.01):
    return Comparison(
        baseline=conditions(),
        baseline_work=work(),
        baseline_metrics={"AP": 0.75},
        primary="AP",
        drop=drop,
        drop_interval=None if drop is None else Interval(low=drop - 0.2, high=drop + 0.2),
        reference="labels",
        oks_drop=oks_drop,
        oks_drop_p95=oks_drop,
        shift_px=0.3,
        shifts=(),
        compared=10,
    )


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("ap_drop<0.5", False),
        ("ap_drop<=0.5", True),
        ("ap_drop < 0.51", True),
        ("ap_drop_high<0.6", False),
        ("ap_drop_high<=7e-1", True),
        ("oks_drop<0.1", True),
        ("shift_px<=0.29", False),
    ],
)
def test_conditions(text, holds):
    (condition,) = parse_conditions(text)
    assert condition.check(comparison())[0] is holds


def test_what_could_not_be_measured_does_not_hold():
    for text, given in (
        ("ap_drop<100", comparison(drop=None)),
        ("ap_drop_high<100", comparison(drop=None)),
        ("oks_drop<9", comparison(oks_drop=None)),
    ):
        holds, words = parse_conditions(text)[0].check(given)
        assert not holds
        assert "couldn't be measured" in words


def test_several_conditions():
    assert [str(each) for each in parse_conditions("ap_drop<0.5, shift_px <= 1")] == ["ap_drop < 0.5", "shift_px <= 1"]


@pytest.mark.parametrize(
    "text", ["", "ap_drop", "ap_drop>0.5", "drop<1", "ap_drop<", "ap_drop<1.2.3", "ap_drop<nan", "ap_drop<0.5,", "__import__<1"]
)
def test_other_forms_are_refused(text):
    with pytest.raises(InputError, match="isn't FIGURE<NUMBER"):
        parse_conditions(text)
