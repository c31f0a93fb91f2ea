"""The kill test: a process that trades by hand is killed at any moment, and nothing that it was told of is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import nbbacktest as nb
from nbbacktest.system.journal.folder import runs_in, state_of
from nbbacktest.system.journal.lines import read_journal
from tests.kills import Player, bars, begun, operate

ROOT = Path(__file__).parents[2]
KILLS = 12
"""In each of the parts, which run beside each other."""


def what_was_done(system) -> list[tuple[object, ...]]:
    return [(one.place.cursor, str(one.what), one.strategy, dict(one.arguments)) for one in system.inputs]


def end_of(system) -> str:
    system.rewind("end")
    system.resume()
    return system.wait(20).fingerprint


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no kill -9 here")
@pytest.mark.parametrize("part", range(5))
def test_what_was_acknowledged_is_there_after_a_kill(part, tmp_path):
    """Law 8, 60 real `kill -9`: at most the command under way more, and the same fingerprint in the end."""
    dice = random.Random(part)
    plan = [(100 * part + n, dice.uniform(0.0, 0.12), tmp_path / str(n)) for n in range(KILLS)]
    lines = "".join(f"{seed} {seconds} {folder}\n" for seed, seconds, folder in plan)
    done = subprocess.run(
        [sys.executable, "-m", "tests.kills"], input=lines, capture_output=True, text=True, cwd=ROOT, timeout=120,
        check=True,
    )  # fmt: skip
    counts = [int(line) for line in done.stdout.split()]
    assert len(counts) == KILLS, done.stderr
    for (seed, _, folder), count in zip(plan, counts, strict=True):
        check(seed, folder, count)


def check(seed: int, folder: Path, count: int) -> None:
    [run] = runs_in(folder)
    journal = run / "journal"
    assert state_of(journal) == "killed"
    reference, dice = begun(seed, str(folder), reachable=False), random.Random(seed)
    for _ in range(count):
        operate(reference, dice)
    acknowledged = what_was_done(reference)
    if not read_journal(journal).entries:
        assert acknowledged == []  # killed before anything happened
        reference.stop()
        return
    system = nb.SystemManager()
    assert system.recover(journal, data=bars(seed), strategies=Player)
    found = what_was_done(system)
    if found != acknowledged:
        operate(reference, dice)
        assert found == what_was_done(reference), (seed, count)
    assert system.is_paused()
    assert end_of(system) == end_of(reference), (seed, count)
    assert nb.replay(journal, data=bars(seed), strategies=Player).fingerprint
