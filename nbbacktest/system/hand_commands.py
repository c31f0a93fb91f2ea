"""The commands by which a user trades in a run by hand, and takes it back; as those of `system.commands`."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nbbacktest.core.inputs import said_by_hand
from nbbacktest.system.answers import Answer, answer, at, gone
from nbbacktest.system.manager import SystemManager
from nbbacktest.trading.snapshot import OrderRow


def _order_command(side: str) -> Callable[..., Answer]:
    def place(
        system: SystemManager,
        symbol: str,
        size: float | None = None,
        *,
        limit: float | None = None,
        stop: float | None = None,
        touch: float | None = None,
        trail: str | None = None,
        stop_loss: float | None = None,
        take_profit: float | None = None,
        tif: str = "gtc",
        until: str | None = None,
        tag: str | None = None,
        strategy: str | None = None,
    ) -> Answer:
        """Place an order to {side} by hand; it can fill from the symbol's next bar on.

        Parameters
        ----------
        symbol
            One of the run's.
        size
            Units; left out, as many as the cash allows.
        limit
            Fill at this price or better.
        stop
            Become a market order once this price is reached.
        touch
            Become a market order once this better price is reached.
        trail
            A stop that follows at this distance: a price such as 1.5, or a share such as 2%.
        stop_loss
            A stop that closes the position, once it is open.
        take_profit
            A limit that closes the position, once it is open.
        tif
            gtc, day, ioc, fok, or gtd with a date.
        until
            The date or time of gtd.
        tag
            Your own mark, found again in fills and trades.
        strategy
            The strategy in whose name it is placed; left out, the hand's own.
        """
        row = getattr(system, side)(
            symbol, size, limit=limit, stop=stop, touch=touch, trail=_distance(trail), stop_loss=stop_loss, take_profit=take_profit,
            tif=tif, until=until, tag=tag, strategy=strategy,
        )  # fmt: skip
        return _placed(system, side, row)

    place.__name__ = place.__qualname__ = side
    place.__doc__ = str(place.__doc__).replace("{side}", side)
    return place


buy, sell = _order_command("buy"), _order_command("sell")


def close(system: SystemManager, symbol: str | None = None, *, strategy: str | None = None) -> Answer:
    """Close a position at the market by hand.

    Parameters
    ----------
    symbol
        May be left out if the run has one.
    strategy
        The strategy whose position it is; left out, the hand's own.
    """
    row = system.close(symbol, strategy=strategy)
    if row is None:
        return answer(system, "close", None, f"There is no position of {strategy or 'the hand'} to close{at(system)}")
    return _placed(system, "close", row)


def cancel(system: SystemManager, order: int) -> Answer:
    """Take back an open order by hand.

    Parameters
    ----------
    order
        Its number, as status shows it.
    """
    row = system.cancel(order)
    return answer(system, "cancel", True, f"Order {row.id} of {row.strategy} cancelled{at(system)}")


def change(system: SystemManager, setting: str, *, strategy: str | None = None) -> Answer:
    """Change a parameter of a strategy of the run under way, by hand.

    Parameters
    ----------
    setting
        NAME=VALUE, such as fast=5.
    strategy
        May be left out if the run has one.
    """
    name, equals, text = setting.partition("=")
    if not (equals and name.strip().isidentifier()):
        raise ValueError(f"{setting!r}: give NAME=VALUE, such as fast=5")
    value: Any = text.strip()
    with suppress(ValueError):
        value = json.loads(text)
    changed = system.change(strategy, **{name.strip(): value})
    if not changed:
        return answer(system, "change", False, f"{name.strip()} is {value!r} already")
    of = next((text for _, _, text in reversed(_log(system)) if " by hand" in text), "")
    return answer(system, "change", True, f"{of or setting}{at(system)}")


def undo(system: SystemManager) -> Answer:
    """Take back the last input by hand, and rest just before it; what came after it is given up."""
    if system.undo():
        return gone(system, "undo", True)
    return answer(system, "undo", False, "Nothing was done by hand before this place")


def redo(system: SystemManager) -> Answer:
    """Bring back what the last undo has taken back."""
    if system.redo():
        return gone(system, "redo", True)
    return answer(system, "redo", False, "Nothing was taken back, or something else was done by hand since")


def inputs(system: SystemManager) -> Answer:
    """Tell what was done by hand in the run, in order."""
    done = system.inputs
    lines = [f"{number:>3}  {_line(one)}" for number, one in enumerate(done)]
    head = f"A run {said_by_hand(done)}" if done else "Nothing was done by hand"
    data = {"inputs": [one.to_dict() for one in done]}
    return Answer("inputs", None, system.get_state().value, "\n".join([head, *lines]), None, data)


def _line(one: Any) -> str:
    terms = ", ".join(f"{name}={value}" for name, value in one.arguments.items())
    of = "" if one.strategy is None else f" for {one.strategy}"
    return f"{one.time if one.time is not None else 'start'}  {one.what} {terms}{of}".rstrip()


def _placed(system: SystemManager, command: str, row: OrderRow) -> Answer:
    return answer(system, command, True, f"{row!r} placed by hand{at(system)}".replace("<", "").replace(">", ""))


def _distance(trail: str | None) -> float | str | None:
    if trail is None or trail.strip().endswith("%"):
        return trail
    try:
        return float(trail)
    except ValueError:
        return trail  # refused by the order's own words


def _log(system: SystemManager) -> list[tuple[int, str, str]]:
    run = system.run
    return [] if run is None else run.world.desk.log
