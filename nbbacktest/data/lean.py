"""QuantConnect LEAN's public folder format: bars of US equities in zips of CSV, their splits and dividends, and their tickers.

Read from LEAN's own description, ``Data/equity/readme.md`` of its repository: prices are dollars times 10,000; bars
are stamped with their open in New York, those of seconds and minutes in milliseconds since midnight; files have no
header.

Factor files and map files lie beside the bars, as ``factor_files/aapl.csv`` and ``map_files/aapl.csv``, or all of them in
a zip such as ``factor_files/factor_files_20240102.zip``, of which the newest counts. A company's files bear one name for
good; if two companies had one ticker, the older one's is ``fb.1``.
"""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

import numpy as np

from nbbacktest.core.actions import ActionRow
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.data_config import StampMeaning
from nbbacktest.core.errors import DataError, DataNotFoundError, nearest
from nbbacktest.core.records import Float64
from nbbacktest.data.calendar import Days
from nbbacktest.data.datasource import Prices

if TYPE_CHECKING:
    import pandas as pd

_TODAY = date(2050, 12, 31)  # the last row's date of a company that is still traded
_PARTS = 20  # a split is p for q, and q is small; a stock dividend of 5% is 21 for 20
_ROUNDED = 5e-4  # the largest error of a ratio of two rounded factors
_TO_NEXT_WEEKDAY = (1, 1, 1, 1, 3, 2, 1)
_Row = TypeVar("_Row")


class Factor(NamedTuple):
    """The factors of prices up to a day, that day included."""

    day: date
    dividends: float
    splits: float
    close: float  # the raw close of that day; 0 if the file has none


@dataclass(frozen=True, slots=True)
class Factors:
    """One company's factor file.

    Attributes
    ----------
    rows : tuple of Factor
        Rising by day. The last row's factors hold on all days after the one before it; later ones have 1.
    first : date or None
        The first day that can be adjusted, if older rows hold no usable number.
    """

    rows: tuple[Factor, ...]
    first: date | None

    def of(self, days: Days) -> Float64:
        """The factor of each day's prices; volumes are divided by it."""
        known = np.array([row.day for row in self.rows], dtype="datetime64[D]")
        scale = np.array([row.dividends * row.splits for row in self.rows] + [1.0])
        factor: Float64 = scale[np.searchsorted(known, days, side="left")]
        return factor

    def actions(self, symbol: str) -> Iterator[ActionRow]:
        """The splits and dividends that the factors come of, as LEAN reckons them.

        A row holds until the last day before an ex-date. A dividend is ``close * (1 - factor / next factor)``, rounded
        to cents; a split is the ratio of the factors, made the ratio of two small whole numbers if only rounding
        keeps it from that. If both fall on one day the dividend is counted a new share.

        Raises
        ------
        DataError
            If the file doesn't say which close a dividend was taken off.
        """
        for row, after in zip(self.rows, self.rows[1:], strict=False):
            ex = row.day + timedelta(days=_TO_NEXT_WEEKDAY[row.day.weekday()])
            ratio = _whole_number(after.splits / row.splits)
            if ratio != 1:
                yield ActionRow(symbol=symbol, date=ex, kind="split", value=ratio)
            if row.dividends != after.dividends and not row.close:
                raise DataError(
                    f"{symbol}: its factor file has no close of {row.day}, so that the dividend after that day isn't known; "
                    "give data.actions, or bring a file with four columns"
                )
            paid = round(row.close * (1 - row.dividends / after.dividends), 2)
            if paid > 0:
                yield ActionRow(symbol=symbol, date=ex, kind="dividend", value=paid / ratio)


class Named(NamedTuple):
    """The ticker that a company had until a day, that day included."""

    day: date
    ticker: str


class Stretch(NamedTuple):
    """The days, both included, on which a company had a ticker; None: from the first, to the last."""

    ticker: str
    first: date | None
    last: date | None


@dataclass(frozen=True, slots=True)
class Company:
    """The company that a symbol means: the name of its files, and its tickers; none are known without a map file."""

    name: str
    tickers: tuple[Named, ...] = ()

    @property
    def until(self) -> date | None:
        """The company's last day; None if it is traded still, or that isn't known."""
        return self.tickers[-1].day if self.tickers and self.tickers[-1].day < _TODAY else None

    def stretches(self, start: date | None, end: date | None) -> Iterator[Stretch]:
        """The company's tickers from `start` to `end`, rising; nothing before its first day or after its last one."""
        if not self.tickers:
            yield Stretch(self.name, start, end)
            return
        begun = self.tickers[0].day
        for row, after in zip(self.tickers, (*self.tickers[1:], None), strict=True):
            if after is not None and after.ticker == row.ticker:
                continue
            first = begun if start is None else max(begun, start)
            last = row.day if end is None else min(row.day, end)
            if first <= last:
                yield Stretch(row.ticker, first, last)
            begun = row.day + timedelta(days=1)


class LeanEvents:
    """The factor and map files of a market's folder, such as ``equity/usa``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def company(self, symbol: str) -> Company:
        """The company that has, or was the last to have, `symbol` as its ticker; else the company whose files have that name.

        Raises
        ------
        DataError
            If a map file can't be read.
        """
        wanted = symbol.lower()
        own = self._tickers(wanted)
        if own and own[-1].day >= _TODAY and own[-1].ticker == wanted:
            return Company(wanted, own)
        name = self._last_to_bear.get(wanted, (None, wanted))[1]
        return Company(name, self._tickers(name))

    def factors(self, company: Company) -> Factors | None:
        """The factor file of a company; None if there is none.

        Raises
        ------
        DataError
            If it can't be read, or holds no factor.
        """
        lines = self._factors.lines(company.name)
        if lines is None:
            return None
        # LEAN writes inf, or an exponent, if a factor has grown beyond its digits: older prices can't be adjusted.
        sound = [line for line in lines if "inf" not in line.lower() and "e+" not in line.lower()]
        read = _rows_of(self._factors.where(company.name), sound, _factor)
        rows = sorted({row.day: row for row in read if row.dividends * row.splits > 0}.values())
        if not rows:
            raise DataError(f"{self._factors.where(company.name)} holds no factor; replace it")
        return Factors(tuple(rows), rows[0].day if len(sound) < len(lines) else None)

    def _tickers(self, name: str) -> tuple[Named, ...]:
        lines = self._maps.lines(name)
        return tuple(sorted(_rows_of(self._maps.where(name), lines, _named))) if lines is not None else ()

    # Looked up once a source: an archive has tens of thousands of names.
    @cached_property
    def _last_to_bear(self) -> dict[str, tuple[date, str]]:
        """By ticker, the last day on which a company had it, and that company."""
        found: dict[str, tuple[date, str]] = {}
        for name, lines in self._maps.every():
            for row in _rows_of(self._maps.where(name), lines, _named):
                found[row.ticker] = max(found.get(row.ticker, (row.day, name)), (row.day, name))
        return found

    @cached_property
    def _maps(self) -> _Shelf:
        return _Shelf(self._folder / "map_files")

    @cached_property
    def _factors(self) -> _Shelf:
        return _Shelf(self._folder / "factor_files")


class _Shelf:
    """The files of a folder by company: each a CSV, or a member of the folder's newest zip."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        archives = sorted(folder.glob(f"{folder.name}_*.zip"))
        self._archive = archives[-1] if archives else None
        self._members: dict[str, str] = {}
        if self._archive is not None:
            with _unzipped(self._archive) as archive:
                members = [name for name in archive.namelist() if name.lower().endswith(".csv")]
            self._members = {Path(name).stem.lower(): name for name in members}
        self._files = {file.stem.lower(): file for file in folder.glob("*.csv")}

    def every(self) -> Iterator[tuple[str, list[str]]]:
        """All files' lines, by company; the archive is opened once."""
        for name in self._files:
            yield name, self.lines(name) or []
        if self._archive is None:
            return
        with _unzipped(self._archive) as archive:
            for name in self._members.keys() - self._files.keys():
                yield name, self._text(archive, name)

    def where(self, name: str) -> Path:
        """The name of the company's file, for errors."""
        return self._files.get(name) or (self._archive or self._folder) / f"{name}.csv"

    def lines(self, name: str) -> list[str] | None:
        """The lines of the company's file; None if there is none."""
        try:
            if name in self._files:
                return self._files[name].read_text(encoding="utf-8-sig").split()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{self.where(name)} can't be read: {error}; replace it") from error
        if name in self._members and self._archive is not None:
            with _unzipped(self._archive) as archive:
                return self._text(archive, name)
        return None

    def _text(self, archive: zipfile.ZipFile, name: str) -> list[str]:
        try:
            return archive.read(self._members[name]).decode("utf-8-sig").split()
        except (OSError, UnicodeDecodeError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{self.where(name)} can't be read: {error}; replace it") from error


def _unzipped(file: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} can't be read as a zip: {error}; replace it") from error


def _rows_of(file: Path, lines: list[str], parse: Callable[[list[str]], _Row]) -> Iterator[_Row]:
    for number, line in enumerate(lines, 1):
        try:
            yield parse(line.split(","))
        except (ValueError, IndexError):
            raise DataError(f"{file}: line {number} can't be read: {line!r}; replace the file") from None


def _factor(cells: list[str]) -> Factor:
    dividends, splits, close = float(cells[1]), float(cells[2]), float(cells[3]) if len(cells) > 3 else 0.0
    if not (math.isfinite(dividends) and math.isfinite(splits) and math.isfinite(close)):
        raise ValueError
    return Factor(_date_of(cells[0]), dividends, splits, close)


def _named(cells: list[str]) -> Named:
    return Named(_date_of(cells[0]), cells[1].lower())


def _date_of(text: str) -> date:
    return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 - a date


def _whole_number(ratio: float) -> float:
    near = Fraction(ratio).limit_denominator(_PARTS) if ratio > 1 else 1 / Fraction(1 / ratio).limit_denominator(_PARTS)
    return float(near) if near != 1 and abs(float(near) / ratio - 1) < _ROUNDED else ratio


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
