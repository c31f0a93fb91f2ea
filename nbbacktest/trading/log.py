"""What strategies, and the desk for them, put down during a run: lines with the instant and the strategy's name."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from nbbacktest.core.errors import OrderWarning

Line = tuple[int, str, str]
"""(instant in nanoseconds UTC, strategy, text)."""


class RunLog(list[Line]):
    """A run's lines, in the order in which they were put down; `now` says which instant is under way."""

    def __init__(self, now: Callable[[], int]) -> None:
        super().__init__()
        self._now = now
        self.warned: set[str] = set()

    def note(self, name: str, text: str) -> None:
        """Put down a line for the strategy `name`."""
        self.append((self._now(), name, text))

    def nothing_comes(self, name: str, symbol: str, text: str) -> None:
        """Put down why what `name` ordered of `symbol` comes to nothing; warn of it once a symbol."""
        self.note(name, text)
        if symbol not in self.warned:
            self.warned.add(symbol)
            warnings.warn(f"{name}: {text} (said once for {symbol}; see result.log)", OrderWarning, stacklevel=5)
