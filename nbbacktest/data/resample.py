"""Coarser bars from base bars: anchored to each session's open, cut at its break and its close, linear in the bars."""

from __future__ import annotations

import numpy as np

from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import DAY, Interval
from nbbacktest.core.records import BarColumns, Int64, Stamps
from nbbacktest.data.calendar import SessionTable, local_midnights


def derive(base: BarColumns, interval: Interval, sessions: SessionTable) -> BarColumns:
    """Build the bars of `interval` from those of `base`.

    A bucket begins a whole number of intervals after its session's open, holds the base bars that
    start in it, and ends one interval later or at the session's close. A lunch break ends a bucket too, and those of
    the afternoon begin a whole number of intervals after it. Without base bars in it there
    is no bar. It never ends before the last base bar that it is built from, so it can't be seen early
    even where base bars straddle buckets.

    Parameters
    ----------
    base
        Base bars, or bars derived from them.
    interval
        A multiple of the base interval, or ``1d``: one bar a session, stamped with its date.
    sessions
        Sessions that cover all the bars.

    Returns
    -------
    BarColumns
        With `base_count` filled: how many base bars each bar was built from.

    Raises
    ------
    DataError
        Where the interval doesn't fit, or bars lie outside every session.
    """
    _check_interval(base, interval)
    if not len(base):
        return BarColumns(
            base.symbol, interval, base.time, base.end, base.open, base.high, base.low, base.close, base.volume,
            np.zeros(0, dtype=np.int64),
        )  # fmt: skip
    part = _parts(base, sessions)
    if interval.is_daily:
        row = sessions.part_row[part]
        first = _first_of_each(row)
        time = local_midnights(sessions.dates[row[first]], sessions.timezone)
        nominal = sessions.close[row[first]]
    else:
        opened, closed = sessions.part_open[part], sessions.part_close[part]
        bucket = (base.time - opened) // interval.ns
        first = _first_of_each(part, bucket)
        time = opened[first] + bucket[first] * interval.ns
        nominal = np.minimum(time + interval.ns, closed[first])
    last = np.append(first[1:], len(base)) - 1
    count = last - first + 1 if base.base_count is None else np.add.reduceat(base.base_count, first)
    return BarColumns(
        base.symbol,
        interval,
        time,
        np.maximum(nominal, base.end[last]),
        base.open[first],
        np.maximum.reduceat(base.high, first),
        np.minimum.reduceat(base.low, first),
        base.close[last],
        np.add.reduceat(base.volume, first),
        count,
    )


def _check_interval(base: BarColumns, interval: Interval) -> None:
    if interval.ns > DAY:
        raise DataError(f"derived interval {interval} is longer than a session; the longest is 1d")
    # A day is a session, of whatever length: any shorter bars make one.
    if interval.ns <= base.interval.ns or (interval.ns % base.interval.ns and not interval.is_daily):
        raise DataError(
            f"derived interval {interval} is not a multiple of the {base.interval} bars of {base.symbol}; "
            "choose a multiple of them"
        )


def _parts(base: BarColumns, sessions: SessionTable) -> Int64:
    """The part of a session that every bar starts in. Both rise: looking up the parts among the bars is the cheap way."""
    begin = np.searchsorted(base.time, sessions.part_open)
    counts = np.searchsorted(base.time, sessions.part_close) - begin
    if int(counts.sum()) < len(base):
        outside = np.flatnonzero(sessions.session_of(base.time) < 0)
        stamp = Stamps(sessions.timezone).stamp(int(base.time[outside[0]]))
        raise DataError(
            f"{base.symbol}: {len(outside)} of {len(base)} bars lie outside the sessions of {sessions.exchange}, the "
            f"first stamped {stamp}; derived bars are anchored to sessions, so drop those bars, set hours in the config "
            'to extended ones that hold them, or set exchange to one that trades then, such as "24/7"'
        )
    return np.repeat(np.arange(len(counts)), counts)


def _first_of_each(*keys: Int64) -> Int64:
    """The rows at which one of the keys changes, row 0 included."""
    change = np.zeros(len(keys[0]), dtype=np.bool_)
    change[0] = True
    for key in keys:
        change[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(change)
