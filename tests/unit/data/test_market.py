"""Bars and the sessions that they lie in."""

from __future__ import annotations

import subprocess
import sys
from datetime import date

import pandas as pd
import pytest

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import DataError
from nbbacktest.data import synthetic
from nbbacktest.data.sources import load


def test_sessions_reach_from_the_first_bar_to_the_last():
    """The table begins with the first bar's session and ends with the last one's, and is built once."""
    market = load(SessionConfig(), synthetic.bars("EXE", "2024-10-03", "2024-10-08"))
    sessions = market.sessions()
    assert sessions.dates.tolist() == [date(2024, 10, d) for d in (3, 4, 7, 8)]
    assert market.sessions() is sessions


def test_sessions_of_naive_daily_bars_hold_them_all():
    """Each daily bar's end is worth a whole session of open market time."""
    days = pd.DatetimeIndex(["2024-10-03", "2024-10-04", "2024-10-07"])
    frame = pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}, index=days)
    market = load(SessionConfig(), frame)
    assert (market.sessions().elapsed(market.bars["ASSET"].end) / 23_400).tolist() == [1, 2, 3]


def test_an_exchange_without_a_session_there_says_so():
    """Two bars on a weekend lie in no New York session."""
    index = pd.DatetimeIndex(["2024-10-05 10:00", "2024-10-05 10:01"]).tz_localize("America/New_York")
    frame = pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}, index=index)
    with pytest.raises(DataError, match="XNYS has no session between"):
        load(SessionConfig(), frame).sessions()


def test_a_plain_daily_frame_needs_no_calendar():
    """Loading one never imports exchange_calendars, whose import alone takes half a second."""
    program = (
        "import sys, pandas as pd\n"
        "from nbbacktest.core.config import SessionConfig\n"
        "from nbbacktest.data.sources import load\n"
        "days = pd.date_range('2024-01-01', periods=9, freq='B')\n"
        "load(SessionConfig(), pd.DataFrame({c: 1.0 for c in ('open', 'high', 'low', 'close')}, index=days))\n"
        "print('exchange_calendars' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_floor_itself_imports_no_pandas():
    """Importing the sources costs no more than numpy and pydantic."""
    program = (
        "import sys, nbbacktest.data.sources; print({'pandas', 'pyarrow', 'exchange_calendars'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
