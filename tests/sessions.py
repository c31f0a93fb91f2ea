"""Minutes of real calendars, and bars of any length made of them: what a bar's last trade was is known then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import pandas as pd

from nbbacktest.core.intervals import MINUTE, Interval
from nbbacktest.core.records import Int64
from nbbacktest.data.calendar import session_table

EXCHANGES = ("XNYS", "XTKS", "XHKG", "XLON", "XASX", "XBOM", "CMES", "us_futures", "IEPA", "24/5", "24/7")
ZONES = (
    "UTC", "America/New_York", "America/Los_Angeles", "Europe/London", "Asia/Tokyo", "Asia/Kolkata", "Australia/Sydney",
    "America/Sao_Paulo",
)  # fmt: skip


class Made(NamedTuple):
    """Bars made of minutes: a frame stamped at the opens in UTC, and when each one's last minute ended."""

    frame: pd.DataFrame
    last: Int64


def open_minutes(exchange: str, first: date, days: int) -> tuple[Int64, Int64]:
    """The minutes in which an exchange trades, nanoseconds UTC, and the open of the part that each lies in."""
    table = session_table(exchange, first, first + timedelta(days=days))
    spans = zip(table.part_open, table.part_close, strict=True)
    parts = [np.arange(opened, closed, MINUTE) for opened, closed in spans]
    return np.concatenate(parts), np.repeat(table.part_open, [len(part) for part in parts])


def bars_of(exchange: str, interval: str, first: date, days: int, *, zone: str | None = None, seed: int = 1) -> Made:
    """A random walk by the minute, as bars of `interval`.

    They begin a whole number of lengths after their session's (or its part's) open; with `zone`, on the grid that
    clocks show there since midnight.
    """
    minutes, opened = open_minutes(exchange, first, days)
    length = Interval.parse(interval).ns
    if zone is None:
        begin = opened + (minutes - opened) // length * length
    else:
        local = pd.DatetimeIndex(minutes, tz="UTC").tz_convert(zone)
        since = local.tz_localize(None).asi8 % (24 * 60 * MINUTE)
        begin = minutes - since % length
    return grouped(minutes, begin, seed=seed)


def grouped(minutes: Int64, begin: Sequence[int] | Int64, *, seed: int = 1) -> Made:
    """Minutes of a random walk put together by where their bars begin."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, len(minutes))))
    opened = np.r_[100.0, close[:-1]]
    one = pd.DataFrame({"open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close), "close": close,
                        "volume": 1.0, "last": minutes + MINUTE})  # fmt: skip
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum", "last": "last"}
    frame = one.groupby(np.asarray(begin)).agg(how)
    last = frame.pop("last").to_numpy()
    frame.index = pd.DatetimeIndex(frame.index.to_numpy().view("datetime64[ns]"), tz="UTC")
    return Made(frame, last)
