"""A tape on nbbacktest."""

from __future__ import annotations

from typing import Any

import nbbacktest as nb
from benchmarks.parity.tape import Outcome, Tape

TERMS = ("limit", "stop", "stop_loss", "take_profit", "trail")


class Scripted(nb.Strategy):
    """Places what a tape says."""

    tape: Tape = None  # type: ignore[assignment] # a parameter without which there is no run

    def on_start(self) -> None:
        self.due, self.complete = self.tape.due(), 0
        self.ending: dict[int, list[nb.Order]] = {}

    def on_bar(self, bar: nb.Bar) -> None:
        if bar.symbol != self.symbols[-1]:
            return  # all symbols' bars of an instant are there
        self.complete += 1
        for order in self.ending.pop(self.complete, ()):
            if order.is_open:
                self.cancel(order)
        for placed in self.due.get(self.complete, ()):
            if "weights" in placed:
                self.rebalance(placed["weights"])
            else:
                self.place(placed)

    def rebalance(self, weights: list[float]) -> None:
        equity = self.equity
        for symbol, weight in zip(self.symbols, weights, strict=True):
            size = weight * equity / self.bars(symbol).close[-1] - self.position(symbol).size
            (self.buy if size > 0 else self.sell)(symbol, abs(size))

    def place(self, placed: dict[str, Any]) -> None:
        terms = {name: placed[name] for name in TERMS if placed.get(name) is not None}
        order = (self.buy if placed["size"] > 0 else self.sell)(placed["symbol"], abs(placed["size"]), **terms)
        if placed.get("cancel"):
            self.ending.setdefault(self.complete + placed["cancel"], []).append(order)


class Stopped(Scripted):
    """Enters where nothing is held, nor was in this bar; with a bracket, or a trailing stop, away from the entry's close."""

    def on_start(self) -> None:
        super().on_start()
        self.left = 0

    def on_fill(self, fill: nb.Fill) -> None:
        if not self.position():
            self.left = self.complete + 1

    def place(self, placed: dict[str, Any]) -> None:
        if self.position() or self.left == self.complete:
            return
        extra, close = self.tape.extra, self.bars().close[-1]
        way, enter = (1, self.buy) if placed["size"] > 0 else (-1, self.sell)
        units = abs(placed["size"])
        if extra["trails"]:
            enter(size=units)
            (self.sell if way > 0 else self.buy)(size=units, trail=f"{extra['stop_loss']:.6%}")
        else:
            stop, target = close * (1 - way * extra["stop_loss"]), close * (1 + way * extra["take_profit"])
            enter(size=units, stop_loss=stop, take_profit=target)


def run(tape: Tape, config: dict[str, Any]) -> nb.Result:
    """The run; prices are raw where there are splits."""
    settings = {**config, "data": dict(config.get("data", {}))}
    broker = dict(settings.get("broker", {}))
    if "per_share" in tape.extra:
        rate, minimum = tape.extra["per_share"]
        broker["commission"] = {"model": "per_share", "rate": rate, "minimum": minimum}
    if "volume_share" in tape.extra:
        broker["volume_share"] = tape.extra["volume_share"]
    if "splits" in tape.extra:
        rows = [{"date": day, "kind": "split", "value": ratio} for day, ratio in tape.extra["splits"]]
        settings["data"] |= {"adjusted": False, "actions": rows}
    strategy = Stopped if "trails" in tape.extra else Scripted
    return nb.backtest(tape.frames(), strategy(tape=tape), cash=tape.cash, config=settings | {"broker": broker})


def outcome(tape: Tape, result: nb.Result) -> Outcome:
    """Fills and final equity of a run."""
    stamps = dict(zip(next(iter(tape.frames().values())).index, tape.stamps, strict=True))
    fills = [
        (
            stamps[fill.time.replace(tzinfo=None)],
            fill.symbol,
            fill.size if fill.side == "buy" else -fill.size,
            fill.price,
        )
        for fill in result.fills.itertuples()
    ]
    return Outcome(fills, float(result.stats["final_equity"]), nb.__version__)
