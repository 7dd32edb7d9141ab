"""Files without floats: what lies between the layers is rounded to 16 bits, whose ranges must reach as far as calibration saw."""

from edgepose.errors import VerificationError
from edgepose.quantization.recipe import Statistics
from edgepose_converters.readback.graph import Levels, StoredGraph

__all__ = ["check_reach", "check_span"]


def check_reach(graph: StoredGraph, statistics: Statistics, channels: int) -> None:
    """Make sure that no norm and no attention score is cut off.

    Args:
        graph: the file's, its operators in the order in which they run.
        statistics: of the decision.
        channels: of the residual stream.

    Raises:
        VerificationError: a range ends before what calibration saw. Names the norm or the attention.
    """
    norms = [operator for operator in graph.operators if operator.kind == "norm"]
    inverses = [operator for operator in graph.operators if operator.function == "rsqrt"]
    scores = [operator for operator in graph.operators if operator.kind == "softmax"]
    names = [f"backbone.blocks.{number}" for number in range(len(statistics.scores))]
    norm_names = [*(f"{name}.{norm}" for name in names for norm in ("norm1", "norm2")), "backbone.norm"]
    if not len(norm_names) == len(norms) == len(inverses) or len(names) != len(scores):
        raise VerificationError(
            f"it has {len(norms)} norms and {len(scores)} attentions; the decision has {len(norm_names)} and {len(names)}"
        )
    for name, norm, inverse in zip(norm_names, norms, inverses, strict=True):
        seen = statistics.norms[name]
        for what, tensor, largest in (
            ("its input", norm.inputs[0], seen.largest_input),
            ("the sum of its squares", inverse.inputs[0], seen.largest_sum),
            ("what it multiplies by", inverse.outputs[0], seen.least_sum**-0.5),
            ("its output", norm.outputs[0], seen.largest_output / channels**0.5),
        ):
            _check_largest(f"{name}: {what}", graph, tensor, largest)
    for name, softmax in zip(names, scores, strict=True):
        _check_largest(f"{name}.attn: its scores", graph, softmax.inputs[0], statistics.scores[f"{name}.attn"])


def check_span(title: str, levels: Levels, low: float, high: float) -> None:
    """Make sure that integers reach from ``low`` to ``high``, to a step.

    Raises:
        VerificationError: they don't.
    """
    lowest, highest = -levels.zero_point * levels.scale, (levels.count - 1 - levels.zero_point) * levels.scale
    slack = levels.scale + 1e-5 * (high - low)
    if lowest > low + slack or highest < high - slack:
        raise VerificationError(f"{title} spans {lowest:.4g} to {highest:.4g}, and it must span {low:.4g} to {high:.4g}")


def _check_largest(title: str, graph: StoredGraph, tensor: str, largest: float) -> None:
    if tensor not in graph.levels:
        raise VerificationError(f"{title} isn't rounded; in a file without floats it must be")
    # The lowest level reaches as far as the highest.
    check_span(title, graph.levels[tensor], 0.0, largest)
