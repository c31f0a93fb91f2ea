"""What a case of parity is: one idea, written once for each engine."""

from __future__ import annotations

from typing import Any, NamedTuple


class Case(NamedTuple):
    """The same strategy three times; None where an engine can't say it (the page on parity tells why)."""

    name: str
    ours: Any
    backtesting: Any
    backtrader: Any

    def __str__(self) -> str:
        return self.name
