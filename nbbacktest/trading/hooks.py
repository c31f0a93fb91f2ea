"""What users write: the callbacks of a strategy. All of them do nothing by themselves."""

from __future__ import annotations

import datetime as dt

from nbbacktest.core.records import Bar
from nbbacktest.trading.orders import Fill, Order


class Hooks:
    """The callbacks of `Strategy`, in the order of a run. Override those that you need."""

    def on_start(self) -> None:
        """Called once, before the first bar: the place for indicators."""

    def on_session_start(self, date: dt.date) -> None:
        """Called at a session's open, before its first bar: `bars()` end with the session before.

        Orders placed here can fill in the session's first bar. `now` is the open, or the run's beginning where that
        is later. Only sessions in which a bar completes are told of; `date` is the exchange's name for them.
        """

    def on_bar(self, bar: Bar) -> None:
        """Called with every completed bar of the strategy's symbols, derived intervals included."""

    def on_fill(self, fill: Fill) -> None:
        """Called for each fill of this strategy's orders, after all fills of the instant, before its bars."""

    def on_order(self, order: Order) -> None:
        """Called for each of this strategy's orders that something happened to, after all `on_fill` of the instant.

        That is what the market and the broker did: triggered, filled, in part too, expired, rejected, cancelled by
        another one's fill. What the strategy itself does (buy, cancel, replace) isn't told. An order comes once an
        instant, in the order of last events; `order.events` has them all.
        """

    def on_symbol_added(self, symbol: str) -> None:
        """Called when a symbol that the strategy trades has joined the run: the place for its indicators.

        The run stands between two instants; `bars(symbol)` shows what had completed by then. Orders may be placed.
        """

    def on_symbol_removed(self, symbol: str) -> None:
        """Called when one has left it, with its position flat."""

    def on_session_end(self, date: dt.date) -> None:
        """Called at a session's close, after all callbacks of its last bar.

        Where no bar completes with the close, it is called before the next bar is seen or filled on, and `now` is the
        close all the same; or, where the bars are over, before `on_stop`. A run that is stopped earlier ends no session.
        """

    def on_stop(self) -> None:
        """Called once, after the last bar, also where the run was stopped early."""
