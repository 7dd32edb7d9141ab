"""``python -m fuzz``: see ``make fuzz``."""

import argparse
import itertools
import sys
import time
from pathlib import Path

from fuzz.campaign import Campaign, Tally
from fuzz.corpus import make_corpus
from fuzz.subjects import list_subjects
from fuzz.worker import run_case


def main() -> int:
    """Run the fuzzer."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Open changed files of every kind; keep what goes wrong.")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    parser.add_argument("--cases", type=int, help="how many cases at most (default: as many as there is time for)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="decides every case (default: the clock)")
    parser.add_argument("--case", type=int, help="open only the case of this number, here, and say what happens")
    parser.add_argument("--kinds", default="", metavar="WORD,…", help="only files whose name contains one of these, e.g. .onnx,texts/")
    parser.add_argument("--folder", type=Path, default=Path("fuzz-results"), help="corpus and failures (default: fuzz-results)")
    parser.add_argument("--workers", type=int, default=1, help="processes at once (default: 1)")
    options = parser.parse_args()
    print("making the corpus" if not (options.folder / "corpus").exists() else "corpus found", flush=True)
    corpus = make_corpus(options.folder / "corpus").resolve()
    if options.case is not None:
        answer = run_case(list_subjects(corpus, options.kinds), corpus, options.seed, options.case)
        print("\n".join(f"{name}: {value}" for name, value in answer.items()))
        return int(answer["broken"])
    campaign = Campaign(corpus, options.seed, failures=options.folder / "failures", kinds=options.kinds, workers=options.workers)
    numbers = range(options.cases) if options.cases else itertools.count()
    tally = campaign.run(iter(numbers), until=time.monotonic() + 60 * options.minutes, note=show)
    show(tally)
    for outcome, count in sorted(tally.outcomes.items()):
        print(f"{count:7} {outcome}")
    print(f"seed {options.seed}: {tally.total} cases, {tally.sealed} of them sealed again")
    print(f"slowest {tally.slowest} s, largest {tally.largest} MB")
    for failure in tally.failures:
        print(f"\n{failure}")
    print(f"{len(tally.failures)} failures" + (f", kept in {options.folder / 'failures'}" if tally.failures else ""))
    return int(bool(tally.failures))


def show(tally: Tally) -> None:
    """Say how far it is."""
    print(f"{tally.total} cases, {len(tally.failures)} failures", flush=True)


if __name__ == "__main__":
    sys.exit(main())
