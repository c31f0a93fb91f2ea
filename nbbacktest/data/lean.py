"""QuantConnect LEAN's public folder format: trades of US equities by second, minute, hour and day, in zips of CSV.

Read from LEAN's own description, ``Data/equity/readme.md`` of its repository: prices are dollars times 10,000; bars
are stamped with their open in New York, those of seconds and minutes in milliseconds since midnight; files have no
header.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from nbbacktest.core.actions import ActionRow
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.data_config import StampMeaning
from nbbacktest.core.errors import DataError, DataNotFoundError, nearest
from nbbacktest.data.datasource import Prices
from nbbacktest.data.lean_events import Company, LeanEvents, Stretch

if TYPE_CHECKING:
    import pandas as pd

_ZONE = "America/New_York"
_NAMES = ("time", "open", "high", "low", "close", "volume")
_PRICES = _NAMES[1:5]
_PRICE = 10_000
_DAY = 86_400_000  # milliseconds
_FILE = re.compile(r"(\d{8})_trade\.zip")
_FOLDERS = {"1s": "second", "1m": "minute", "1h": "hour", "1d": "daily"}


class LeanSource:
    """Gives the bars of a LEAN data folder, the one that holds ``equity``.

    ``equity/usa/minute/spy/20131007_trade.zip`` holds ``20131007_spy_minute_trade.csv``, one file a day, and so with
    ``second``; a day without one has no bars. ``equity/usa/daily/spy.zip`` holds ``spy.csv``, and so with ``hour``.
    Files of seconds and minutes have bars outside of regular hours.

    A symbol means the company that has this ticker, or had it last; ``FB.1`` is an earlier one, by the name of its map
    file. By that file its bars of other days are read under the tickers that it had then. Without a map file a ticker's
    own bars are all there are.

    The config's `data.adjusted` chooses the prices of a run. Adjusted ones are multiplied by the company's factor file,
    splits and dividends both, and volumes divided; without that file they are refused. Raw ones come with the splits and
    dividends that the factor file tells of, which the run's positions get, unless `data.actions` says otherwise. A company
    whose map file ends is delisted on its last day, at its last daily or hourly close.

    Examples
    --------
    ``nb.backtest(LeanSource("lean/data"), MyStrategy, config={"data": {"symbols": ["SPY"]}})``
    """

    stamp: StampMeaning | None = "open"
    timezone: str | None = _ZONE
    intervals: tuple[str, ...] | None = tuple(_FOLDERS)
    symbols: tuple[str, ...] | None = None
    all_hours: bool = True
    prices: Prices | None = "either"
    name: str | None = "LEAN trades"

    @classmethod
    def of_config(cls, config: SessionConfig) -> Self:
        """The folder that the config's `data.path` names."""
        return cls(config.data.path or "")

    def __init__(self, path: str | Path) -> None:
        self._folder = Path(path).expanduser()
        self._equity = self._folder / "equity" / "usa"
        self._events = LeanEvents(self._equity)

    def bars(
        self, symbol: str, interval: str, start: date | None, end: date | None, *, adjusted: bool = False
    ) -> pd.DataFrame:
        """The bars of a symbol; see `nbbacktest.DataSource`.

        Raises
        ------
        DataNotFoundError
            If there is no such folder, or none of the symbol; if prices are to be adjusted and there is no factor file.
        DataError
            If a file can't be read, or its contents don't fit its name.
        """
        if not self._equity.is_dir():
            raise DataNotFoundError(
                f"{self._folder}: there is no folder {Path('equity') / 'usa'} in it; name LEAN's data folder, the one "
                "that holds 'equity'"
            )
        folder, company = self._equity / _FOLDERS[interval], self._events.company(symbol)
        read = _whole if interval in ("1h", "1d") else _by_day
        parts = [frame for part in company.stretches(start, end) for frame in read(folder, symbol, part)]
        if not parts:
            raise _nothing(folder, symbol, company, start, end)
        import pandas as pd

        raw = pd.concat(parts)
        return self._adjusted(raw, symbol, company) if adjusted else raw

    def actions(self, symbol: str) -> tuple[ActionRow, ...] | None:
        """The splits and dividends in the symbol's files, and its delisting at the last close.

        Returns
        -------
        tuple of ActionRow
            None if there is no factor file.

        Raises
        ------
        DataError
            If a file can't be read, or doesn't tell how much a dividend was.
        """
        company = self._events.company(symbol)
        factors = self._events.factors(company)
        return None if factors is None else (*factors.actions(symbol), *self._delisting(symbol, company))

    def _delisting(self, symbol: str, company: Company) -> Iterator[ActionRow]:
        """The delisting of a company, at its last close as in LEAN: no file tells the money that holders got."""
        if company.until is None:
            return
        for folder, read in ((self._equity / name, _whole) for name in ("daily", "hour")):
            parts = [
                frame for part in company.stretches(None, None) for frame in read(folder, symbol, part) if len(frame)
            ]
            if parts:
                yield ActionRow(
                    symbol=symbol, date=company.until, kind="delist", value=float(parts[-1]["close"].iloc[-1])
                )
                return

    def _adjusted(self, raw: pd.DataFrame, symbol: str, company: Company) -> pd.DataFrame:
        factors = self._events.factors(company)
        if factors is None:
            raise DataNotFoundError(
                f"{symbol}: there is no factor file {company.name}.csv in {self._equity / 'factor_files'}, so that its prices "
                "can't be adjusted; bring it, or set data.adjusted to false for raw prices"
            )
        days = raw.index.to_numpy().astype("datetime64[D]")
        if factors.first is not None:
            raw, days = raw[days >= np.datetime64(factors.first)], days[days >= np.datetime64(factors.first)]
        factor = factors.of(days)
        scaled = {name: raw[name] * factor for name in _PRICES}
        return raw.assign(**scaled, volume=(raw["volume"] / factor).round())


def _by_day(folder: Path, symbol: str, part: Stretch) -> Iterator[pd.DataFrame]:
    """The bars of seconds or minutes, one frame for each day."""
    for file in sorted((folder / part.ticker).glob("*_trade.zip")):
        match = _FILE.fullmatch(file.name)
        if match is None:
            continue
        day = _day(match[1])
        if day is None:
            raise DataError(f"{file}: {match[1]} is no date; files are called like 20131007_trade.zip")
        if (part.first is None or day >= part.first) and (part.last is None or day <= part.last):
            yield _intraday(file, day, symbol, f"{day:%Y%m%d}_{part.ticker}_{folder.name}_trade.csv")


def _intraday(file: Path, day: date, symbol: str, member: str) -> pd.DataFrame:
    import pandas as pd

    table = _read(file, member, symbol)
    time = table.pop("time")
    milliseconds = pd.to_numeric(time, errors="coerce")
    wrong = np.flatnonzero(~((milliseconds >= 0) & (milliseconds < _DAY)))
    if len(wrong):
        raise DataError(
            f"{file}: {time.iloc[wrong[0]]!r} in line {wrong[0] + 1} is no time of day in milliseconds; replace the file"
        )
    midnight = np.datetime64(day, "ns")
    return _priced(table, pd.DatetimeIndex(midnight + milliseconds.to_numpy().astype("timedelta64[ms]")))


def _whole(folder: Path, symbol: str, part: Stretch) -> Iterator[pd.DataFrame]:
    """The bars of one file of hours or days."""
    import pandas as pd

    file = folder / f"{part.ticker}.zip"
    if not file.is_file():
        return
    table = _read(file, f"{part.ticker}.csv", symbol)
    text = table.pop("time").astype(str)
    times = pd.to_datetime(text, format="%Y%m%d %H:%M", errors="coerce")
    wrong = np.flatnonzero(times.isna())
    if len(wrong):
        raise DataError(
            f"{file}: {text.iloc[wrong[0]]!r} in line {wrong[0] + 1} is no date such as '20131007 00:00'; "
            "replace the file"
        )
    index = pd.DatetimeIndex(times)
    frame = _priced(table, index.normalize() if folder.name == "daily" else index)
    days = frame.index.to_numpy().astype("datetime64[D]")
    inside = np.ones(len(days), dtype=np.bool_)
    if part.first is not None:
        inside &= days >= np.datetime64(part.first)
    if part.last is not None:
        inside &= days <= np.datetime64(part.last)
    yield frame[inside]


def _read(file: Path, member: str, symbol: str) -> pd.DataFrame:
    """The one CSV of a zip, with its columns named."""
    import pandas as pd

    try:
        with zipfile.ZipFile(file) as archive:
            held = archive.namelist()
            if [name.lower().rpartition("/")[2] for name in held] != [member]:
                raise DataError(
                    f"{symbol}: {file} holds {', '.join(held) or 'nothing'} and not {member}; bring the zip of "
                    f"{symbol}, one CSV in each"
                )
            with archive.open(held[0]) as lines:
                table = pd.read_csv(lines, header=None, dtype={0: str})
    except (OSError, zipfile.BadZipFile, ValueError, RuntimeError, EOFError, zlib.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{symbol}: {file} can't be read as a zip of CSV: {type(error).__name__}: {error}; replace it"
        ) from error
    if len(table.columns) != len(_NAMES):
        raise DataError(
            f"{symbol}: {file} has {len(table.columns)} columns, and bars have {len(_NAMES)}: {', '.join(_NAMES)}; "
            "replace it"
        )
    return table.set_axis(list(_NAMES), axis=1)


def _priced(table: pd.DataFrame, index: pd.DatetimeIndex) -> pd.DataFrame:
    import pandas as pd

    # A text that is no number becomes NaN, which is judged later as in any other frame.
    numbers = {name: pd.to_numeric(column, errors="coerce") for name, column in table.items()}
    priced = {name: column if name == "volume" else column / _PRICE for name, column in numbers.items()}
    return pd.DataFrame(priced).set_index(index)


def _nothing(folder: Path, symbol: str, company: Company, start: date | None, end: date | None) -> DataError:
    """The error for a symbol without a bar: no file of its tickers, or none of these days."""
    tickers = {part.ticker: None for part in company.stretches(None, None)}
    there = {entry.name.removesuffix(".zip") for entry in folder.iterdir()} if folder.is_dir() else set()
    asked = f"from {start or 'the first'} to {end or 'the last'}"
    if not there & tickers.keys():
        names = " or ".join(map(repr, tickers))
        cure = nearest(next(reversed(tickers)), there) if there else f"there is nothing in {folder}"
        return DataNotFoundError(f"{symbol}: LEAN's folder has no {names} in {folder}; {cure}")
    if folder.name in ("second", "minute"):
        places = ", ".join(str(folder / ticker) for ticker in tickers if ticker in there)
        return DataError(f"{symbol}: {places} has no day {asked}; files are called like 20131007_trade.zip")
    known = (
        f", which its map file has from {company.tickers[0].day} to {company.tickers[-1].day}"
        if company.tickers
        else ""
    )
    return DataError(f"{symbol}{known}: {folder} has no bar of it {asked}; ask for other days")


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 - a date
    except ValueError:
        return None
