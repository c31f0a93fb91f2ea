"""A case, run: every engine in fresh processes, in turn, several times; medians, least times and ratios.

A result that is wrong gets no ratio. Right is what the bare loop ends with: the same number of fills, and equity to the
cent; or, for an engine whose rules put fills elsewhere (at the signal's close and not at the next open, so that the last
bar's order fills too), within a cent a unit a fill and one fill a symbol, which the table then says.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from statistics import median
from time import perf_counter

from benchmarks.bars import HOUSE
from benchmarks.cases import ENGINES, LOOP, OURS, Case
from benchmarks.environments import NotThereError, python_of
from benchmarks.table import Table
from benchmarks.task import GRID, SIZE, Task

CENT = 0.01
WARM = 2_000
"""Bars of each engine's first run, which isn't counted: what it compiles is kept on disk."""


@dataclass(frozen=True)
class Ran:
    """One process: the run's seconds, the whole process's, and what it ended with."""

    seconds: float
    process: float
    equity: float
    fills: int | None
    versions: dict[str, str]
    python: str


class FailedError(RuntimeError):
    """A process that gave no result; the message says why, in one line."""


def process(engine: str, task: Task, limit: float) -> Ran:
    """One run in a process of its own, seconds-limited."""
    command = [python_of(engine), "-m", "benchmarks.peers", engine, json.dumps(asdict(task))]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONWARNINGS": "ignore", "NUMBA_CACHE_DIR": str(HOUSE / "numba")}
    began = perf_counter()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=limit, cwd=HOUSE.parent, env=environment
        )
    except subprocess.TimeoutExpired:
        raise FailedError(f"stopped after {limit:,.0f} s") from None
    took = perf_counter() - began
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        raise FailedError("not there" if said[-1].startswith("KeyError: ") else said[-1][:160])
    return Ran(process=took, **json.loads(done.stdout.strip().splitlines()[-1]))


def gather(
    engines: list[str], task: Task, repeats: int, limit: float, run: Callable[[str, Task, float], Ran] = process
) -> tuple[dict[str, list[Ran]], dict[str, str]]:
    """All engines' runs, interleaved, and for those without one the reason."""
    runs: dict[str, list[Ran]] = {engine: [] for engine in engines}
    reasons: dict[str, str] = {}
    for turn in range(repeats):
        for engine in engines:
            if engine in reasons or (turn and runs[engine][0].process > limit / repeats):
                continue  # a slow one has run once, and its table says so
            try:
                runs[engine].append(run(engine, task, limit))
            except (FailedError, NotThereError) as error:
                reasons[engine] = str(error)
                runs[engine] = []
    return {engine: several for engine, several in runs.items() if several}, reasons


def verdict(several: list[Ran], right: Ran, symbols: int = 1) -> tuple[bool, str]:
    """Whether an engine's results may be compared, and what the table says of its equity."""
    first = several[0]
    if any((run.equity, run.fills) != (first.equity, first.fills) for run in several):
        return False, f"not the same twice: {', '.join(f'{run.equity:,.2f}' for run in several)}"
    apart = first.equity - right.equity
    if first.fills is None or right.fills is None or first.fills == right.fills:
        more, near = "", CENT * SIZE * (first.fills or 0)
    else:
        more = f", {first.fills - right.fills:+,} fills"
        near = CENT * SIZE * first.fills if abs(first.fills - right.fills) <= symbols else -1
    if not more and abs(apart) < CENT:
        return True, "equal"
    return abs(apart) <= near, f"{'' if abs(apart) <= near else 'wrong: '}{apart:+,.2f}{more}"


def table(
    case: Case, *, quick: bool, repeats: int, limit: float, run: Callable[[str, Task, float], Ran] = process
) -> Table:
    """The case, measured."""
    taking_part = [engine for engine in ENGINES if engine not in case.left_out]
    task = case.quick if quick else case.task
    task.columns()  # written before anybody is timed
    short = replace(task, bars=min(task.bars, WARM))
    gather(taking_part, short, 1, 5 * limit, run)  # everybody's files are read, and compiled, once before
    runs, reasons = gather(taking_part, task, repeats, limit, run)
    if LOOP not in runs:
        raise FailedError(f"the bare loop, by which all others are judged, didn't run: {reasons[LOOP]}")
    return _table(case, task, runs, case.left_out | reasons)


def _table(case: Case, task: Task, runs: Mapping[str, list[Ran]], reasons: Mapping[str, str]) -> Table:
    right = runs[LOOP][0]
    verdicts = {engine: verdict(several, right, task.symbols) for engine, several in runs.items()}
    count = task.bars * task.symbols * (len(GRID["fast"]) * len(GRID["slow"]) if task.case == "sweep" else 1)
    times = {e: [run.process if case.whole else run.seconds for run in several] for e, several in runs.items()}
    ours = times.get(OURS) if verdicts.get(OURS, (False,))[0] else None
    rows, figures = [], {}
    for engine, name in ENGINES.items():
        if engine not in runs:
            rows.append([name, "–", "–", "–", "–", "–", reasons.get(engine, "not there")])
            figures[engine] = {"reason": reasons.get(engine, "not there")}
            continue
        allowed, said = verdicts[engine]
        took = times[engine]
        ratio = f"{median(took) / median(ours):.2f}" if ours and allowed else "–"
        speed = f"{count / median(took):,.0f}" if allowed and not case.whole else "–"
        once = f" (run {len(took)}x)" if len(took) < max(map(len, times.values())) else ""
        processes = median(run.process for run in runs[engine])
        rows.append([name, f"{median(took):.3f}", f"{min(took):.3f}", speed, ratio, f"{processes:.2f}", said + once])
        figures[engine] = {
            "seconds": [run.seconds for run in runs[engine]],
            "process": [run.process for run in runs[engine]],
            "equity": runs[engine][0].equity,
            "fills": runs[engine][0].fills,
            "allowed": allowed,
            "count": count,
            "versions": runs[engine][0].versions,
            "python": runs[engine][0].python,
        }
    size = f"{task.symbols} × {task.bars:,}" if task.symbols > 1 else f"{task.bars:,}"
    what = "seconds of the process" if case.whole else "seconds"
    of = " (sums over all points)" if task.case == "sweep" else ""
    return Table(
        f"{case.title}: {size} bars, {right.fills:,} fills, final equity {right.equity:,.2f}{of}",
        ["engine", f"{what}, median", "least", "bars/s", "time against nbbacktest", "whole process, s", "result"],
        rows,
        figures=figures,
    )
