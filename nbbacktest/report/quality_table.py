"""Draws a quality report in a terminal: totals by symbol, its faults, the worst sessions and the longest gaps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbbacktest.report.console import console as plain_console

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from nbbacktest.data.quality import QualityReport

_COVERAGE = {
    "expected": "Expected", "present": "Present", "missing": "Missing", "gaps": "Gaps", "longest_gap": "Longest",
    "quality": "Quality",
}  # fmt: skip
_FAULTS = {
    "duplicates": "Double", "out_of_order": "Out of order", "not_finite": "No number", "bad_ohlc": "Bad OHLC",
    "bad_volume": "Bad volume", "bad_time": "Bad time", "zero_volume": "No volume", "outside": "Outside",
}  # fmt: skip
_GOOD, _FAIR = 99.0, 90.0  # percent; below the second it is shown in red
_MINUTE = 60_000_000_000


def show_quality(
    report: QualityReport, console: Console | None = None, *, sessions: int | None = 5, gaps: int | None = 5
) -> None:
    """Print a report: its totals, its faults, its worst sessions and its longest gaps, as far as there are some.

    Parameters
    ----------
    console
        Where to; None: stdout.
    sessions, gaps
        How many of each at most; 0: none; None: all.
    """
    console = console or plain_console()
    console.print(coverage_table(report))
    drawn = (faults_table(report), sessions_table(report, sessions), gaps_table(report, gaps))
    for table in drawn:
        if table.row_count:
            console.print(table)


def coverage_table(report: QualityReport) -> Table:
    """By symbol, how many of the expected bars there are."""
    title = f"{report.interval} bars of {report.source}, against the sessions of {report.exchange}"
    totals = _totals(report)
    labels = {"sessions": "Sessions"} | _COVERAGE
    return _table(title, ("Symbol",), labels, (((symbol,), row) for symbol, row in totals.items()))


def faults_table(report: QualityReport) -> Table:
    """By symbol, the bars that aren't as they should be; kinds and symbols without any are left out."""
    totals = {symbol: row for symbol, row in _totals(report).items() if any(row[name] for name in _FAULTS)}
    labels = {name: label for name, label in _FAULTS.items() if any(row[name] for row in totals.values())}
    return _table("Faults", ("Symbol",), labels, (((symbol,), row) for symbol, row in totals.items()))


def sessions_table(report: QualityReport, worst: int | None = None) -> Table:
    """The sessions of less than full quality, the worst first; `worst` at most, or all."""
    whole = report.to_dict()["symbols"]
    rows = [(symbol, row) for symbol, part in whole.items() for row in part["by_session"]]
    poor = sorted((pair for pair in rows if _order(pair[1]) < 100), key=lambda pair: _order(pair[1]))
    labels = {name: label for name, label in _COVERAGE.items() if name != "longest_gap"}
    title = f"{len(poor)} of {len(rows)} sessions are below 100%; the worst {_shown(len(poor), worst)}"
    cells = (((symbol, row["session"]), row) for symbol, row in poor[:worst])
    return _table(title, ("Symbol", "Session"), labels, cells)


def gaps_table(report: QualityReport, longest: int | None = None) -> Table:
    """The missing runs, the longest first; `longest` at most, or all."""
    gaps: Any = report.gaps.sort_values("count", ascending=False, kind="stable")
    clock = "" if report.interval.is_daily else "%H:%M" if report.interval.ns >= _MINUTE else "%H:%M:%S"
    title = f"{_shown(len(gaps), longest)} of {len(gaps)} gaps, the longest first; times in {report.timezone}"
    labels = {"first": "First missing", "last": "Last missing", "count": "Bars"}
    cells = (
        (
            (gap.symbol, str(gap.session.date())),
            {
                "first": gap.first.strftime(clock) if clock else str(gap.first.date()),
                "last": gap.last.strftime(clock) if clock else str(gap.last.date()),
                "count": gap.n,
            },
        )
        for gap in gaps.head(_shown(len(gaps), longest)).rename(columns={"count": "n"}).itertuples()
    )
    return _table(title, ("Symbol", "Session"), labels, cells)


def _totals(report: QualityReport) -> dict[str, Mapping[str, Any]]:
    return dict(report.to_dict()["symbols"])


def _table(
    title: str,
    keys: Sequence[str],
    labels: Mapping[str, str],
    rows: Iterable[tuple[Sequence[str], Mapping[str, Any]]],
) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for key in keys:
        table.add_column(key)
    for label in labels.values():
        table.add_column(label, justify="right")
    for own, row in rows:
        table.add_row(*own, *(_written(name, row[name]) for name in labels))
    return table


def _written(name: str, value: Any) -> RenderableType:
    from rich.text import Text

    if name == "quality":
        if value is None or math.isnan(value):
            return "n/a"
        color = "green" if value >= _GOOD else "yellow" if value >= _FAIR else "red"
        return Text(f"{value:.2f}%", style=color)
    return value if isinstance(value, str) else f"{value:,}"


def _order(row: Mapping[str, Any]) -> float:
    return 100.0 if row["quality"] is None else float(row["quality"])


def _shown(there: int, most: int | None) -> int:
    return there if most is None else min(there, most)
