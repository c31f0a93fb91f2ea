"""The engine's loop without an engine: a desk run in the test's own thread, one instant after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from nbbacktest.core.config import BrokerConfig, LimitsConfig, NoSlippage, PercentCommission, PercentSlippage
from nbbacktest.core.costs import Commission
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import Bar, BarColumns, Stamps
from nbbacktest.data.calendar import SessionTable
from nbbacktest.engine.series import Series
from nbbacktest.trading.desk import TradingDesk
from nbbacktest.trading.strategy import Strategy

OPENING = 1_704_205_800 * 10**9  # 2024-01-02 14:30 UTC
STAMPS = Stamps("UTC")


def series_of(
    rows: Iterable[Sequence[float]],
    symbol: str = "EXE",
    *,
    minutes: Sequence[int] | None = None,
    interval: str = "1m",
    is_base: bool = True,
    first: int = 0,
) -> Series:
    """Bars from (open, high, low, close[, volume]) rows, one a minute or at the given minutes."""
    table = np.array([tuple(row) for row in rows], dtype=np.float64)
    table = table.reshape(len(table), -1) if len(table) else np.empty((0, 4))
    length = Interval.parse(interval)
    step = Interval.parse("1m").ns if minutes is not None else length.ns
    at = np.arange(len(table)) if minutes is None else np.asarray(minutes)
    time = OPENING + at.astype(np.int64) * step
    volume = table[:, 4] if table.shape[1] > 4 else np.ones(len(table))
    columns = BarColumns(symbol, length, time, time + length.ns, *table[:, :4].T, volume)
    return Series(columns, STAMPS, is_base=is_base, first=first)


def flat(prices: Iterable[float]) -> list[tuple[float, float, float, float]]:
    """Bars that stand still at these prices."""
    return [(price, price, price, price) for price in prices]


def desk_for(
    strategies: Strategy | Sequence[tuple[Strategy, Sequence[str]]],
    *series: Series,
    cash: float = 100_000.0,
    commission: float | Commission = 0.0,
    slippage: float = 0.0,
    limits: dict[str, Any] | None = None,
    sessions: Callable[[], SessionTable] | None = None,
    **rules: Any,
) -> TradingDesk:
    """A desk as the builder makes it; one strategy gets all the symbols. `rules` are the broker's other settings."""
    if isinstance(strategies, Strategy):
        strategies = [(strategies, tuple(s.symbol for s in series if s.is_base))]
    broker = BrokerConfig(
        cash=cash,
        commission=PercentCommission(rate=commission) if isinstance(commission, (int, float)) else commission,
        slippage=PercentSlippage(rate=slippage) if slippage else NoSlippage(),
        **rules,
    )
    return TradingDesk(
        strategies, list(series), instants_of(series), broker, LimitsConfig(**(limits or {})), STAMPS,
        sessions=sessions,
    )  # fmt: skip


def instants_of(series: Iterable[Series]) -> np.ndarray:
    """Every moment at which a bar that isn't warm-up completes."""
    return np.unique(np.concatenate([s.columns.end[s.first :] for s in series]))


def run_inline(desk: TradingDesk, *series: Series) -> TradingDesk:
    """Run `desk` to the end, in the order of events that the engine keeps."""
    desk.start()
    handlers = {id(s): desk.handlers(s) for s in series}
    try:
        for index, instant in enumerate(instants_of(series)):
            desk.index = index
            done = []
            for s in series:
                if s.n < len(s.columns) and s.columns.end[s.n] == instant:
                    s.n += 1
                    done.append((s, s.bar(s.n - 1)))
            if desk.pending:
                desk.match_orders([bar for _, bar in done])
            for s, bar in done:
                for handler in handlers[id(s)]:
                    try:
                        handler(bar)
                    except Exception as error:
                        raise desk.failed(error, handler, bar) from error
    finally:
        desk.stop()
    return desk


def run(strategy: Strategy, *series: Series, **account: Any) -> TradingDesk:
    """Run one strategy over all the symbols of `series`."""
    return run_inline(desk_for(strategy, *series, **account), *series)


class Script(Strategy):
    """Does what it is told at the numbered bars of the first symbol, counted from 1: {bar: function of the strategy}."""

    plan: dict[int, Any]

    def on_start(self) -> None:
        self.made: list[Any] = []

    def on_bar(self, bar: Bar) -> None:
        if bar.symbol == self.symbols[0] and bar.interval == self.base_interval:
            act = self.plan.get(len(self.bars(bar.symbol)))
            if act is not None:
                self.made.append(act(self))


def scripted(plan: dict[int, Any], *series: Series, **account: Any) -> TradingDesk:
    """Run a `Script`."""
    return run(Script(plan=plan), *series, **account)
