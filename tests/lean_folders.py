"""Small data folders in LEAN's format, written for a test: bars, factor files, map files."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

ZONE = "America/New_York"


def lines(bars: pd.DataFrame, time: list[str]) -> str:
    """Bars as LEAN writes them: prices times 10,000, no header."""
    prices = (bars[["open", "high", "low", "close"]] * 10_000).round().astype("int64")
    rows = prices.assign(volume=bars["volume"].astype("int64")).to_numpy().tolist()
    return "".join(f"{when},{','.join(map(str, row))}\n" for when, row in zip(time, rows, strict=True))


def zipped(file: Path, member: str, text: str) -> None:
    """A zip that holds one text."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, text)


def write_minutes(root: Path, ticker: str, bars: pd.DataFrame, folder: str = "minute") -> None:
    """Minutes or seconds, a file a day."""
    local = bars.tz_convert(ZONE)
    for day, part in local.groupby(local.index.date):
        since = (part.index.tz_localize(None) - pd.Timestamp(day)) // pd.Timedelta(milliseconds=1)
        zipped(
            root / "equity" / "usa" / folder / ticker / f"{day:%Y%m%d}_trade.zip",
            f"{day:%Y%m%d}_{ticker}_{folder}_trade.csv",
            lines(part, list(map(str, since))),
        )


def write_days(root: Path, ticker: str, bars: pd.DataFrame, folder: str = "daily") -> None:
    """Days or hours by New York's clocks, in one file."""
    text = lines(bars, [f"{day:%Y%m%d %H:%M}" for day in bars.index])
    zipped(root / "equity" / "usa" / folder / f"{ticker}.zip", f"{ticker}.csv", text)


def write_factors(root: Path, company: str, *rows: str) -> Path:
    """A factor file of rows ``day,dividend factor,split factor,close``; without any, of a share that nothing happened to."""
    return _written(root / "equity" / "usa" / "factor_files" / f"{company}.csv", rows or ("20501231,1,1,0",))


def write_map(root: Path, company: str, *rows: str) -> Path:
    """A map file of rows ``day,ticker``."""
    return _written(root / "equity" / "usa" / "map_files" / f"{company}.csv", rows)


def _written(file: Path, rows: Iterable[str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(rows))
    return file
