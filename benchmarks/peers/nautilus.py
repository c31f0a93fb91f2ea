"""The rule in nautilus_trader's words. It fills an order from a bar's close at that close, not at the next open.

Its bars are made before the time starts, as a catalog would give them.
"""

from __future__ import annotations

from decimal import Decimal
from operator import attrgetter
from time import perf_counter
from typing import Any

from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.data.config import DataEngineConfig
from nautilus_trader.indicators import SimpleMovingAverage
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide, TimeInForce
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import Equity
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.trading.strategy import Strategy

from benchmarks.task import CASH, EDGE, FAST, RESTING, SIZE, SLOW, STOP, TARGET, TREND, Outcome, Task

ENGINE = "nautilus_trader"
VENUE = Venue("SIM")
UNITS = Quantity.from_int(SIZE)


class Cross(Strategy):
    """The rule, on any number of symbols."""

    def __init__(self, task: Task, instruments: list[Equity]) -> None:
        super().__init__()
        self.task, self.instruments = task, instruments
        self.work = task.work if task.case == "heavy" else None
        self.averages: dict[BarType, tuple[SimpleMovingAverage, SimpleMovingAverage]] = {}

    def on_start(self) -> None:
        for instrument in self.instruments:
            kind = BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-EXTERNAL")
            pair = self.averages[kind] = SimpleMovingAverage(FAST), SimpleMovingAverage(SLOW)
            for average in pair:
                self.register_indicator_for_bars(kind, average)
            self.subscribe_bars(kind)

    def on_bar(self, bar: Any) -> None:
        if self.work is not None:
            self.work()
        fast, slow = self.averages[bar.bar_type]
        self.follow(bar.bar_type.instrument_id, wanted=slow.initialized and fast.value > slow.value + EDGE)

    def follow(self, instrument: InstrumentId, *, wanted: bool) -> None:
        """Hold, or don't."""
        flat = self.portfolio.is_flat(instrument)
        if wanted != flat:
            return
        side = OrderSide.BUY if wanted else OrderSide.SELL
        self.submit_order(self.order_factory.market(instrument, side, UNITS))


class Intervals(Cross):
    """Decides when the engine has made a 5-minute bar, and where a 15-minute bar ends too, after both."""

    def on_start(self) -> None:
        self.made = 0
        (instrument,) = self.instruments
        self.base = BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-EXTERNAL")
        self.five, self.fifteen = (
            BarType.from_str(f"{instrument.id}-{n}-MINUTE-LAST-INTERNAL@1-MINUTE-EXTERNAL") for n in (5, 15)
        )
        self.f, self.s, self.t = (SimpleMovingAverage(n) for n in (FAST, SLOW, TREND))
        for kind, averages in ((self.five, (self.f, self.s)), (self.fifteen, (self.t,))):
            for average in averages:
                self.register_indicator_for_bars(kind.standard(), average)
        for kind in (self.base, self.five, self.fifteen):
            self.subscribe_bars(kind)

    def on_bar(self, bar: Any) -> None:
        minutes = bar.bar_type.spec.step
        if minutes == 1:
            return
        due = 2 if bar.ts_event // 60_000_000_000 % 15 == 0 else 1
        self.made += 1
        if self.made < due:
            return
        self.made = 0
        wanted = self.t.initialized and self.s.initialized and self.f.value > self.s.value + EDGE
        self.follow(self.instruments[0].id, wanted=wanted and bar.close.as_double() > self.t.value + EDGE)


class Orders(Cross):
    """A bracket, and twenty limits that rest."""

    placed = False

    def on_bar(self, bar: Any) -> None:
        (instrument,) = self.instruments
        if not self.placed:
            self.placed = True
            for price in RESTING:
                size = Quantity.from_int(1)
                order = self.order_factory.limit(instrument.id, OrderSide.BUY, size, instrument.make_price(price))
                self.submit_order(order)
        fast, slow = self.averages[bar.bar_type]
        if slow.initialized and fast.value > slow.value + EDGE and self.portfolio.is_flat(instrument.id):
            close = bar.close.as_double()
            bracket = self.order_factory.bracket(
                instrument.id,
                OrderSide.BUY,
                UNITS,
                time_in_force=TimeInForce.GTC,
                sl_trigger_price=instrument.make_price(round(close * STOP, 3)),
                tp_price=instrument.make_price(round(close * TARGET, 3)),
                tp_post_only=False,
            )
            self.submit_order_list(bracket)


def _instrument(name: str) -> Equity:
    return Equity(
        InstrumentId(Symbol(name), VENUE), Symbol(name), USD, 3, Price.from_str("0.001"), Quantity.from_int(1), 0, 0
    )


def _run(task: Task) -> Outcome:
    strategies = {"intervals": Intervals, "orders": Orders}
    frames = task.frames()
    instruments = {name: _instrument(name) for name in frames}
    bars: list[Bar] = []
    for name, frame in frames.items():
        kind = BarType.from_str(f"{instruments[name].id}-1-MINUTE-LAST-EXTERNAL")
        lower = frame.rename(columns=str.lower)
        lower.index = lower.index + frame.index.freq  # stamped with the bar's end
        bars += BarDataWrangler(kind, instruments[name]).process(lower)
    bars.sort(key=attrgetter("ts_init"))
    began = perf_counter()
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggingConfig(bypass_logging=True),
            data_engine=DataEngineConfig(time_bars_build_delay=15),  # microseconds: after the minute that completes it
        )
    )
    margin = task.case == "orders"  # an account of cash alone refuses a stop that sells what isn't bought yet
    engine.add_venue(
        VENUE,
        OmsType.NETTING,
        AccountType.MARGIN if margin else AccountType.CASH,
        [Money(CASH, USD)],
        base_currency=USD,
        default_leverage=Decimal(1),
    )
    for instrument in instruments.values():
        engine.add_instrument(instrument)
    engine.add_data(bars, sort=False)
    engine.add_strategy(strategies.get(task.case, Cross)(task, list(instruments.values())))
    engine.run()
    equity = float(engine.cache.account_for_venue(VENUE).balance_total(USD).as_double())
    for position in engine.cache.positions_open():
        close = frames[position.symbol.value]["Close"].iloc[-1]
        paid = position.avg_px_open if margin else 0.0
        equity += float(position.signed_qty) * (close - paid)
    seconds = perf_counter() - began
    fills = sum(order.filled_qty.as_double() > 0 for order in engine.cache.orders())
    return Outcome(seconds, equity, fills)


CASES = dict.fromkeys(("cross", "startup", "many", "intervals", "orders", "heavy"), _run)
