"""A quality report in a terminal."""

from __future__ import annotations

from io import StringIO

import numpy as np
import pandas as pd
from rich.console import Console

import nbbacktest as nb
from nbbacktest.data import synthetic
from nbbacktest.report.terminal import show_quality


def shown(report: nb.QualityReport, **how: int | None) -> str:
    """What an 80 columns wide terminal shows."""
    out = StringIO()
    show_quality(report, Console(file=out, width=80), **how)
    return out.getvalue()


def minutes() -> pd.DataFrame:
    return synthetic.bars("EXE", "2024-11-27", "2024-11-29")["EXE"]


def test_sound_bars_are_one_table():
    """Without faults, gaps or poor sessions there is nothing more to show."""
    text = shown(nb.data_quality({"EXE": minutes()}))
    assert "1m bars of DataFrame, synthetic, seed 7, against the sessions of XNYS" in " ".join(text.split())
    assert "100.00%" in text
    assert "Faults" not in text
    assert "gaps, the longest first" not in text


def test_faults_sessions_and_gaps_are_shown():
    """The worst sessions and the longest gaps first, as many as are asked for; times are local."""
    bars = minutes()
    bars.iloc[300, 0] = np.nan
    report = nb.data_quality({"EXE": bars.drop(bars.index[[5, 6, 450]])})
    text = shown(report)
    assert "No number" in text
    assert "Bad OHLC" not in text
    assert text.index("2024-11-27") < text.index("2024-11-29")
    assert "09:35" in text
    assert "09:36" in text
    assert "2 of 2 sessions are below 100%; the worst 2" in text
    assert "3 of 3 gaps" in text
    assert "1 of 3 gaps" in shown(report, gaps=1)
    assert "sessions are below" not in shown(report, sessions=0)
    assert "gaps, the longest" not in shown(report, gaps=0)
    assert "3 of 3 gaps" in shown(report, gaps=None, sessions=None)


def test_gaps_of_days_are_dates():
    """A day has no time of day."""
    dates = pd.DatetimeIndex(["2024-10-03", "2024-10-07"])
    bars = pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}, index=dates)
    text = shown(nb.data_quality(bars, interval="1d"))
    assert "2024-10-04" in text
    assert "00:00" not in text


def test_bars_outside_of_every_session_are_none():
    """A Sunday's bar is outside, and fills nothing of what was asked for."""
    dates = pd.DatetimeIndex(["2024-10-06"])
    bars = pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}, index=dates)
    config = {"backtest": {"start_date": "2024-10-03", "end_date": "2024-10-07"}}
    text = shown(nb.data_quality(bars, interval="1d", config=config))
    assert "0.00%" in text
    assert "Outside" in text
