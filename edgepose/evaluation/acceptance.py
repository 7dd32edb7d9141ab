"""Accepting a converted file by its accuracy: evaluate it and the original, compare, check the conditions."""

from collections.abc import Callable, Sequence
from pathlib import Path

from edgepose.artifact import open_artifact
from edgepose.errors import VerificationError
from edgepose.evaluation.comparison import compare
from edgepose.evaluation.evaluation import DataSet, Judged, evaluate
from edgepose.evaluation.gate import Condition
from edgepose.evaluation.running import RunOptions

__all__ = ["Acceptance"]


class Acceptance:
    """Decides about files, all on the same people and against the same baseline. Call it with a file.

    Args:
        conditions: all of which must hold.
        data: whom to look for.
        baseline: the original's figures on them.
        run: where the files run.
        progress: is told how many people are done, of how many.
    """

    def __init__(
        self,
        conditions: Sequence[Condition],
        data: DataSet,
        baseline: Judged,
        run: RunOptions,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> None:
        self._conditions = tuple(conditions)
        self._data = data
        self._baseline = baseline
        self._run = run
        self._progress = progress

    def __call__(self, path: Path) -> str:
        """Evaluate a file.

        Returns:
            What was found, in words.

        Raises:
            VerificationError: a condition doesn't hold.
            EdgePoseError: the file can't be evaluated.
        """
        judged = evaluate(open_artifact(path), self._data, self._run, self._progress)
        comparison = compare(self._data, judged, self._baseline)
        checked = [(condition, *condition.check(comparison)) for condition in self._conditions]
        found = ", ".join(words for _, _, words in checked)
        broken = [str(condition) for condition, holds, _ in checked if not holds]
        where = f"{comparison.compared} people of {self._data.request.annotations.name}"
        if broken:
            raise VerificationError(
                f"{path.name} isn't accepted: {found} on {where}; asked for: {', '.join(broken)}. Keep more layers in float "
                "(--max-drop), calibrate on other photos, train (edgepose quantize --finetune), or allow more"
            )
        return f"{found} on {where}"
