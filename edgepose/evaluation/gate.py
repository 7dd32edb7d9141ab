"""Conditions that a converted file has to meet: ``ap_drop<0.5, shift_px<=1``."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from edgepose.errors import InputError
from edgepose.evaluation.result import Comparison

__all__ = ["FIGURES", "Condition", "parse_conditions"]

FIGURES: dict[str, Callable[[Comparison], float | None]] = {
    "ap_drop": lambda comparison: comparison.drop,
    "ap_drop_high": lambda comparison: None if comparison.drop_interval is None else comparison.drop_interval.high,
    "oks_drop": lambda comparison: comparison.oks_drop,
    "shift_px": lambda comparison: comparison.shift_px,
}
"""What can be bounded: the loss of the protocol's main metric in percentage points, the upper end of its 95 % interval, the mean loss of
OKS, and the mean keypoint distance in pixels of the model's input."""

_FORM = re.compile(r"\s*([a-z_]+)\s*(<=|<)\s*([-+0-9.eE]+)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One bound.

    Attributes:
        figure: a key of ``FIGURES``.
        strict: ``<`` rather than ``<=``.
        bound: the number.
    """

    figure: str
    strict: bool
    bound: float

    def __str__(self) -> str:
        return f"{self.figure} {'<' if self.strict else '<='} {self.bound:g}"

    def check(self, comparison: Comparison) -> tuple[bool, str]:
        """Return whether it holds, and the figure in words. A figure that couldn't be measured doesn't hold."""
        value = FIGURES[self.figure](comparison)
        if value is None:
            return False, f"{self.figure} couldn't be measured"
        return value < self.bound if self.strict else value <= self.bound, f"{self.figure} is {value:.3g}"


def parse_conditions(text: str) -> tuple[Condition, ...]:
    """Read ``ap_drop<0.5, shift_px<=1``.

    Raises:
        InputError: the text has another form.
    """
    conditions = []
    for part in text.split(","):
        match = _FORM.fullmatch(part)
        try:
            bound = float(match[3]) if match else float("nan")
        except ValueError:
            bound = float("nan")
        if match is None or match[1] not in FIGURES or bound != bound:
            raise InputError(f"the condition {part.strip()!r} isn't FIGURE<NUMBER or FIGURE<=NUMBER; figures: {', '.join(FIGURES)}")
        conditions.append(Condition(figure=match[1], strict=match[2] == "<", bound=bound))
    return tuple(conditions)
