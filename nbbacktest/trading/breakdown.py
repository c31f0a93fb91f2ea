"""A run's trades taken apart, by symbol or by strategy. Pure functions; the parts add up to the whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nbbacktest.trading.executions import Executions
from nbbacktest.trading.orders import Fill
from nbbacktest.trading.record import RunRecord
from nbbacktest.trading.stats import (
    average_trade,
    best_trade,
    expectancy,
    fees,
    profit_factor,
    sqn,
    win_rate,
    worst_trade,
)
from nbbacktest.trading.trades import Trade

COLUMNS = (
    "trades", "open_trades", "pnl", "win_rate", "profit_factor", "expectancy", "sqn", "best_trade", "worst_trade",
    "average_trade", "fees", "traded",
)  # fmt: skip


def by_symbol(record: RunRecord, trades: Sequence[Trade]) -> dict[str, dict[str, Any]]:
    """`breakdown` of every symbol of the run, in the session's order, those without a trade included."""
    return breakdown(list(record.bars), record.fills, trades, lambda part: part.symbol)


def by_strategy(record: RunRecord, trades: Sequence[Trade]) -> dict[str, dict[str, Any]]:
    """`breakdown` of every strategy that placed an order, in the order of their first ones."""
    names = list(dict.fromkeys(order.strategy for order in record.orders))
    return breakdown(names, record.fills, trades, lambda part: part.strategy)


def breakdown(
    keys: Sequence[str], fills: Sequence[Fill], trades: Sequence[Trade], key: Callable[[Trade | Fill], str]
) -> dict[str, dict[str, Any]]:
    """Trade statistics by `key`, each as `nbbacktest.trading.stats` defines it over the whole run.

    Returns
    -------
    dict
        For each of `keys`: `trades` (closed ones), `open_trades`, `pnl` (net, open trades at the last close, so that all
        parts together are the run's whole change of equity by trading), `win_rate`, `profit_factor`, `expectancy`, `sqn`,
        `best_trade`, `worst_trade`, `average_trade` (of closed trades), `fees` and `traded` (``sum(size * |price|)``).
    """
    own_trades: dict[str, list[Trade]] = {name: [] for name in keys}
    own_fills: dict[str, list[Fill]] = {name: [] for name in keys}
    for trade in trades:
        own_trades.setdefault(key(trade), []).append(trade)
    for fill in fills:
        own_fills.setdefault(key(fill), []).append(fill)
    return {name: _row(own_trades[name], own_fills[name]) for name in own_trades}


def _row(trades: Sequence[Trade], fills: Sequence[Fill]) -> dict[str, Any]:
    closed = [trade for trade in trades if not trade.is_open]
    pnl = np.array([trade.pnl for trade in closed], dtype=np.float64)
    returns = np.array([trade.return_ for trade in closed], dtype=np.float64)
    done = Executions(fills)
    values = (
        len(closed), len(trades) - len(closed), math.fsum(trade.pnl for trade in trades), win_rate(pnl),
        profit_factor(pnl), expectancy(pnl), sqn(pnl), best_trade(returns), worst_trade(returns),
        average_trade(returns), fees(done.commission), math.fsum(done.traded.tolist()),
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))
