"""The source of bars from Yahoo Finance, by the package yfinance (extra `yfinance`)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.data_config import StampMeaning
from nbbacktest.core.errors import DataError, MissingExtraError
from nbbacktest.core.intervals import Interval
from nbbacktest.data.datasource import DataSource, Prices, made_with

if TYPE_CHECKING:
    import pandas as pd

_REACH = {"1m": "about 30 days, 8 at a time", "1h": "about 730 days"}
_SHORT_REACH = "about 60 days"


class YahooSource:
    """Gives bars as ``yfinance.download`` has them, one symbol at a time.

    Intraday stamps are opens; daily ones are session dates. A bar that is still forming is left out: intraday if its
    end lies in the future, daily if its date isn't past in UTC.

    Parameters
    ----------
    adjusted
        True: open, high, low and close are adjusted for splits and dividends; False: for splits alone, as Yahoo has it.
    prepost
        True: ask for bars before and after regular hours too; bars outside of the config's hours are left out.
    timeout
        Seconds after which a request is given up.
    """

    stamp: StampMeaning | None = "open"
    timezone: str | None = None
    intervals: tuple[str, ...] | None = ("1m", "2m", "5m", "15m", "30m", "1h", "90m", "1d")
    symbols: tuple[str, ...] | None = None
    all_hours: bool = False
    prices: Prices | None = "adjusted"
    name: str | None = None

    def __init__(self, *, adjusted: bool = True, prepost: bool = False, timeout: float = 30) -> None:
        self._adjusted, self._prepost, self._timeout = adjusted, prepost, timeout
        self.all_hours = prepost
        self.prices = "adjusted" if adjusted else "split-adjusted"
        self.name = f"Yahoo Finance, {'adjusted' if adjusted else 'unadjusted'}"

    @classmethod
    def of_config(cls, config: SessionConfig) -> DataSource:
        """Make the source with the config's options; `adjusted` and `prepost` follow from its prices and hours."""
        asked = {"adjusted": config.data.adjusted, "prepost": config.own_hours is not None}
        return made_with(cls, asked | config.data.options)

    def bars(self, symbol: str, interval: str, start: date | None, end: date | None) -> pd.DataFrame:
        """The bars of a symbol; see `nbbacktest.DataSource`.

        Raises
        ------
        MissingExtraError
            If yfinance isn't installed.
        DataError
            If Yahoo has no such bars, or gave those of another symbol.
        """
        length = Interval.parse(interval)
        asked: dict[str, Any] = {"start": start.isoformat()} if start else {"period": "max"}
        if end:
            asked["end"] = (end + timedelta(days=1)).isoformat()  # its end is exclusive
            asked.setdefault("start", "1900-01-01")
            asked.pop("period", None)
        frame = _package().download(
            [symbol],
            interval=interval,
            auto_adjust=self._adjusted,
            prepost=self._prepost,
            timeout=self._timeout,
            actions=False,
            progress=False,
            threads=False,
            multi_level_index=True,
            **asked,
        )
        if frame is None or not len(frame):
            reach = "" if length.is_daily else f"; {interval} bars reach back {_REACH.get(interval, _SHORT_REACH)}"
            raise DataError(
                f"{symbol}: Yahoo gave no {interval} bars from {start or 'the first'} to {end or 'the last'}; check the "
                f"symbol, the days and the connection{reach}"
            )
        return _ended(_of(frame, symbol), length)


def _package() -> Any:
    try:
        import yfinance
    except ImportError:
        raise MissingExtraError("yfinance", "yfinance", 'data source "yfinance"') from None
    return yfinance


def _of(frame: pd.DataFrame, symbol: str) -> pd.DataFrame:
    """The columns of `symbol` in a table with two levels of columns, whichever of them holds the symbols."""
    if frame.columns.nlevels == 1:
        return frame
    level = next((n for n, name in enumerate(frame.columns.names) if name == "Ticker"), frame.columns.nlevels - 1)
    tickers = {str(ticker).upper(): ticker for ticker in frame.columns.unique(level)}
    if symbol.upper() not in tickers:
        raise DataError(f"{symbol}: Yahoo gave bars of {', '.join(tickers)}; ask for the symbol under that name")
    return frame.xs(tickers[symbol.upper()], axis=1, level=level)  # type: ignore[return-value] # one of two levels


def _ended(frame: pd.DataFrame, interval: Interval) -> pd.DataFrame:
    now = datetime.now(UTC)
    if interval.is_daily:
        index = frame.index.tz_localize(None) if frame.index.tz is not None else frame.index  # type: ignore[attr-defined]
        return frame.set_axis(index)[index < np.datetime64(now.date(), "ns")]
    index = frame.index
    return frame[np.asarray(index.as_unit("ns").asi8 + interval.ns <= now.timestamp() * 1e9)]  # type: ignore[attr-defined]
