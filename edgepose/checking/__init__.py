"""The data-set doctor behind ``edgepose check``: what files are, what is odd about them, and what is done about it.

Every statement about a file comes from the reader that the commands use; nothing is read in a second way here. ``recognition`` says what a
file is by its content, one module per kind of file asks its reader, ``checking`` goes through paths and folders. It calls readers of host
tools (checkpoints, recipes, benchmark results) lazily.
"""

from edgepose.checking.checking import check_paths
from edgepose.checking.report import Checked, Question, count_refused, to_report

__all__ = ["Checked", "Question", "check_paths", "count_refused", "to_report"]
