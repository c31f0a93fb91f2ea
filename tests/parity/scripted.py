"""A strategy that does what a list says, for each engine: what random and hand-made tapes are run with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd

import nbbacktest as nb
from tests.parity.engines import CASH, FREE, Commission, Logged, Run, backtesting_py, backtrader_, ours
from tests.parity.peers import backtesting, backtrader


class Do(NamedTuple):
    """An order placed when so many bars are complete; cancelled that many bars later, if it still waits.

    The side is ``"buy"``, ``"sell"``, or ``"close"`` for all that is held.
    """

    after: int
    side: str
    size: float | None = 1
    limit: float | None = None
    stop: float | None = None
    stop_loss: float | None = None
    take_profit: float | None = None
    trail: float | None = None
    cancel: int | None = None


def tape(*bars: Sequence[float]) -> pd.DataFrame:
    """Bars of (open, high, low, close), one a business day."""
    frame = pd.DataFrame(list(bars), columns=["open", "high", "low", "close"], dtype=float)
    frame["volume"] = 1000.0
    return frame.set_index(pd.bdate_range("2020-01-02", periods=len(frame)))


class Scripted(nb.Strategy):
    script: list = []  # noqa: RUF012 - a parameter, as users write it

    def on_start(self):
        self.placed = []

    def on_bar(self, bar):
        n = len(self.bars())
        for due, order in self.placed:
            if due == n and order.is_open:
                self.cancel(order)
        for do in self.script:
            if do.after == n and do.side == "close":
                self.close()
            elif do.after == n:
                terms = {name: value for name, value in do._asdict().items() if name in _TERMS and value is not None}
                order = (self.buy if do.side == "buy" else self.sell)(size=do.size, **terms)
                self.placed.append((n + (do.cancel or 10**9), order))


class ScriptedPy(backtesting.Strategy):
    script: Any = ()

    def init(self):
        self.placed = []

    def next(self):
        n = len(self.data)
        for due, order in self.placed:
            if due == n and order in self.orders:
                order.cancel()
        for do in self.script:
            if do.after == n and do.side == "close":
                self.position.close()
            elif do.after == n:
                terms = {"limit": do.limit, "stop": do.stop, "sl": do.stop_loss, "tp": do.take_profit}
                if do.size is not None:
                    terms["size"] = do.size
                order = (self.buy if do.side == "buy" else self.sell)(**terms)
                self.placed.append((n + (do.cancel or 10**9), order))


class ScriptedTrader(Logged):
    params = (("script", ()),)

    def __init__(self):
        super().__init__()
        self.placed = []

    def next(self):
        n = len(self)
        for due, order in self.placed:
            if due == n:
                self.cancel(order)
        for do in self.p.script:
            if do.after == n and do.side == "close":
                self.close()
            elif do.after == n:
                self.placed.append((n + (do.cancel or 10**9), self._place(do)))

    def _place(self, do):
        kinds = backtrader.Order
        kind = kinds.Market
        levels: dict[str, Any] = {}
        if do.stop is not None:
            kind, levels = kinds.Stop, {"price": do.stop}
            if do.limit is not None:
                kind, levels = kinds.StopLimit, {"price": do.stop, "plimit": do.limit}
        elif do.limit is not None:
            kind, levels = kinds.Limit, {"price": do.limit}
        elif do.trail is not None:
            kind, levels = kinds.StopTrail, {"trailamount": do.trail}
        if do.stop_loss is None and do.take_profit is None:
            return (self.buy if do.side == "buy" else self.sell)(size=do.size, exectype=kind, **levels)
        bracket = self.buy_bracket if do.side == "buy" else self.sell_bracket
        return bracket(
            size=do.size, exectype=kind, **levels,
            stopprice=do.stop_loss, stopexec=None if do.stop_loss is None else kinds.Stop,
            limitprice=do.take_profit, limitexec=None if do.take_profit is None else kinds.Limit,
        )[0]  # fmt: skip


_TERMS = ("limit", "stop", "stop_loss", "take_profit", "trail")


def run_ours(frame: pd.DataFrame, script: Iterable[Do], *, cash: float = CASH, commission: Commission = FREE) -> Run:
    return ours(frame, Scripted, cash=cash, commission=commission, script=list(script))


def run_backtesting_py(
    frame: pd.DataFrame, script: Iterable[Do], *, cash: float = CASH, commission: Commission = FREE, **options: Any
) -> Run:
    parameters = {"script": tuple(script)}
    return backtesting_py(frame, ScriptedPy, cash=cash, commission=commission, parameters=parameters, **options)


def run_backtrader(
    frame: pd.DataFrame, script: Iterable[Do], *, cash: float = CASH, commission: Commission = FREE
) -> Run:
    return backtrader_(frame, ScriptedTrader, cash=cash, commission=commission, script=tuple(script))
