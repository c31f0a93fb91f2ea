"""QuantConnect LEAN's public folder format: minute and daily trades of US equities, in zips of CSV.

Read from LEAN's own description, ``Data/equity/readme.md`` of its repository: prices are dollars times 10,000; minute
bars are stamped with their open, in milliseconds since midnight in New York; files have no header.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from nbbacktest.core.errors import DataError, DataNotFoundError, nearest

if TYPE_CHECKING:
    import pandas as pd

_ZONE = "America/New_York"
_NAMES = ("time", "open", "high", "low", "close", "volume")
_PRICE = 10_000
_DAY = 86_400_000  # milliseconds
_FILE = re.compile(r"(\d{8})_trade\.zip")


class LeanSource:
    """Bars of a LEAN data folder, the one that holds ``equity``.

    ``equity/usa/minute/spy/20131007_trade.zip`` holds ``20131007_spy_minute_trade.csv``, one file a day; a day without
    one has no bars. ``equity/usa/daily/spy.zip`` holds ``spy.csv``. Prices are raw: not adjusted for splits and
    dividends. Minute files have bars outside of regular hours.

    Examples
    --------
    ``nb.backtest(LeanSource("lean/data"), MyStrategy, config={"data": {"symbols": ["SPY"]}})``
    """

    stamp: Literal["open", "close"] | None = "open"
    timezone: str | None = _ZONE
    intervals: tuple[str, ...] | None = ("1m", "1d")
    symbols: tuple[str, ...] | None = None
    all_hours: bool = True
    name: str | None = "LEAN trades, raw prices"

    def __init__(self, path: str | Path) -> None:
        self._folder = Path(path).expanduser()

    def bars(self, symbol: str, interval: str, start: date | None, end: date | None) -> pd.DataFrame:
        """The bars of a symbol; see `nbbacktest.DataSource`.

        Raises
        ------
        DataNotFoundError
            Where there is no such folder, or none of the symbol.
        DataError
            Where a zip can't be read, or holds something else than its name says.
        """
        equity = self._folder / "equity" / "usa"
        if not equity.is_dir():
            raise DataNotFoundError(
                f"{self._folder}: there is no folder {Path('equity') / 'usa'} in it; name LEAN's data folder, the one "
                "that holds 'equity'"
            )
        ticker = symbol.lower()
        if interval == "1d":
            return _daily(equity / "daily", symbol, ticker)
        folder = equity / "minute" / ticker
        if not folder.is_dir():
            raise _no_symbol(equity / "minute", symbol, ticker)
        days = [_minutes(file, day, symbol, ticker) for day, file in _days(folder, start, end)]
        if not days:
            raise DataError(
                f"{symbol}: {folder} has no day from {start or 'the first'} to {end or 'the last'}; files are called "
                "like 20131007_trade.zip"
            )
        import pandas as pd

        return pd.concat(days)


def _days(folder: Path, start: date | None, end: date | None) -> Iterator[tuple[date, Path]]:
    for file in sorted(folder.iterdir()):
        match = _FILE.fullmatch(file.name)
        if match is None:
            continue  # quotes, and what else lies there
        day = _day(match[1])
        if day is None:
            raise DataError(f"{file}: {match[1]} is no date; files are called like 20131007_trade.zip")
        if (start is None or day >= start) and (end is None or day <= end):
            yield day, file


def _minutes(file: Path, day: date, symbol: str, ticker: str) -> pd.DataFrame:
    import pandas as pd

    member = f"{day:%Y%m%d}_{ticker}_minute_trade.csv"
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


def _daily(folder: Path, symbol: str, ticker: str) -> pd.DataFrame:
    import pandas as pd

    file = folder / f"{ticker}.zip"
    if not file.is_file():
        raise _no_symbol(folder, symbol, ticker)
    table = _read(file, f"{ticker}.csv", symbol)
    text = table.pop("time").astype(str)
    times = pd.to_datetime(text, format="%Y%m%d %H:%M", errors="coerce")
    wrong = np.flatnonzero(times.isna())
    if len(wrong):
        raise DataError(
            f"{file}: {text.iloc[wrong[0]]!r} in line {wrong[0] + 1} is no date such as '20131007 00:00'; "
            "replace the file"
        )
    return _priced(table, pd.DatetimeIndex(times).normalize())


def _read(file: Path, member: str, symbol: str) -> pd.DataFrame:
    """The one CSV of a zip, with its columns named."""
    import pandas as pd

    try:
        with zipfile.ZipFile(file) as archive:
            held = archive.namelist()
            if [name.lower() for name in held] != [member]:
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

    # What is no number becomes NaN, which is judged further on as in any other frame.
    numbers = {name: pd.to_numeric(column, errors="coerce") for name, column in table.items()}
    priced = {name: column if name == "volume" else column / _PRICE for name, column in numbers.items()}
    return pd.DataFrame(priced).set_index(index)


def _no_symbol(folder: Path, symbol: str, ticker: str) -> DataNotFoundError:
    there = [entry.name.removesuffix(".zip") for entry in folder.iterdir()] if folder.is_dir() else []
    cure = nearest(ticker, there) if there else f"there is nothing in {folder}"
    return DataNotFoundError(f"{symbol}: LEAN's folder has no {ticker!r} in {folder}; {cure}")


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 - a date
    except ValueError:
        return None
