"""In which order bars that arrive one by one become a run's instants: rules without threads, clocks or I/O."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from nbbacktest.core.errors import DataError
from nbbacktest.core.records import Stamps
from nbbacktest.data.incoming_bars import IncomingBar

NEVER, EVER = -(1 << 62), 1 << 62
KEPT = 10_000
"""How many of a symbol's newest bars are remembered, to tell duplicates from late bars."""


class Released(NamedTuple):
    """What may become instants now: bars in order, and the moment up to which nothing can come any more."""

    bars: list[IncomingBar]
    watermark: int


class Arrivals:
    """Bars that wait until their instant is known to be complete.

    An instant is released when the *watermark* has come to it: the newest heartbeat, or the moment up to which every
    symbol has sent bars, whichever is later, or the instant of a bar that has waited `grace` seconds. Once
    released it never changes.

    Parameters
    ----------
    symbols
        In the order of their callbacks.
    grace
        Seconds of the caller's clock.
    watermark
        Everything up to it is history: nothing may arrive for it.

    Attributes
    ----------
    watermark : int
        Everything up to it has been released. Only rises.
    received, late, duplicate, out_of_order : int
        Bars taken; bars for instants that were released, dropped; bars that were there already; bars that came after
        a later one of their symbol, and were put in order.
    waiting : int
        Bars that were taken and aren't released.
    """

    def __init__(self, symbols: Sequence[str], grace: float, stamps: Stamps, watermark: int = NEVER) -> None:
        self._order = {symbol: number for number, symbol in enumerate(symbols)}
        self._grace = grace
        self._stamps = stamps
        self._known: dict[str, dict[int, IncomingBar]] = {symbol: {} for symbol in symbols}
        self._newest = dict.fromkeys(symbols, NEVER)
        self._pending: dict[int, list[IncomingBar]] = {}
        self._ends: list[int] = []  # of what is pending, rising
        self._since: deque[tuple[float, int]] = deque()  # when the first bar of an instant arrived, in that order
        self._told = NEVER
        self.watermark = watermark
        self.received = self.late = self.duplicate = self.out_of_order = self.waiting = 0

    def add(self, bar: IncomingBar, now: float) -> bool:
        """Take a bar that arrived when the caller's clock showed `now`; False where it was dropped.

        Raises
        ------
        DataError
            Where it differs from the bar that is there already.
        """
        known = self._known[bar.symbol]
        there = known.get(bar.end)
        if there is not None:
            if there != bar:
                raise DataError(
                    f"{bar.symbol} at {self._stamps.begin(bar.time)}: another bar was sent for that time, "
                    f"{_prices(there)}, and now {_prices(bar)}; bars are final once they are sent"
                )
            self.duplicate += 1
            return False
        if bar.end <= self.watermark:
            self.late += 1
            return False
        known[bar.end] = bar
        if len(known) > KEPT and (oldest := next(iter(known))) <= self.watermark:
            del known[oldest]
        if bar.end < self._newest[bar.symbol]:
            self.out_of_order += 1
        else:
            self._newest[bar.symbol] = bar.end
        if bar.end not in self._pending:
            self._pending[bar.end] = []
            insort(self._ends, bar.end)
            self._since.append((now, bar.end))
        self._pending[bar.end].append(bar)
        self.received += 1
        self.waiting += 1
        return True

    def heartbeat(self, moment: int) -> None:
        """Take the promise that every bar that ends up to `moment` has been sent."""
        self._told = max(self._told, moment)

    def release(self, now: float) -> Released:
        """Take out all that may become instants when the caller's clock shows `now`."""
        self.watermark = max(self.watermark, self._told, min(self._newest.values()), self._waited_out(now))
        count = 0
        bars: list[IncomingBar] = []
        for end in self._ends:
            if end > self.watermark:
                break
            bars += sorted(self._pending.pop(end), key=lambda bar: self._order[bar.symbol])
            count += 1
        del self._ends[:count]
        while self._since and self._since[0][1] <= self.watermark:
            self._since.popleft()
        self.waiting -= len(bars)
        return Released(bars, self.watermark)

    def finish(self) -> None:
        """Take the promise that no bar comes any more."""
        self._told = EVER

    @property
    def deadline(self) -> float | None:
        """What the caller's clock must show for the bar that has waited longest to be released; None: none waits."""
        return self._since[0][0] + self._grace if self._since else None

    def oldest_waiting(self) -> dict[str, int]:
        """For each symbol that has one, the end of its oldest bar that waits."""
        found: dict[str, int] = {}
        for end in self._ends:
            for bar in self._pending[end]:
                found.setdefault(bar.symbol, end)
        return found

    def _waited_out(self, now: float) -> int:
        reached = NEVER
        for since, end in self._since:
            if since + self._grace > now:
                break
            reached = max(reached, end)
        return reached


def _prices(bar: IncomingBar) -> str:
    return f"open {bar.open:g} high {bar.high:g} low {bar.low:g} close {bar.close:g} volume {bar.volume:g}"
