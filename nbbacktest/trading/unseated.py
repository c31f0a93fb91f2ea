"""What a strategy has in place of its seat while it is in no run: words that say so."""

from __future__ import annotations

from typing import Any, NoReturn

from nbbacktest.core.errors import OutsideRunError


class Unseated:
    """Stands where a strategy's seat will be: everything but a run's inside is refused."""

    __slots__ = ("_strategy",)

    def __init__(self, strategy: str) -> None:
        self._strategy = strategy

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._strategy,)  # a notebook's class goes to other processes with it

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # help(), copies and documentation tools only look at what this is
            raise AttributeError(name)
        raise OutsideRunError(
            f"{self._strategy} isn't in a run yet: orders, positions, bars and indicators exist from on_start on; "
            f"run it with nbbacktest.backtest(data, {self._strategy})"
        )
