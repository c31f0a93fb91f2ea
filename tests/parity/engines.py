"""One strategy on one engine, and what came of it in one normal form: fills and final equity."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pandas as pd

import nbbacktest as nb
from tests.parity.peers import backtesting, backtrader

CASH = 1_000_000.0


@dataclass(frozen=True)
class Commission:
    """What an engine charges, and how each is told. backtrader has no fee per order of its own."""

    model: Literal["none", "percent", "per_share", "per_trade"] = "none"
    rate: float = 0.0

    @property
    def config(self) -> dict[str, Any]:
        """As our session config writes it."""
        if self.model == "none":
            return {"model": "none"}
        return {"model": self.model, "amount" if self.model == "per_trade" else "rate": self.rate}

    @property
    def of_backtesting(self) -> Any:
        """A rate, a pair of a fee and a rate, or a function."""
        if self.model == "per_share":
            return lambda units, price: abs(units) * self.rate
        return (self.rate, 0.0) if self.model == "per_trade" else self.rate


FREE = Commission()
PERCENT = Commission("percent", 0.001)
PER_SHARE = Commission("per_share", 0.005)
PER_ORDER = Commission("per_trade", 10.0)


class Fill(NamedTuple):
    """So many units bought or sold at one price in one bar, by however many orders."""

    time: pd.Timestamp
    side: str
    size: float
    price: float


class Run(NamedTuple):
    """What is compared."""

    fills: list[Fill]
    equity: float


def ours(
    frame: pd.DataFrame, strategy: Any, *, cash: float = CASH, commission: Commission = FREE, **parameters: Any
) -> Run:
    """Run a `nbbacktest.Strategy`."""
    config = {"broker": {"commission": commission.config}}
    result = nb.backtest(frame, strategy, cash=cash, config=config, **parameters)
    # Our fills bear the label of their bar, the peers' the number.
    return Run(
        _normal((f.time, f.side, f.size, f.price) for f in result.fills.itertuples()), result.stats["final_equity"]
    )


def backtesting_py(
    frame: pd.DataFrame,
    strategy: Any,
    *,
    cash: float = CASH,
    commission: Commission = FREE,
    parameters: dict[str, Any] | None = None,
    **options: Any,
) -> Run:
    """Run a `backtesting.Strategy`; it keeps trades and no fills, so each trade is taken apart again."""
    bars = frame.rename(columns=str.capitalize)
    with _quiet():
        bench = backtesting.Backtest(bars, strategy, cash=cash, commission=commission.of_backtesting, **options)
        stats = bench.run(**(parameters or {}))
    done = stats["_strategy"]
    fills = []
    for trade in (*done.closed_trades, *done.trades):
        into, out = ("buy", "sell") if trade.size > 0 else ("sell", "buy")
        fills.append((frame.index[trade.entry_bar], into, abs(trade.size), trade.entry_price))
        if trade.exit_bar is not None:
            fills.append((frame.index[trade.exit_bar], out, abs(trade.size), trade.exit_price))
    return Run(_normal(fills), float(stats["_equity_curve"]["Equity"].iloc[-1]))


def backtrader_(
    frame: pd.DataFrame, strategy: Any, *, cash: float = CASH, commission: Commission = FREE, **parameters: Any
) -> Run:
    """Run a `backtrader.Strategy` that derives from `Logged`."""
    kinds = backtrader.CommInfoBase
    cerebro = backtrader.Cerebro(stdstats=False)
    with _quiet():
        cerebro.adddata(backtrader.feeds.PandasData(dataname=frame))
        cerebro.addstrategy(strategy, **parameters)
        cerebro.broker.setcash(cash)
        cerebro.broker.setcommission(
            commission=commission.rate,
            commtype=kinds.COMM_FIXED if commission.model == "per_share" else kinds.COMM_PERC,
            stocklike=True,
            percabs=True,
        )
        (done,) = cerebro.run()
    fills = ((frame.index[bar], "buy" if size > 0 else "sell", abs(size), price) for bar, size, price in done.log)
    return Run(_normal(fills), float(cerebro.broker.getvalue()))


class Logged(backtrader.Strategy):
    """Writes down every execution as (number of the bar, signed units, price)."""

    def __init__(self):
        self.log: list[tuple[int, float, float]] = []

    def notify_order(self, order):
        if order.status in (order.Completed, order.Partial):
            self.log += [(len(self) - 1, bit.size, bit.price) for bit in order.executed.iterpending()]


def _normal(fills: Iterable[tuple[Any, str, float, float]]) -> list[Fill]:
    """By bar, side and price: how an engine splits or orders what happens at one price of one bar is its own affair."""
    sizes: dict[tuple[pd.Timestamp, str, float], float] = defaultdict(float)
    for time, side, size, price in fills:
        sizes[pd.Timestamp(time), str(side), float(price)] += float(size)
    return [Fill(time, side, sizes[time, side, price], price) for time, side, price in sorted(sizes)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the peers are known to warn of; anything else stays an error."""
    with warnings.catch_warnings():
        # backtesting.py's statistics read DatetimeIndex.dayofweek, which pandas 3.1 renames.
        warnings.filterwarnings("ignore", message="DatetimeIndex.dayofweek is deprecated")
        # It would rather close what is open at the end; here the end is no reason to sell.
        warnings.filterwarnings("ignore", message="Some trades remain open", category=UserWarning)
        # What it can't pay it cancels, and what it can't decide it puts off: both are compared, not read.
        warnings.filterwarnings("ignore", message=".*Broker canceled the (relative-sized )?order", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*A contingent SL/TP order would execute", category=UserWarning)
        # Its statistics divide by zero and average nothing where a run made no trade or lasted a few bars.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="numpy|backtesting")
        yield
