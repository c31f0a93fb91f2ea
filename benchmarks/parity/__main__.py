"""``python -m benchmarks.parity [PEER ...]``: runs the cases, prints a table, and ends with 1 where something differs without a rule."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

from benchmarks.bars import HOUSE
from benchmarks.environments import NotThereError, python_of
from benchmarks.parity import ours
from benchmarks.parity.cases import CASES, Case
from benchmarks.parity.compare import Verdict, compare
from benchmarks.parity.tape import Outcome, Tape

HEAD = ("peer", "version", "what", "fills", "the same", "final equity", "ours", "apart")


class FailedError(RuntimeError):
    """A peer that gave no result; the message says why."""


def peer(case: Case, tape: Tape) -> Outcome:
    """The tape on the case's peer, in its environment."""
    path = HOUSE / "parity" / f"{tape.case}.json"
    tape.write(path)
    command = [python_of(case.peer), "-m", "benchmarks.parity.peers", case.peer, str(path)]
    environment = os.environ | {"PYTHONWARNINGS": "ignore", "NUMBA_CACHE_DIR": str(HOUSE / "numba")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HOUSE.parent, env=environment)
    if done.returncode:
        raise FailedError((done.stderr or done.stdout).strip().splitlines()[-1][:200])
    read = json.loads(done.stdout.strip().splitlines()[-1])
    return Outcome([tuple(fill) for fill in read["fills"]], read["equity"], read["version"])


def judged(case: Case) -> tuple[Outcome, Outcome, Verdict, Verdict | None]:
    """A case on both engines, and where ours can be restated by the peer's rule, that."""
    tape = case.make()
    theirs, result = peer(case, tape), ours.run(tape, case.config)
    mine = ours.outcome(tape, result)
    restated = compare(case.by_rule(tape, result), theirs) if case.by_rule is not None else None
    return theirs, mine, compare(mine, theirs), restated


def main(arguments: list[str]) -> int:
    """Run what is asked for."""
    known = sorted({case.peer for case in CASES})
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__)
    parser.add_argument(
        "peers", nargs="*", metavar="PEER", help=f"some of {', '.join(known)}; all, where none is named"
    )
    asked = parser.parse_args(arguments).peers
    if unknown := sorted(set(asked) - set(known)):
        parser.error(f"unknown: {', '.join(unknown)}; choose from {', '.join(known)}")
    failed, notes = 0, []
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for case in CASES:
        if asked and case.peer not in asked:
            continue
        try:
            theirs, mine, verdict, restated = judged(case)
        except (NotThereError, FailedError) as error:
            failed += 1
            print(f"| {case.peer} | – | {case.title} | – | – | – | – | {error} |", flush=True)
            continue
        cells = (
            case.peer, theirs.version, case.title, f"{len(theirs.fills):,}", f"{verdict.same:,}", f"{theirs.equity:,.2f}",
            f"{mine.equity:,.2f}", f"{verdict.apart:+.2f}",
        )  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)
        if not verdict.equal:
            failed += not case.rule
            notes.append(f"{case.peer}, {case.title}: {case.rule or 'NO RULE SAYS WHY'}. First: {verdict.first}.")
        if restated is not None:
            failed += not restated.equal
            by = "equal" if restated.equal else f"{restated.apart:+.2f}, first {restated.first}"
            notes.append(
                f"{case.peer}, {case.title}: by the peer's rule {restated.same} fills are the same, and ours is {by}."
            )
    print(*notes, sep="\n")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
