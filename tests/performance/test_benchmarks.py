"""The benchmarks' harness: engines are told apart by what they end with before they are by their speed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from statistics import median

import pytest

from benchmarks import bars, cases, race, report
from benchmarks.environments import PACKAGES
from benchmarks.peers import loop, loop_with_bars, loop_with_sums, nbbacktest
from benchmarks.table import Table, received
from benchmarks.task import Task

INSTALLED = {
    "nbbacktest": nbbacktest,
    "loop": loop,
    "loop_with_bars": loop_with_bars,
    "loop_with_sums": loop_with_sums,
}


@pytest.fixture(autouse=True)
def house(tmp_path, monkeypatch):
    """Bars and reports of tests lie in a folder of their own."""
    monkeypatch.setattr(bars, "HOUSE", tmp_path)
    return tmp_path


def here(engine, task, limit):
    """A run in this process, of what is installed with the package."""
    if engine not in INSTALLED:
        raise race.FailedError("not installed here")
    outcome = INSTALLED[engine].CASES[task.case](task)
    return race.Ran(outcome.seconds, outcome.seconds, outcome.equity, outcome.fills, {}, "")


def cells(table, column):
    """A column's texts by engine."""
    return {row[0]: row[table.columns.index(column)] for row in table.rows}


@pytest.mark.parametrize(("case", "count"), [("a", 3_000), ("b", 1_000), ("c", 6_000), ("d", 3_000), ("e", 800)])
def test_all_that_is_installed_agrees_to_the_cent(case, count):
    """nbbacktest, the loop and the loop with bars end equal in every case, each with trades."""
    chosen = cases.CASES[case]
    chosen = replace(chosen, quick=replace(chosen.quick, bars=count))
    table = race.table(chosen, quick=True, repeats=2, limit=60, run=here)
    results = cells(table, "result")
    assert results["nbbacktest"] == results["bare loop"] == "equal"
    loop, ours = (table.figures[engine]["seconds"] for engine in (race.LOOP, race.OURS))
    assert min(loop) > 0  # not of the ratio, which a busy machine rounds to 0.00
    assert cells(table, "time against nbbacktest")["bare loop"] == f"{median(loop) / median(ours):.2f}"
    assert table.figures["loop"]["fills"] > 4
    assert results["backtrader"] == "not installed here"


@pytest.mark.parametrize(
    ("equity", "fills", "said"),
    [(5_000.0, 0, "wrong: +5,000.00"), (0.0, 40, "wrong: +0.00, +40 fills"), (-900.0, 0, "wrong: -900.00")],
)
def test_a_wrong_result_wins_nothing(equity, fills, said):
    """A fast engine with another equity, or other fills, gets neither a speed nor a ratio."""

    def wrong(engine, task, limit):
        ran = here(engine, task, limit)
        if engine != "loop_with_bars":
            return ran
        return replace(ran, seconds=1e-9, equity=ran.equity + equity, fills=ran.fills + fills)

    task = Task("cross", 3_000)
    case = replace(cases.CASES["a"], task=task)
    table = race.table(case, quick=False, repeats=1, limit=60, run=wrong)
    engine = "bare loop with a bar object"
    assert cells(table, "result")[engine] == said
    assert cells(table, "bars/s")[engine] == cells(table, "time against nbbacktest")[engine] == "–"
    assert table.figures["loop_with_bars"]["allowed"] is False


def test_results_that_change_from_run_to_run_are_refused():
    """What isn't the same twice is compared with nothing."""
    first = race.Ran(1.0, 1.0, 100.0, 4, {}, "")
    assert race.verdict([first, replace(first, equity=100.01)], first) == (False, "not the same twice: 100.00, 100.01")


def test_fills_elsewhere_are_told_by_how_much():
    """Within a cent a unit a fill a result may be compared, and the table says how far off it is."""
    right = race.Ran(1.0, 1.0, 1_000.0, 40, {}, "")
    assert race.verdict([replace(right, equity=1_003.5)], right) == (True, "+3.50")
    assert race.verdict([replace(right, equity=1_004.5)], right) == (False, "wrong: +4.50")
    assert race.verdict([replace(right, equity=1_003.5, fills=41)], right) == (True, "+3.50, +1 fills")
    assert race.verdict([replace(right, equity=1_003.5, fills=42)], right) == (False, "wrong: +3.50, +2 fills")
    assert race.verdict([replace(right, equity=1_003.5, fills=None)], right) == (False, "wrong: +3.50")


def test_a_fresh_process_gives_what_this_one_gives():
    """The command that is timed prints the same equity and fills."""
    task = Task("startup", 500)
    one, here_too = race.process("loop", task, 60), here("loop", task, 60)
    assert (one.equity, one.fills) == (here_too.equity, here_too.fills)
    assert one.process > one.seconds


def test_every_engine_has_its_case_or_its_reason():
    """No engine is left out in silence, and each that isn't ours has an environment."""
    for case in cases.CASES.values():
        assert set(case.left_out) < set(cases.ENGINES)
        assert all(case.left_out.values())
        assert {cases.OURS, cases.LOOP}.isdisjoint(case.left_out)
    assert set(cases.ENGINES) - set(INSTALLED) == set(PACKAGES) - {"plot"}


def test_bars_are_the_same_for_everybody():
    """A seed gives one set of bars, written once and read afterwards, each high and low around its open and close."""
    made = bars.columns(2_500, 2)
    assert (made == bars.columns(2_500, 2)).all()
    opened, high, low, close, _ = made[1]
    assert (high >= opened).all()
    assert (high >= close).all()
    assert (low <= opened).all()
    assert (low <= close).all()


def test_a_page_is_filled_between_its_markers(house):
    """What was measured stands on the page; what wasn't stays as it was."""
    table = Table("A table", ["name", "number"], [["x", "1"]], ["A note."])
    report.keep("a", [table], quick=False, folder=house)
    found = report.load(house)
    page = "before\n<!-- bench: a -->\nold\n<!-- end -->\nmiddle\n<!-- bench: b -->\nkept\n<!-- end -->\nafter\n"
    filled = report.filled(page, found)
    assert "### A table\n\n| name | number |\n|---|---:|\n| x | 1 |\n\nA note.\n" in filled
    assert "old" not in filled
    assert "kept" in filled
    assert report.filled(filled, found) == filled
    assert "A table" in (house / "report.md").read_text()


def test_the_command_lists_what_it_knows():
    """A name that isn't there is refused with those that are."""
    command = [sys.executable, "-m", "benchmarks.run", "speed"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no speed; there are a, a1m, b" in done.stderr


def test_tables_travel_between_processes():
    """The last line that a measuring process prints is its tables."""
    table = Table("T", ["a"], [["1"]])
    assert received("noise\n" + json.dumps([vars(table)]) + "\n") == [table]
