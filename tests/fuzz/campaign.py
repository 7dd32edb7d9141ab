"""Many cases in worker processes; what goes wrong is kept with a line that does it again."""

import json
import queue
import selectors
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz.subjects import list_subjects, make_case

__all__ = ["MAX_CASE_MEGABYTES", "MAX_CASE_SECONDS", "Campaign", "Tally"]

MAX_CASE_SECONDS = 60
"""Of processor time."""
_MAX_WAIT_SECONDS = 240
"""On the clock; on a busy machine the imports of a first case take a while, too."""
MAX_CASE_MEGABYTES = 2000
_RESTART_AFTER = 500
"""Cases that one process opens: native libraries don't give all memory back."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What happened.

    Attributes:
        cases: by subject.
        outcomes: by suffix, and the kind of error or ``ran``.
        failures: what must not happen, with the number of the case.
        sealed: cases with a seal that was computed again.
        slowest: seconds of the slowest case.
        largest: megabytes of the largest.
    """

    cases: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    sealed: int = 0
    slowest: float = 0.0
    largest: int = 0

    @property
    def total(self) -> int:
        """Number of cases."""
        return sum(self.cases.values())


class Campaign:
    """One seed's cases.

    Args:
        corpus: what ``make_corpus`` made.
        seed: decides every case, with its number.
        failures: folder for the cases that fail, or ``None`` to keep none.
        kinds: subjects to take, see ``list_subjects``.
        workers: processes at once.
    """

    def __init__(self, corpus: Path, seed: int, *, failures: Path | None = None, kinds: str = "", workers: int = 1) -> None:
        self._corpus = corpus.resolve()
        self._seed = seed
        self._failures = failures
        self._kinds = kinds
        self._workers = workers
        self._lock = threading.Lock()
        self._subjects = list_subjects(self._corpus, kinds)
        if not self._subjects:
            raise ValueError(f"the corpus {corpus} holds nothing of the kinds {kinds!r}")

    def run(self, numbers: Iterator[int], *, until: float = float("inf"), note: Callable[[Tally], None] | None = None) -> Tally:
        """Open the cases of these numbers, until they or the time (of ``time.monotonic``) end; ``note`` hears of it now and then."""
        tally = Tally()
        wanted: queue.Queue[int | None] = queue.Queue(maxsize=2 * self._workers)
        threads = [threading.Thread(target=self._serve, args=(wanted, tally, note), daemon=True) for _ in range(self._workers)]
        for thread in threads:
            thread.start()
        for number in numbers:
            if time.monotonic() > until:
                break
            wanted.put(number)
        for _ in threads:
            wanted.put(None)
        for thread in threads:
            thread.join()
        return tally

    def _serve(self, wanted: "queue.Queue[int | None]", tally: Tally, note: Callable[[Tally], None] | None) -> None:
        """Have one process after the other open cases, until there are no more."""
        process: _Process | None = None
        served = 0
        while (number := wanted.get()) is not None:
            process = process or _Process(self._corpus, self._seed, self._kinds)
            served += 1
            answer = process.ask(number)
            if "died" in answer or served % _RESTART_AFTER == 0:
                process.end()
                process = None
            with self._lock:
                self._count(tally, number, answer)
                if note is not None and tally.total % 100 == 0:
                    note(tally)
        if process is not None:
            process.end()

    def _count(self, tally: Tally, number: int, answer: dict[str, Any]) -> None:
        name = answer.get("subject", "?")
        tally.cases[name] += 1
        tally.sealed += bool(answer.get("sealed"))
        tally.slowest = max(tally.slowest, answer.get("seconds", 0.0))
        tally.largest = max(tally.largest, answer.get("megabytes", 0))
        seen = answer["seen"]
        wrong = ""
        if answer.get("died") or answer["broken"]:
            wrong = seen
        elif answer["megabytes"] > MAX_CASE_MEGABYTES:
            wrong = f"took {answer['megabytes']} MB: {seen}"
        elif answer["seconds"] > MAX_CASE_SECONDS:
            wrong = f"took {answer['seconds']} s: {seen}"
        tally.outcomes[f"{Path(name).suffix or name}: {'FAILED' if wrong else seen.partition(':')[0].partition(',')[0]}"] += 1
        if wrong:
            tally.failures.append(self._keep(number, wrong))

    def _keep(self, number: int, wrong: str) -> str:
        kinds = f" --kinds {self._kinds}" if self._kinds else ""
        again = f"python -m fuzz --seed {self._seed} --case {number}{kinds}"
        if self._failures is not None:
            folder = self._failures / f"{self._seed}-{number}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            make_case(self._subjects, self._corpus, self._seed, number, folder)
            (folder / "failure.txt").write_text(f"{again}\n\n{wrong}\n", errors="replace")
        return f"{again}\n{wrong}"


class _Process:
    """A worker."""

    def __init__(self, corpus: Path, seed: int, kinds: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.worker", str(corpus), str(seed), kinds],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)

    def ask(self, number: int) -> dict[str, Any]:
        """Have one case opened."""
        try:
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()
        except OSError:
            return self._gone(number)
        ready = self._selector.select(_MAX_WAIT_SECONDS)
        if not ready:
            return {
                "number": number,
                "died": True,
                "broken": True,
                "seen": f"no answer within {_MAX_WAIT_SECONDS} s",
                "seconds": _MAX_WAIT_SECONDS,
            }
        line = self._process.stdout.readline()
        return json.loads(line) if line else self._gone(number)

    def end(self) -> None:
        """Stop it."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def _gone(self, number: int) -> dict[str, Any]:
        code = self._process.wait()
        return {"number": number, "died": True, "broken": True, "seen": f"the process ended with {code}", "seconds": 0.0, "megabytes": 0}
