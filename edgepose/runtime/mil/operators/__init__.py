"""The operators that the evaluator knows: one small function each, in a table keyed by operator type."""

from edgepose.runtime.mil.operators import arithmetic, image, layout, neural, quantized
from edgepose.runtime.mil.operators.call import Call, Operator

__all__ = ["OPERATORS", "Call", "Operator"]

OPERATORS: dict[str, Operator] = {
    **arithmetic.OPERATORS,
    **image.OPERATORS,
    **layout.OPERATORS,
    **neural.OPERATORS,
    **quantized.OPERATORS,
}
