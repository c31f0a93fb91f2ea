"""What LEAN publishes of an algorithm, what we make of it, and the rules that both go by."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

import nbbacktest as nb
from nbbacktest.data.lean import LeanSource

ASKED = "run where NBBACKTEST_LEAN_DATA names a LEAN Data folder"
CASH = 100_000.0
_BUFFER = 0.0025  # SetHoldings leaves this part of what it may spend
_PRICE = 10_000
_QUOTES = ["time", "bo", "bh", "bl", "bid", "bs", "ao", "ah", "al", "ask", "as"]


def folder() -> Path | None:
    """LEAN's Data folder; None where none is named."""
    named = os.environ.get("NBBACKTEST_LEAN_DATA")
    return Path(named) if named and (Path(named) / "equity" / "usa").is_dir() else None


class Ran(NamedTuple):
    """A run of ours; and, where LEAN goes by another rule, the final equity by that rule."""

    result: nb.Result
    by_lean: float | None = None


@dataclass(frozen=True)
class Algorithm:
    """One of LEAN's regression algorithms.

    Attributes
    ----------
    name
        Of its class in LEAN.
    orders, fees, equity
        LEAN's ``ExpectedStatistics``: total orders, total fees, end equity.
    ours
        Our final equity, to the cent; None where it is LEAN's.
    rule
        Why ours is another, or what else differs.
    filled
        How many orders fill, where not all do.
    again
        How many orders LEAN counts beyond ours: those that it places once more at the midnight of a dividend.
    """

    name: str
    orders: int
    fees: float
    equity: float
    run: Callable[[], Ran]
    ours: float | None = None
    fees_ours: float | None = None
    rule: str = ""
    filled: int | None = None
    again: int = 0


def backtest(strategy: Any, symbols: str, interval: str, first: str, last: str, **more: Any) -> nb.Result:
    """A run of LEAN's bars, at LEAN's fees, on margin.

    A market order of LEAN's fills at the close that was just seen, where bars are shorter than a day; and where a limit is
    traded through, never where it is only touched.
    """
    broker: dict[str, Any] = {"account": "margin"}
    if interval != "1d":
        broker |= {"fill": "this_close", "limit_fill": "cross"}
    config = {
        "data": {"symbols": symbols.split(), "interval": interval, **more.pop("data", {})},
        "backtest": {"start_date": first, "end_date": last},
        "broker": broker | more.pop("broker", {}),
        **more,
    }
    return nb.backtest(source(), strategy, cash=CASH, commission=fees(), config=config)


def source() -> LeanSource:
    """The folder's bars."""
    named = folder()
    assert named is not None
    return LeanSource(named)


def fees() -> nb.PerShareCommission:
    """Half a cent a share, a dollar at least, and half a percent of the trade at most."""
    return nb.PerShareCommission(rate=0.005, minimum=1.0, maximum=0.005)


def set_holdings(equity: float, price: float, target: float, held: float = 0.0) -> float:
    """The signed order that LEAN's SetHoldings places: to the largest whole position that the target pays, its fee too."""
    fee = 0.0
    while True:
        budget = (equity - fee) * (1 - _BUFFER) * target
        shares = math.trunc(budget / price)
        order = shares - held
        charged = _fee(abs(order), price)
        if charged <= fee:
            return order
        fee = charged


def _fee(shares: float, price: float) -> float:
    """LEAN's: the minimum goes before the maximum."""
    each = 0.005 * shares
    return 1.0 if each < 1 else min(each, 0.005 * shares * price)


def quotes(symbol: str, first: str, last: str, *, adjusted: bool = True) -> pd.DataFrame:
    """Bid and ask by minute, adjusted as the trades are, and stamped as they are: highs, lows, and `bid` and `ask` at the close."""
    named = folder()
    assert named is not None
    days = source().bars(symbol, "1d", pd.Timestamp(first).date(), pd.Timestamp(last).date(), adjusted=adjusted)
    raw = source().bars(symbol, "1d", pd.Timestamp(first).date(), pd.Timestamp(last).date())
    parts = []
    for day, factor in (days["close"] / raw["close"]).items():
        file = named / "equity" / "usa" / "minute" / symbol.lower() / f"{day:%Y%m%d}_quote.zip"
        with zipfile.ZipFile(file) as archive, archive.open(archive.namelist()[0]) as lines:
            part = pd.read_csv(lines, header=None, names=_QUOTES)
        part.index = day + pd.to_timedelta(part.pop("time"), unit="ms")
        parts.append(part / _PRICE * factor)
    return pd.concat(parts).tz_localize("America/New_York")


def at_quotes(result: nb.Result, quoted: pd.DataFrame) -> float:
    """What final equity would be, had market orders filled at bid and ask."""
    kinds: Mapping[int, str] = dict(zip(result.orders["id"], result.orders["type"], strict=True))
    equity = float(result.stats["final_equity"])
    for fill in result.fills.itertuples():
        if kinds[fill.order_id] == "market":
            bid, ask = quoted.loc[fill.time, ["bid", "ask"]]
            equity += fill.size * (fill.price - ask) if fill.side == "buy" else fill.size * (bid - fill.price)
    return equity


def fraction_in_cash(size: float, close_before: float, last: float) -> float:
    """What LEAN's rule adds to equity at AAPL's split of 2014: it keeps whole shares, and pays the fraction in cash.

    The ratio of its factors is 1 to 0.1428572, so that 154 shares are 1,077.9996 and not 1,078.

    Parameters
    ----------
    size
        Signed, before the split.
    close_before
        The raw close before the split.
    last
        The close, or the price of a sale, that the position is valued at.
    """
    factor = 0.0357143 / 0.25
    exact = size / factor
    whole = math.trunc(exact)
    return (whole - size * 7) * last + (exact - whole) * close_before * factor
