"""The part of `Strategy` that orders: in units, values and shares of the equity, with exits; changes and takes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbbacktest.core.enums import Side
from nbbacktest.trading.orders import Order
from nbbacktest.trading.orders.request import read_request

if TYPE_CHECKING:
    from nbbacktest.trading.seat import Seat

_BUY, _SELL = Side.BUY, Side.SELL


class Ordering:
    """What strategies can order; their seat does the work."""

    _seat: Seat

    def buy(
        self,
        symbol: str | None = None,
        size: float | None = None,
        *,
        limit: float | None = None,
        stop: float | None = None,
        trail: float | str | None = None,
        stop_loss: float | None = None,
        take_profit: float | None = None,
        at: str | None = None,
        tif: str = "gtc",
        until: Any = None,
        reduce_only: bool = False,
        tag: str | None = None,
    ) -> Order:
        """Order to buy; it can fill from the symbol's next bar on, never on the one just seen.

        Parameters
        ----------
        symbol
            May be left out where the strategy has one.
        size
            Units, fractions allowed. None: as many whole units as the cash allows at the fill's price,
            commission included, after closing a short.
        limit
            Fill at this price or better.
        stop
            Become a market order once this price is reached (with `limit`: a limit order); a gap fills at the open.
        trail
            A stop that follows the market at this distance: a price such as 1.5, or a share such as ``"2%"``.
        stop_loss, take_profit
            Levels of exits that live from this order's fill on, cancel each other, and only reduce the position;
            `order.children` are their orders.
        at
            ``"open"`` or ``"close"``: a market order for the next session's first open, or this session's last close.
        tif
            How long the order stays open: ``"gtc"`` until it fills or is cancelled, ``"day"`` until the session ends,
            ``"ioc"`` and ``"fok"`` for the next open alone, in part or whole; ``"gtd"`` until `until`.
        until
            A time, or a date, which is meant to its end; in the exchange's zone where it names none.
        reduce_only
            Never trade more than closes the position; cancelled where there is none.
        tag
            Your own mark, found again in fills and trades.

        Returns
        -------
        Order
            Open; `order.status` and `order.reason` tell later what became of it.

        Raises
        ------
        OrderError
            For an order that makes no sense, with the value and the cure.
        """
        request = read_request(
            _BUY, size, limit, stop, trail, stop_loss, take_profit, at, tif, until,
            reduce_only=reduce_only, tag=tag,
        )  # fmt: skip
        return self._seat.place(symbol, request)

    def sell(
        self,
        symbol: str | None = None,
        size: float | None = None,
        *,
        limit: float | None = None,
        stop: float | None = None,
        trail: float | str | None = None,
        stop_loss: float | None = None,
        take_profit: float | None = None,
        at: str | None = None,
        tif: str = "gtc",
        until: Any = None,
        reduce_only: bool = False,
        tag: str | None = None,
    ) -> Order:
        """Order to sell, or to sell short; the mirror of `buy`, with the same parameters and errors."""
        request = read_request(
            _SELL, size, limit, stop, trail, stop_loss, take_profit, at, tif, until,
            reduce_only=reduce_only, tag=tag,
        )  # fmt: skip
        return self._seat.place(symbol, request)

    def close(self, symbol: str | None = None) -> Order | None:
        """Close the position at the market; None where there is none.

        The order never turns the position around: where another one closed it first, it is cancelled.
        """
        return self._seat.close(symbol)

    def order_target_size(self, symbol: str | float | None = None, x: float | None = None) -> Order | None:
        """Order the difference to a position of `x` units (negative: short); None where there is none.

        What open orders may still fill isn't counted. With one symbol, `x` may be given alone.
        """
        return self._seat.target_size(symbol, x)

    def order_target_value(self, symbol: str | float | None = None, x: float | None = None) -> Order | None:
        """Order the difference to a position worth `x` at the newest close, in whole units, rounded toward 0.

        None where the target is met already; a rejected order, with the reason and the cure, where `x` makes no whole
        unit (lots where the config has them) and nothing is held. What open orders may still fill isn't counted. With one symbol, `x` may be given alone.
        """
        return self._seat.target_value(symbol, x)

    def order_target_percent(self, symbol: str | float | None = None, x: float | None = None) -> Order | None:
        """Order the difference to a position worth the share `x` of the equity (0.5 is half), in whole units.

        As `order_target_value` of that worth: None where the target is met, a rejected order where it makes no unit.
        """
        return self._seat.target_percent(symbol, x)

    def size_for_risk(self, symbol: str | None = None, *, risk: float, stop: float) -> float:
        """How many units lose the share `risk` of the equity, before costs, from the newest close to `stop`.

        ``risk * equity / |close - stop|`` in whole units (lots where the config has them), rounded toward 0, so that
        it may be 0. What the cash allows isn't asked.

        Raises
        ------
        OrderError
            For a share that isn't above 0 and up to 1, and a stop at the newest close.

        Examples
        --------
        ::

            size = self.size_for_risk(risk=0.01, stop=bar.low)
            if size:
                self.buy(size=size, stop_loss=bar.low)
        """
        return self._seat.size_for_risk(symbol, risk, stop)

    def oco(self, *orders: Order) -> None:
        """Let one cancel the others: a fill ends them, one in part makes them as much smaller.

        Raises
        ------
        OrderError
            For fewer than two, and for one that isn't open or is linked already.
        """
        self._seat.link(orders)

    def replace(
        self,
        order: Order,
        size: float | None = None,
        limit: float | None = None,
        stop: float | None = None,
        trail: float | str | None = None,
    ) -> Order:
        """Change an open order, which keeps its place in line; `size` is the whole one, with what has filled.

        Raises
        ------
        OrderError
            Where it isn't open any more, doesn't have that term, or the new value makes no sense.
        """
        return self._seat.replace(order, {"size": size, "limit": limit, "stop": stop, "trail": trail})

    def cancel(self, order: Order) -> None:
        """Take back an open order.

        Raises
        ------
        OrderError
            Where it isn't open any more, or isn't one of this strategy and run.
        """
        self._seat.cancel(order)

    def orders(self, symbol: str | None = None) -> list[Order]:
        """The strategy's own open orders, oldest first; all symbols' where `symbol` is left out."""
        return self._seat.orders(symbol)
