"""`ByHand`, the strategy that does nothing: bars pass by, and a user trades by hand with a real broker."""

from __future__ import annotations

from nbbacktest.trading.strategy import Strategy

HAND = "hand"
"""The name under which orders by hand are placed, if they are in no strategy's name."""


class ByHand(Strategy):
    """Does nothing: the strategy of a run that is traded by hand alone, with `SystemManager.buy` and the like.

    Examples
    --------
    >>> import nbbacktest as nb
    >>> system = nb.SystemManager(reachable=False)
    >>> system.start(strategies=nb.ByHand, paused=True)
    True
    >>> system.step(10)
    True
    >>> system.buy(size=5)
    <Order 1 buy 5 DEMO market: open>
    >>> system.step()
    True
    >>> system.snapshot().positions[0].size
    5.0
    >>> system.stop()
    True
    """
