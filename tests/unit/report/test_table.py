"""Statistics as a table."""

from __future__ import annotations

import ast
import io
import json
import math
import re
from pathlib import Path

import pytest
from rich.console import Console

from nbbacktest.report.analysis import RunAnalysis
from nbbacktest.report.document import document
from nbbacktest.report.sweep import STATISTICS
from nbbacktest.report.table import GROUPS, Stats, written
from nbbacktest.report.tearsheet import page
from nbbacktest.report.terminal import print_report
from nbbacktest.trading.stats import statistics
from tests.records import bars, minutes, run

PACKAGE = Path(__file__).parents[3] / "nbbacktest"


def test_every_statistic_has_a_label():
    """The table shows all of them, and nothing else."""
    labelled = [name for group in GROUPS.values() for name in group]
    assert sorted(labelled) == sorted(statistics(run([])))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("return", 0.1234, "12.34%"),
        ("max_drawdown", -1.5, "-150.00%"),
        ("final_equity", 1234567.891, "1,234,567.89"),
        ("bars", 1_000_000, "1,000,000"),
        ("sharpe", math.nan, "n/a"),
        ("cagr", math.inf, "beyond any number"),
        ("turnover", 2.0, "2.00 x"),
        ("max_drawdown", -0.0, "0.00%"),
        ("expectancy", -0.00001, "0.00"),
    ],
)
def test_values_have_units(name, value, text):
    """Percent, separators, and no minus before a zero."""
    assert written(name, value) == text


def test_stats_are_read_only_and_whole():
    """A mapping in every respect but writing."""
    stats = Stats({"sharpe": 1.0})
    assert dict(stats) == {"sharpe": 1.0}
    assert len(stats) == 1
    assert not hasattr(stats, "__setitem__")


@pytest.mark.parametrize("name", ["sortino", "calmar", "sqn", "turnover", "exposure", "average_mae", "average_mfe"])
def test_a_statistic_stands_in_two_files(name):
    """Its definition and its row of the table; the faces that show all statistics name none of these."""
    named = [
        path.relative_to(PACKAGE).as_posix()
        for path in sorted(PACKAGE.rglob("*.py"))
        if any(
            isinstance(node, ast.Constant) and node.value == name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        )
    ]
    assert named == ["report/table.py", "trading/stats.py"]


def test_where_a_statistic_goes_is_told_so():
    """The page of architecture names these two files."""
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith("| a statistic |")]
    assert re.findall(r"`((?:trading|report)\.\w+)`", row.split("|")[2]) == ["trading.stats", "report.table"]


def test_every_face_shows_every_statistic():
    """The table alone says which there are: text, HTML, tearsheet, terminal, JSON and sweeps follow it."""
    columns = bars("A", minutes(4), [10.0, 11.0, 12.0, 11.0])
    analysis = RunAnalysis(run([columns], [(1, "A", 1.0, 10.0), (2, "A", -1.0, 12.0)]))
    text = io.StringIO()
    print_report(analysis, Console(file=text, width=200))
    faces = [repr(analysis.stats), analysis.stats._repr_html_(), page(analysis)]
    labels = {name: label for group in GROUPS.values() for name, (label, _) in group.items()}
    assert all(label in face for face in faces for label in labels.values())
    assert all(label in text.getvalue() for name, label in labels.items() if name not in ("start", "end"))
    assert json.loads(document(analysis))["stats"].keys() == labels.keys() == set(STATISTICS)
