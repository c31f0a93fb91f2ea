"""The page that defines every statistic says what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from nbbacktest.report.table import AGAINST, GROUPS
from nbbacktest.trading import comparison, stats

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def builder():
    """The script that writes the page."""
    spec = importlib.util.spec_from_file_location("build_statistics", DOCS / "build_statistics.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_as_the_docstrings_are(builder):
    """Whoever changes a definition runs the script: python docs/build_statistics.py."""
    page = builder.PAGE.read_text(encoding="utf-8")
    assert page == builder.filled(page), "docs/statistics.md is out of date: run python docs/build_statistics.py"


def test_every_statistic_is_on_the_page(builder):
    """By its label and its name."""
    page = builder.PAGE.read_text(encoding="utf-8")
    for rows in (*GROUPS.values(), *AGAINST.values()):
        for name, (label, _) in rows.items():
            assert f"**{label}** (`{name}`," in page, name


@pytest.mark.parametrize(
    "name",
    ["cagr", "volatility", "sharpe", "sortino", "calmar", "sqn", "average_mae", "alpha", "beta", "information_ratio"],
)
def test_formulas_name_their_source(name):
    """A formula that others write otherwise says whose it is."""
    function = getattr(stats, name, None) or getattr(comparison, name)
    assert "Source" in function.__doc__
