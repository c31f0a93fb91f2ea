"""A tape on nautilus_trader: minutes as it takes them from a catalog, orders placed at a bar's close, matched by its bars."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import Equity
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.trading.strategy import Strategy

from benchmarks.parity.tape import Tape

ENGINE = "nautilus_trader"
VENUE = Venue("SIM")
MINUTE = 60_000_000_000


class Scripted(Strategy):
    """Places what a tape says, and writes down what fills."""

    def __init__(self, tape: Tape, instrument: Equity, kind: BarType) -> None:
        super().__init__()
        self.instrument, self.kind, self.due = instrument, kind, tape.due()
        self.complete, self.fills = 0, []
        self.ending: dict[int, list[Any]] = {}

    def on_start(self) -> None:
        self.subscribe_bars(self.kind)

    def on_bar(self, bar: Any) -> None:
        self.complete += 1
        for order in self.ending.pop(self.complete, ()):
            if order.is_open:
                self.cancel_order(order)
        for placed in self.due.get(self.complete, ()):
            order = self.made(placed)
            self.submit_order(order)
            if placed.get("cancel"):
                self.ending.setdefault(self.complete + placed["cancel"], []).append(order)

    def made(self, placed: dict[str, Any]) -> Any:
        """The order in nautilus's words."""
        side = OrderSide.BUY if placed["size"] > 0 else OrderSide.SELL
        what = self.instrument.id, side, Quantity.from_int(abs(placed["size"]))
        if placed.get("limit") is not None:
            return self.order_factory.limit(*what, self.instrument.make_price(placed["limit"]))
        if placed.get("stop") is not None:
            return self.order_factory.stop_market(*what, self.instrument.make_price(placed["stop"]))
        return self.order_factory.market(*what)

    def on_order_filled(self, event: Any) -> None:
        way = 1 if event.order_side == OrderSide.BUY else -1
        self.fills.append((event.ts_event, way * event.last_qty.as_double(), event.last_px.as_double()))


def run(tape: Tape) -> tuple[list[tuple[str, str, float, float]], float]:
    """Fills, by the bar that they happened in, and final equity."""
    ((name, frame),) = tape.frames().items()
    instrument = Equity(
        InstrumentId(Symbol(name), VENUE), Symbol(name), USD, 2, Price.from_str("0.01"), Quantity.from_int(1), 0, 0
    )
    kind = BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-EXTERNAL")
    ended = frame.set_axis(frame.index.tz_localize("UTC") + pd.Timedelta(minutes=1))  # stamped with the bars' ends
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(
        VENUE,
        OmsType.NETTING,
        AccountType.MARGIN,
        [Money(tape.cash, USD)],
        base_currency=USD,
        default_leverage=Decimal(100),
    )
    engine.add_instrument(instrument)
    engine.add_data(BarDataWrangler(kind, instrument).process(ended))
    strategy = Scripted(tape, instrument, kind)
    engine.add_strategy(strategy)
    engine.run()
    equity = float(engine.cache.account_for_venue(VENUE).balance_total(USD).as_double())
    for position in engine.cache.positions_open():
        equity += float(position.signed_qty) * (frame["close"].iloc[-1] - position.avg_px_open)
    stamps = {int(end.value): stamp for end, stamp in zip(ended.index.as_unit("ns"), tape.stamps, strict=True)}
    return [(stamps[at], name, size, price) for at, size, price in strategy.fills], equity
