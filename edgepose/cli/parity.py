"""How a parity is shown."""

from edgepose.spec import Parity

__all__ = ["format_error", "format_runtime", "format_shift"]


def format_error(parity: Parity) -> str:
    """Return the largest heatmap difference, relative to the largest value."""
    return f"{parity.relative:.1e}"


def format_shift(parity: Parity) -> str:
    """Return the mean keypoint shift in the model's input."""
    return "–" if parity.shift_px is None else f"{parity.shift_px:.4f} px"


def format_runtime(parity: Parity) -> str:
    """Return what executed the file, and on how much."""
    left_out = f", {parity.undecided} undecided" if parity.undecided else ""
    return f"{parity.runtime}: {parity.compared} keypoints{left_out}"
