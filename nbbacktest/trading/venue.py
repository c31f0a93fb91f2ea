"""What the market accepts: sizes in lots, levels on the tick, and levels that make sense beside the newest close."""

from __future__ import annotations

from math import ceil, floor, ulp

from nbbacktest.core.config import BrokerConfig
from nbbacktest.core.enums import OrderType, Side
from nbbacktest.core.errors import OrderError
from nbbacktest.trading.tickets import Ticket

# How far off a multiple a float may be and still mean it: 0.1 * 3 is on a tick of 0.1.
_SLACK = 1e-6
_MARKET = OrderType.MARKET  # looking a member up in its enum costs 77 ns, a name of the module 9


class Venue:
    """The config's lot, tick and whole units."""

    __slots__ = ("_lot", "_tick", "_unit")

    def __init__(self, broker: BrokerConfig) -> None:
        self._lot = broker.lot_size
        self._tick = broker.tick_size
        self._unit = broker.lot_size or (None if broker.fractional else 1.0)

    # -- sizes ----------------------------------------------------------------------------------------------

    def whole(self, size: float) -> float:
        """`size` in whole lots, or units where there are none, rounded toward 0."""
        lot = self._lot or 1.0
        lots = abs(size) / lot
        # What is a whole number but for rounding is meant as one; never so far off that it were a lot more.
        whole = int(lots + max(min(lots * 1e-12, _SLACK), 2 * ulp(lots))) * lot
        return whole if size > 0 else -whole

    def too_little(self, symbol: str, units: float, of: str) -> str:
        """Why `units` of `symbol`, which follow from what `of` says, come to nothing; and the cure."""
        made = "whole units make" if self._lot is None else f"lots of {self._lot:g} make"
        if self._lot is not None:
            cure = "set a smaller broker.lot_size"
        elif self._unit is None:
            cure = "set a broker.lot_size (such as 0.001)"
        else:
            cure = "set broker.fractional to true and a broker.lot_size (such as 0.001)"
        return f"{of} is {units:.6g} units of {symbol}, and {made} 0 of them; {cure}, or ask for more"

    def in_lots(self, size: float) -> float:
        """`size` as it may be traded in part: in whole lots, or as it is where fractions are allowed."""
        return size if self._unit is None else floor(size / self._unit + _SLACK) * self._unit

    def check_size(self, side: Side, size: float | None) -> None:
        """Refuse a size that isn't a multiple of the lot, or not whole."""
        unit = self._unit
        if unit is None or size is None or _is_multiple(size, unit):
            return
        down = floor(size / unit) * unit
        near = f"{down:.15g} or {down + unit:.15g}" if down else f"{unit:.15g}"
        what = f"a multiple of the lot of {unit:g}" if self._lot else "whole, and fractional is false"
        raise OrderError(f"{side}(size={size:.15g}): the size isn't {what}; use {near}")

    # -- levels ---------------------------------------------------------------------------------------------

    def check_level(self, side: Side, name: str, level: float | None, last: float) -> None:
        """Refuse a level off the tick, or a negative one where the market is at a positive price."""
        if level is None:
            return
        if level < 0 < last:
            raise OrderError(f"{side}({name}={level:g}): below 0, and the newest close is {last:g}; correct the level")
        tick = self._tick
        if tick is not None and not _is_multiple(level, tick):
            down = floor(level / tick) * tick
            raise OrderError(
                f"{side}({name}={level:.10g}): off the tick of {tick:g}; the nearest are {down:.10g} and {down + tick:.10g}"
            )

    def outward(self, level: float, side: Side) -> float:
        """The level on the tick, away from the market, for a stop that was computed."""
        tick = self._tick
        if tick is None:
            return level
        steps = level / tick
        return (ceil(steps - _SLACK) if side is Side.BUY else floor(steps + _SLACK)) * tick

    def check(self, ticket: Ticket, last: float) -> None:
        """Refuse what the market doesn't accept.

        Raises
        ------
        OrderError
            With the value and what would do.
        """
        side = ticket.side
        if self._unit is not None and not ticket.reduce_only:
            self.check_size(side, ticket.size)
        if ticket.type is not _MARKET:
            self.check_level(side, "limit", ticket.limit, last)
            self.check_level(side, "stop", ticket.stop, last)
            if not ticket.trail_is_fraction:
                self.check_level(side, "trail", ticket.trail, last)
        if ticket.stop_loss is not None or ticket.take_profit is not None:
            self.check_level(side, "stop_loss", ticket.stop_loss, last)
            self.check_level(side, "take_profit", ticket.take_profit, last)
            check_bracket(side, ticket.entry_level, last, ticket.stop_loss, ticket.take_profit)


def check_bracket(
    side: Side, entry: float | None, last: float, stop_loss: float | None, take_profit: float | None
) -> None:
    """Refuse exits that are out of order, or on the wrong side of the entry.

    Raises
    ------
    OrderError
        With all the levels.
    """
    sign = 1.0 if side is Side.BUY else -1.0
    below, above = ("below", "above") if side is Side.BUY else ("above", "below")
    reference = last if entry is None else entry
    where = f"the newest close of {last:g}" if entry is None else f"the entry at {entry:g}"
    if stop_loss is not None and take_profit is not None and (take_profit - stop_loss) * sign <= 0:
        raise OrderError(
            f"{side}(stop_loss={stop_loss:g}, take_profit={take_profit:g}): out of order; of a {side} the stop_loss is "
            f"{below} the take_profit"
        )
    if stop_loss is not None and (reference - stop_loss) * sign <= 0:
        raise OrderError(f"{side}(stop_loss={stop_loss:g}): on the wrong side; it belongs {below} {where}")
    if take_profit is not None and (take_profit - reference) * sign <= 0:
        raise OrderError(f"{side}(take_profit={take_profit:g}): on the wrong side; it belongs {above} {where}")


def _is_multiple(value: float, unit: float) -> bool:
    ratio = value / unit
    return abs(ratio - round(ratio)) <= max(_SLACK, 2 * ulp(ratio))
