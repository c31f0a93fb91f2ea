"""Who moves a run that has no threads, as its gate knows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Mover(Protocol):
    """Delivers instants in the thread of whoever waits for them.

    Attributes
    ----------
    wants_rest : bool
        Whether it is to deliver nothing more for now: its user has interrupted it.
    """

    wants_rest: bool

    def until(self, over: Callable[[], bool], timeout: float | None) -> bool:
        """Move the run until `over()`; False after `timeout` seconds."""

    def kick(self) -> None:
        """See to it that the run moves on when nobody waits for it; returns at once."""
