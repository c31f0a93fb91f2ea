"""Colours, candles, thinned curves and the time axis: the parts that all charts share.

Pure numpy on local wall time (nanoseconds since 1970 on the exchange's clock), which an axis shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nbbacktest.core.intervals import DAY, HOUR, MINUTE, SECOND, Interval
from nbbacktest.core.records import BarColumns, Float64, Int64, Stamps
from nbbacktest.data.calendar import local_clock
from nbbacktest.trading.record import RunRecord

# Each reads on white and on black, and differs to a colour-blind eye.
UP, DOWN, BUY, SELL, EQUITY, LOSS = "#2a9d8f", "#e2674a", "#3b82f6", "#d946ef", "#3b82f6", "#e2674a"
LIMIT, STOP, TOUCH, OTHER = "#d99a1c", "#9b7bea", "#0f9fb5", "#8f9499"
LEVEL_LINES = (("limit", LIMIT, "dot"), ("stop", STOP, "dash"), ("touch", TOUCH, "dashdot"))
"""The style of each level of an order: (field of the order, colour, dash)."""
INK, GRID = "#808080", "rgba(128,128,128,0.22)"
MILLISECOND = 1_000_000

MOST = 600
"""The most candles that a browser draws without a wait."""

_STEPS = (
    *(n * SECOND for n in (1, 2, 5, 10, 15, 30)),
    *(n * MINUTE for n in (1, 2, 3, 5, 10, 15, 30)),
    *(n * HOUR for n in (1, 2, 4)),
)
_WEEKEND = (5, 6)
_CALENDAR = (("1 day", "D"), ("1 week", "W"), ("1 month", "M"), ("1 quarter", "Q"), ("1 year", "Y"))


@dataclass(frozen=True, slots=True)
class Binning:
    """A rule that joins bars into candles.

    Attributes
    ----------
    name : str
        The length of a candle, such as ``"15m"`` or ``"1 week"``.
    step : int
        Nanoseconds of an intraday candle; 0 if candles are whole days or more.
    unit : str
        Of the others: D, W, M, Q or Y.
    anchor : int
        The time of day from which intraday candles are counted, so that the first one starts at the session's open.
    """

    name: str
    step: int
    unit: str
    anchor: int

    def keys(self, local: Int64) -> Int64:
        """A number for every bar's candle, rising with time."""
        if self.step:
            return (local - self.anchor) // self.step
        days = local // DAY
        if self.unit == "D":
            return days
        if self.unit == "W":
            return (days + 3) // 7  # 1970-01-01 was a Thursday; weeks start on Monday
        months = days.view("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        return np.asarray(months // {"M": 1, "Q": 3, "Y": 12}[self.unit], dtype=np.int64)

    def starts(self, keys: Int64) -> Int64:
        """The start of each of these candles, local nanoseconds."""
        if self.step:
            return keys * self.step + self.anchor
        if self.unit == "D":
            return keys * DAY
        if self.unit == "W":
            return (keys * 7 - 3) * DAY
        months = (keys * {"M": 1, "Q": 3, "Y": 12}[self.unit]).view("datetime64[M]")
        return np.asarray(months.astype("datetime64[ns]").astype(np.int64), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Candles:
    """Joined bars: where each candle starts (local nanoseconds), its number, and its prices."""

    start: Int64
    key: Int64
    open: Float64
    high: Float64
    low: Float64
    close: Float64


def local_time(stamps: Stamps, ns: Int64) -> Int64:
    """The times that the clock of the labels shows at these instants, as nanoseconds since 1970 there.

    Of session-long bars that is the clock that their dates begin by.
    """
    return local_clock(np.asarray(ns, dtype=np.int64), stamps.day_zone if stamps.daily else stamps.timezone)


def choose(local: list[Int64], base: Interval, most: int = MOST) -> Binning:
    """The shortest usual candle that leaves no symbol more than `most` of them.

    Parameters
    ----------
    local
        Each symbol's stamps, local nanoseconds.
    base
        The length of the bars.
    """
    longest = max((len(times) for times in local), default=0)
    anchor = min((int((times % DAY).min()) for times in local if len(times)), default=0)
    options = []
    if not base.is_daily:
        steps = [base.ns, *(step for step in _STEPS if step > base.ns and step % base.ns == 0)]
        # Joining k bars into one leaves at least a k-th of them: shorter candles needn't be tried.
        options = [
            Binning(Interval.from_ns(step).name, step, "", anchor % step)
            for step in steps
            if step * most >= longest * base.ns
        ]
    calendar = [Binning(base.name if unit == "D" and base.ns > DAY else name, 0, unit, 0) for name, unit in _CALENDAR]
    for option in [*options, *calendar]:
        if all(_count(option.keys(times)) <= most for times in local):
            break
    return option


def _count(keys: Int64) -> int:
    return int(np.count_nonzero(np.diff(keys))) + 1 if len(keys) else 0


def join(bars: BarColumns, first: int, local: Int64, binning: Binning) -> Candles:
    """The bars from row `first` on as candles: open of the first, highest, lowest, close of the last."""
    keys = binning.keys(local)
    if not len(keys):
        none = np.empty(0, dtype=np.float64)
        return Candles(keys, keys, none, none, none, none)
    edges = np.concatenate(([0], np.flatnonzero(np.diff(keys)) + 1))
    return Candles(
        binning.starts(keys[edges]),
        keys[edges],
        bars.open[first:][edges],
        np.maximum.reduceat(bars.high[first:], edges),
        np.minimum.reduceat(bars.low[first:], edges),
        bars.close[first:][np.append(edges[1:], len(keys)) - 1],
    )


def extremes(values: Float64, most: int = MOST) -> Int64:
    """The positions of `values` to draw so that no high or low is lost: rising, at most about twice `most`.

    They are the lowest and the highest of every stretch of equal length, and the first and the last of all.
    """
    count = len(values)
    if count <= 2 * most:
        return np.arange(count, dtype=np.int64)
    length = -(-count // most)
    whole = count // length * length
    runs = values[:whole].reshape(-1, length)
    offsets = np.arange(0, whole, length)
    tail = values[whole:]
    ends = [0, count - 1] if not len(tail) else [0, count - 1, whole + int(tail.argmin()), whole + int(tail.argmax())]
    return np.unique(np.concatenate((runs.argmin(axis=1) + offsets, runs.argmax(axis=1) + offsets, ends)))


def closed_spans(local: Int64, base: Interval, most: int = 200) -> list[tuple[int, int]]:
    """The stretches of an hour or more between intraday bars: from a bar's end to the next one's start.

    Parameters
    ----------
    local
        The stamps of all bars of all symbols, rising, local nanoseconds.
    most
        The longest ones alone if there are more; each makes the axis dearer to draw.
    """
    ends = local[:-1] + base.ns
    gaps = local[1:] - ends
    rows = np.flatnonzero(gaps >= HOUR)
    rows = np.sort(rows[np.argsort(-gaps[rows], kind="stable")[:most]])
    return [(int(ends[row]), int(local[row + 1])) for row in rows]


# -- the time axis ------------------------------------------------------------------------------------------


def axis(local: Int64) -> Float64:
    """Milliseconds as floats: the one form of dates that plotly sends fast."""
    return local / MILLISECOND


def period(binning: Binning) -> dict[str, Any]:
    """The properties that draw a candle in the middle of its time, and label it by its start."""
    months = {"M": "M1", "Q": "M3", "Y": "M12"}.get(binning.unit)
    if months:
        return {"xperiod": months, "xperiodalignment": "middle"}
    step = binning.step or {"D": 1, "W": 7}[binning.unit] * DAY
    start = int(binning.starts(np.zeros(1, dtype=np.int64))[0])
    return {"xperiod": step / MILLISECOND, "xperiod0": start / MILLISECOND, "xperiodalignment": "middle"}


def moments(record: RunRecord, instants: Int64) -> Int64:
    """The places of instants on the axis; those of a daily run are in the middle of their date, under its candle."""
    if not record.daily:
        return local_time(record.stamps, instants)
    return local_time(record.stamps, instants - 1) // DAY * DAY + DAY // 2


def breaks(base: Interval, local: list[Int64], binning: Binning) -> list[dict[str, Any]]:
    """The closed hours or days, which the axis leaves out. They are found in the bars, so holidays and half days are right."""
    times = [t for t in local if len(t)]
    if not times or binning.unit not in ("", "D"):
        return []
    if binning.step:
        spans = np.array(closed_spans(np.unique(np.concatenate(times)), base), dtype=np.int64).reshape(-1, 2)
        # Whole candles only, and a moment after the last one: the session's last equity lies on the edge.
        after = binning.starts(binning.keys(spans[:, 0] - 1) + 1)
        before = binning.starts(binning.keys(spans[:, 1]))
        return [{"bounds": [a + 1.0, b]} for a, b in zip(axis(after), axis(before), strict=True) if b > a + 1.0]
    days = np.unique(np.concatenate(times) // DAY)
    absent = np.setdiff1d(np.arange(days[0], days[-1] + 1), days)
    if len(absent) > len(days):
        return []
    weekends = not np.isin((days + 3) % 7, _WEEKEND).any()
    single = absent[~np.isin((absent + 3) % 7, _WEEKEND)] if weekends else absent
    breaks: list[dict[str, Any]] = [{"bounds": ["sat", "mon"]}] if weekends else []
    if len(single):
        breaks.append({"values": [str(day) for day in single.view("datetime64[D]")]})
    return breaks
