"""Reads LEAN's factor files and map files: the splits and dividends of a share, and its ticker on each day.

Both lie beside the bars, as ``factor_files/aapl.csv`` and ``map_files/aapl.csv``, or all of them in a zip such as
``factor_files/factor_files_20240102.zip``, of which the newest counts. A company's files bear one name for good; if
two companies had one ticker, the older one's is ``fb.1``.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from nbbacktest.core.actions import ActionRow
from nbbacktest.core.errors import DataError
from nbbacktest.core.records import Float64
from nbbacktest.data.calendar import Days

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
            ratio = _whole(after.splits / row.splits)
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
        read = _read(self._factors.where(company.name), sound, _factor)
        rows = sorted({row.day: row for row in read if row.dividends * row.splits > 0}.values())
        if not rows:
            raise DataError(f"{self._factors.where(company.name)} holds no factor; replace it")
        return Factors(tuple(rows), rows[0].day if len(sound) < len(lines) else None)

    def _tickers(self, name: str) -> tuple[Named, ...]:
        lines = self._maps.lines(name)
        return tuple(sorted(_read(self._maps.where(name), lines, _named))) if lines is not None else ()

    # Looked up once a source: an archive has tens of thousands of names.
    @cached_property
    def _last_to_bear(self) -> dict[str, tuple[date, str]]:
        """By ticker, the last day on which a company had it, and that company."""
        found: dict[str, tuple[date, str]] = {}
        for name, lines in self._maps.every():
            for row in _read(self._maps.where(name), lines, _named):
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


def _read(file: Path, lines: list[str], parse: Callable[[list[str]], _Row]) -> Iterator[_Row]:
    for number, line in enumerate(lines, 1):
        try:
            yield parse(line.split(","))
        except (ValueError, IndexError):
            raise DataError(f"{file}: line {number} can't be read: {line!r}; replace the file") from None


def _factor(cells: list[str]) -> Factor:
    dividends, splits, close = float(cells[1]), float(cells[2]), float(cells[3]) if len(cells) > 3 else 0.0
    if not (math.isfinite(dividends) and math.isfinite(splits) and math.isfinite(close)):
        raise ValueError
    return Factor(_day(cells[0]), dividends, splits, close)


def _named(cells: list[str]) -> Named:
    return Named(_day(cells[0]), cells[1].lower())


def _day(text: str) -> date:
    return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 - a date


def _whole(ratio: float) -> float:
    near = Fraction(ratio).limit_denominator(_PARTS) if ratio > 1 else 1 / Fraction(1 / ratio).limit_denominator(_PARTS)
    return float(near) if near != 1 and abs(float(near) / ratio - 1) < _ROUNDED else ratio
