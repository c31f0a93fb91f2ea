"""Every statistic is on its page, and says where its formula comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbbacktest.report.table import AGAINST, GROUPS
from nbbacktest.trading import returns, stats

PAGE = Path(__file__).parents[3] / "docs" / "statistics.md"


def test_every_statistic_is_on_the_page():
    """By its label and its name."""
    page = PAGE.read_text(encoding="utf-8")
    for rows in (*GROUPS.values(), *AGAINST.values()):
        for name, (label, _) in rows.items():
            assert f"**{label}** (`{name}`," in page, name


@pytest.mark.parametrize(
    "name",
    ["cagr", "volatility", "sharpe", "sortino", "calmar", "sqn", "average_mae", "alpha", "beta", "information_ratio"],
)
def test_formulas_name_their_source(name):
    """A formula that others write otherwise says whose it is."""
    function = getattr(stats, name, None) or getattr(returns, name)
    assert "Source" in function.__doc__
