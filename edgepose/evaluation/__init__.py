"""Accuracy as papers report it: annotated pictures in, AP, PCK or PCKh of a device file out; see ``docs/evaluation.md``.

``evaluation`` is the way through: ``open_data`` reads annotations and boxes, ``evaluate`` runs a file on them, ``judge`` computes the
figures by one of the ``protocols``; ``comparison`` sets two files against each other.
"""

from edgepose.evaluation.comparison import compare
from edgepose.evaluation.evaluation import DataSet, Judged, Request, evaluate, open_data
from edgepose.evaluation.result import Comparison, Evaluation, load_evaluation, save_evaluation
from edgepose.evaluation.running import RunOptions

__all__ = [
    "Comparison",
    "DataSet",
    "Evaluation",
    "Judged",
    "Request",
    "RunOptions",
    "compare",
    "evaluate",
    "load_evaluation",
    "open_data",
    "save_evaluation",
]
