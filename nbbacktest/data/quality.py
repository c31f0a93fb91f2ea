"""`data_quality`: reports the completeness and soundness of bars, by symbol and session. It refuses nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.data_config import StampMeaning
from nbbacktest.core.errors import ConfigError, DataError, Problem
from nbbacktest.core.intervals import NO_TIME, Interval
from nbbacktest.core.records import BarColumns, Stamps
from nbbacktest.data import sources
from nbbacktest.data.bar_spans import begins_left_out, begins_of, full_stamps, shown, time_faults
from nbbacktest.data.calendar import ALWAYS_OPEN, local_dates
from nbbacktest.data.coverage import COUNTS, Coverage, Grid, cover, quality
from nbbacktest.data.frames import RawBars, judged
from nbbacktest.data.interval_inference import fits, inferred, on_grid, usual
from nbbacktest.data.market import MarketData

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class QualityReport:
    """The completeness and soundness of bars. Prints as a table, in a notebook too.

    Counts are of bars, by symbol and session:

    * ``expected``: the bars that fit between the session's open and close; half days have fewer, a lunch break none.
      The sessions are those from the first bar of any symbol, or the first day asked for, to the last of either.
    * ``present``: the expected bars that have a sound bar; ``missing``: the others; ``gaps``: runs of missing bars.
    * ``duplicates``: bars whose stamp came before, or that begin inside the bar before them; ``out_of_order``: those
      that come after a later one, whether a run sorts or leaves them out; ``off_grid``: those that stand alone where no bar
      of the interval begins or ends.
    * ``not_finite``, ``bad_ohlc``, ``bad_volume``: bars with a price or volume that is NaN or infinite, with prices that
      contradict each other, with a negative volume; ``bad_time``: those with no stamp, or a local time that doesn't
      exist or exists twice. Each row counts once, at the first of these.
    * ``zero_volume``: sound bars without volume; ``outside``: bars outside of the sessions. Both lower nothing.
    * ``quality``: in percent, ``100 * present / (expected + duplicates)``; None if nothing is expected.

    Attributes
    ----------
    source : str
        The source of the bars.
    exchange, timezone : str
    interval : Interval
    """

    source: str
    exchange: str
    interval: Interval
    stamps: Stamps
    _parts: Mapping[str, Coverage]

    @property
    def timezone(self) -> str:
        """IANA name of the zone in which times are shown."""
        return self.stamps.timezone

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols of the bars."""
        return tuple(self._parts)

    def to_frame(self) -> pd.DataFrame:
        """All counts and the quality, a row for each symbol and session, indexed by both.

        A day without a session has a row if there were bars on it; nothing is expected there.
        """
        import pandas as pd

        return pd.concat([self._frame_of(symbol) for symbol in self._parts])

    def summary(self) -> pd.DataFrame:
        """A row for each symbol: its sessions, all counts summed, the longest gap in bars, and the quality."""
        import pandas as pd

        rows = [self._summary_of(symbol) for symbol in self._parts]
        return pd.DataFrame(rows, index=pd.Index(self.symbols, name="symbol"))

    @cached_property
    def gaps(self) -> pd.DataFrame:
        """The runs of missing bars: symbol, interval, session, stamps of the first and last missing bar, and number of bars."""
        import pandas as pd

        return pd.concat([self._gaps_of(symbol) for symbol in self._parts], ignore_index=True)

    def to_dict(self) -> dict[str, Any]:
        """The whole report as JSON-ready values: dates and times in ISO 8601."""
        return {
            "source": self.source,
            "exchange": self.exchange,
            "timezone": self.timezone,
            "interval": self.interval.name,
            "symbols": {symbol: self._dict_of(symbol) for symbol in self._parts},
        }

    def _frame_of(self, symbol: str) -> pd.DataFrame:
        import pandas as pd

        part = self._parts[symbol]
        columns: dict[str, Any] = {"interval": self.interval.name, **part.counts}
        columns["quality"] = np.array([_percent(row) for row in _rows(part)], dtype=np.float64)
        sessions = pd.DatetimeIndex(part.dates.astype("datetime64[ns]"))
        return pd.DataFrame(
            columns, index=pd.MultiIndex.from_product([[symbol], sessions], names=["symbol", "session"])
        )

    def _summary_of(self, symbol: str) -> dict[str, Any]:
        part = self._parts[symbol]
        totals = part.totals()
        return {
            "interval": self.interval.name,
            "sessions": int((part.counts["expected"] > 0).sum()),
            **totals,
            "longest_gap": int(part.gap_count.max()) if len(part.gap_count) else 0,
            "quality": _percent(totals),
        }

    def _gaps_of(self, symbol: str) -> pd.DataFrame:
        import pandas as pd

        part = self._parts[symbol]
        columns = {
            "symbol": [symbol] * len(part.gap_count),
            "interval": [self.interval.name] * len(part.gap_count),
            "session": pd.DatetimeIndex(part.gap_date.astype("datetime64[ns]")),
            "first": self.stamps.begins(part.gap_first),
            "last": self.stamps.begins(part.gap_last),
            "count": part.gap_count,
        }
        return pd.DataFrame(columns).astype({"symbol": "str", "interval": "str"})

    def _dict_of(self, symbol: str) -> dict[str, Any]:
        part = self._parts[symbol]
        stamps = (self.stamps.begins(ns) for ns in (part.gap_first, part.gap_last))
        gaps = zip(part.gap_date.tolist(), *stamps, part.gap_count.tolist(), strict=True)
        return {
            **self._summary_of(symbol),
            "by_session": [
                {"session": day.isoformat(), **row, "quality": _percent(row)}
                for day, row in zip(part.dates.tolist(), _rows(part), strict=True)
            ],
            "runs": [
                {"session": day.isoformat(), "first": first.isoformat(), "last": last.isoformat(), "count": count}
                for day, first, last, count in gaps
            ],
        }

    def __repr__(self) -> str:
        return f"{self._title}\n{self._short().to_string(float_format='{:.2f}'.format)}"

    def _repr_html_(self) -> str:
        from html import escape

        table = self._short().to_html(float_format="{:.2f}".format, border=0)
        return f"<div><p>{escape(self._title)}</p>{table}</div>"

    @property
    def _title(self) -> str:
        return f"Quality of {self.interval} bars of {self.source} against the sessions of {self.exchange}"

    def _short(self) -> pd.DataFrame:
        """The summary without the columns that are empty."""
        whole = self.summary().drop(columns="interval")
        always = {"sessions", "expected", "present", "missing", "gaps", "longest_gap", "quality"}
        return whole[[name for name in whole.columns if name in always or whole[name].any()]].rename_axis(None)


def data_quality(
    source: Any,
    *,
    config: Any = None,
    exchange: str | None = None,
    interval: str | None = None,
    stamp: str | None = None,
) -> QualityReport:
    """Report the completeness and soundness of bars; faulty bars are counted, and never refused.

    Parameters
    ----------
    source
        Data as for `nbbacktest.backtest`: a DataFrame, ``{symbol: DataFrame}``, the path of a CSV or Parquet
        file, a `DataSource`; or a session config, as a `SessionConfig`, a mapping, or the path of a ``.json``; or
        `MarketData`, whose left-out rows are counted under the faults that they were left out for.
    config
        The facts about a `source` that is data: symbols, time zone, dates.
    exchange
        The calendar to count against; None: the config's, and if that says none either, XNYS, or 24/7 for bars on
        Saturdays and Sundays.
    interval
        None: the config's; for data that is handed over, the commonest distance of two bars that the others fit.
    stamp
        The moment of a bar that intraday stamps mark, ``"open"`` or ``"close"``; files need it here or in the config.

    Raises
    ------
    ConfigError
        If a config is wrong, or the exchange is unknown.
    DataError
        If this isn't a table of bars: a file that isn't there, a column that is missing, no stamp at all; if
        bars are longer than a day.

    Examples
    --------
    >>> from nbbacktest.data import synthetic
    >>> bars = synthetic.bars("EXE", "2024-11-29", "2024-11-29")["EXE"]  # a half day
    >>> report = data_quality(bars.drop(bars.index[3:5]))
    >>> report.summary()[["expected", "present", "gaps"]].iloc[0].tolist()
    [210, 208, 1]
    """
    if isinstance(source, MarketData):
        told = {"config": config, "exchange": exchange, "interval": interval, "stamp": stamp}
        if given := [name for name, value in told.items() if value is not None]:
            cure = "is known from the MarketData; leave it out"
            raise ConfigError([Problem(name, told[name], cure) for name in given], "data_quality()")
        return _report(source)
    named = _is_config(source)
    if named and config is not None:
        cure = "comes beside a source that is a config itself; give one of them"
        raise ConfigError([Problem("config", config, cure)], "data_quality()")
    settings = SessionConfig.load(source if named else config if config is not None else {})
    changes: dict[str, Any] = {"exchange": exchange} if exchange is not None else {}
    data = {name: value for name, value in (("interval", interval), ("stamp", stamp)) if value is not None}
    settings = settings.overlaid(changes | ({"data": data} if data else {}), where="data_quality()")
    return _report(_survey(settings, None if named else source))


def _is_config(source: Any) -> bool:
    if isinstance(source, (str, Path)):
        return str(source).lower().endswith(".json")
    if isinstance(source, Mapping):
        return any(name in source for name in SessionConfig.model_fields) and not any(
            hasattr(value, "columns") for value in source.values()
        )
    return isinstance(source, SessionConfig)


def _report(market: MarketData) -> QualityReport:
    grid = Grid(market.due(), market.interval)
    parts = {
        symbol: cover(grid, columns.time, columns.volume, market.left_out.get(symbol, {}))
        for symbol, columns in market.bars.items()
    }
    return QualityReport(market.source, market.exchange, market.interval, market.stamps, parts)


def _survey(config: SessionConfig, data: Any) -> MarketData:
    """The bars as the loader would read them, except that none is refused, and warm-up isn't separated."""
    draft = sources.Draft(config, data, (), "drop")
    sources.find(draft)
    found, local = draft.found, draft.zone
    draft.interval, raws = _surveyed(sources.rows_of(draft), draft.known_interval, draft.stamp or "open")
    interval = draft.interval
    chosen = data is None or "exchange" in config.model_fields_set
    exchange = (
        config.exchange if chosen or not sources.on_weekends([np.sort(raw.ticks) for raw in raws]) else ALWAYS_OPEN
    )
    is_named = chosen or exchange != ALWAYS_OPEN
    stamps = shown(raws, interval, config, found.timezone, is_named=is_named)
    mark = sources.stamp_of(draft)
    bars, left_out = {}, {}
    for raw in raws:
        sound = judged(raw, time_faults(raw, interval, stamps, timezone=local, sessions=None, mark=mark), "drop")
        time = begins_of(sound, sound.index, interval, stamps, timezone=local, mark=mark)
        # The ends of these bars aren't asked for, so that none is cut at a close.
        o, h, l, c, v = (sound.columns[name] for name in ("open", "high", "low", "close", "volume"))  # noqa: E741
        bars[raw.symbol] = BarColumns(raw.symbol, interval, time, time + interval.ns, o, h, l, c, v)
        counted = replace(sound, left_out=sound.disordered)
        left_out[raw.symbol] = begins_left_out(counted, interval, stamps, timezone=local, mark=mark)
    asked = (config.backtest.start_date, config.backtest.end_date)
    if not any(len(columns) for columns in bars.values()):
        asked = _days_left_out(left_out, stamps.day_zone)
    market = MarketData(
        bars,
        interval,
        stamps,
        found.source,
        found.synthetic,
        0,
        exchange,
        hours=config.own_hours,
        left_out=left_out,
        days_asked=asked,
        is_named=is_named,
    )
    return _between(market, config)


def _surveyed(raws: Sequence[RawBars], given: Interval | None, mark: StampMeaning) -> tuple[Interval, list[RawBars]]:
    """The length of bars, and the rows that fit it; nothing is refused.

    Raises
    ------
    DataError
        If not even a spacing is known.
    """
    stamped = list(raws)
    with suppress(DataError):
        stamped = [full_stamps(raw, given, mark) for raw in raws]
    interval = given
    if interval is None:
        with suppress(DataError):
            interval = inferred(stamped, mark)
    interval = interval or usual(stamped)
    return interval, [on_grid(raw, interval, mark, "drop") if fits(raw, interval.ns, mark) else raw for raw in stamped]


def _days_left_out(left_out: Mapping[str, Mapping[str, Any]], day_zone: str) -> tuple[Any, Any]:
    instants = [ns[ns != NO_TIME] for kinds in left_out.values() for ns in kinds.values()]
    known = np.concatenate(instants) if instants else np.zeros(0, dtype=np.int64)
    if not len(known):
        raise DataError("there is no row with a stamp; bring bars that have one")
    days = local_dates(np.array([known.min(), known.max()]), day_zone).astype("datetime64[D]")
    return days[0].item(), days[1].item()


def _between(market: MarketData, config: SessionConfig) -> MarketData:
    """The bars of the days that the config asks for; all without such days."""
    first, last = config.backtest.start_date, config.backtest.end_date
    if first is None and last is None:
        return market

    def kept(time: Any) -> Any:
        order = np.argsort(time, kind="stable")
        days = np.empty(len(time), dtype="datetime64[D]")
        days[order] = market.days.of(time[order]).astype("datetime64[D]")
        inside = np.ones(len(time), dtype=np.bool_)
        if first is not None:
            inside &= days >= np.datetime64(first, "D")
        if last is not None:
            inside &= days <= np.datetime64(last, "D")
        return inside

    bars = {symbol: columns.taken(kept(columns.time)) for symbol, columns in market.bars.items()}
    left_out = {
        symbol: {kind: ns[(ns == NO_TIME) | kept(ns)] for kind, ns in kinds.items()}
        for symbol, kinds in market.left_out.items()
    }
    return replace(market, bars=bars, left_out=left_out)


def _rows(part: Coverage) -> list[dict[str, int]]:
    columns = [part.counts[name].tolist() for name in COUNTS]
    return [dict(zip(COUNTS, row, strict=True)) for row in zip(*columns, strict=True)]


def _percent(counts: Mapping[str, int]) -> float | None:
    return quality(counts["present"], counts["expected"], counts["duplicates"])
