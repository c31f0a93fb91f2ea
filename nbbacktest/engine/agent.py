"""What the engine asks of the floor above it: the only thing it knows of trading."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from typing import Any, Protocol

from nbbacktest.core.records import Bar
from nbbacktest.engine.series import Series

Handler = Callable[[Bar], object]


class Agent(Protocol):
    """Reacts to bars. Every method is called by the analysis thread alone.

    Attributes
    ----------
    pending
        What waits for the next base bars. The engine only asks whether it is empty, once an instant;
        it is one and the same object for the whole run.
    index
        Which instant of the run is under way, or was completed last; -1 before the first. The engine sets it
        before anything else happens at that instant.
    lag
        Seconds that the instant under way began after it was due; 0 where no clock counts. The engine sets it before
        the instant.
    """

    pending: Sized
    index: int
    lag: float

    def start(self) -> None:
        """Called once, before the first instant."""
        ...

    def match_orders(self, bars: Sequence[Bar]) -> None:
        """Called before an instant's callbacks, where `pending` isn't empty, with all its completed bars."""
        ...

    def handlers(self, series: Series) -> Sequence[Handler]:
        """Who is to be called with the bars of `series`, in order. Asked after `start`, and when series join or leave."""
        ...

    def failed(self, error: BaseException, handler: Handler | None, bar: Bar | None) -> Exception:
        """Say whose fault `error` was; returns the error to report."""
        ...

    def stop(self) -> None:
        """Called once, after the last instant, also where a run is stopped early."""
        ...

    def freeze(self) -> Any:
        """Everything that changes with trading, as an immutable value."""
        ...
