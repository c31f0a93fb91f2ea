"""Bars and orders of one case, in a file that every environment can read; nothing here but what all of them have."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Outcome:
    """What an engine made of a tape.

    Attributes
    ----------
    fills
        Rows of (stamp of the bar, symbol, signed size, price).
    equity
        At the last close.
    version
        The engine's.
    """

    fills: list[tuple[str, str, float, float]]
    equity: float
    version: str


@dataclass(frozen=True)
class Tape:
    """One case as data.

    Attributes
    ----------
    case
        Its name.
    stamps
        Where the bars begin, as text: naive dates of daily bars, UTC otherwise.
    bars
        Lists by symbol and column.
    orders
        In order of submission, each placed when ``after`` bars are complete, counted by stamps: ``size`` is signed, and
        there may be ``limit``, ``stop``, ``stop_loss``, ``take_profit``, ``trail`` and ``cancel`` (bars later); or
        ``weights``, for as many symbols as there are.
    cash
        At the start.
    extra
        What the case needs beside: a split, a cap, a commission.
    """

    case: str
    stamps: list[str]
    bars: dict[str, dict[str, list[float]]]
    orders: list[dict[str, Any]]
    cash: float = 1_000_000.0
    extra: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Save it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: str | Path) -> Tape:
        """Load it."""
        return cls(**json.loads(Path(path).read_text()))

    def frames(self) -> dict[str, pd.DataFrame]:
        """The bars by symbol, with lower-case columns."""
        import pandas as pd

        index = pd.DatetimeIndex(self.stamps)
        return {symbol: pd.DataFrame(columns, index) for symbol, columns in self.bars.items()}

    def due(self) -> dict[int, list[dict[str, Any]]]:
        """The orders by how many bars are complete when they are placed."""
        found: dict[int, list[dict[str, Any]]] = {}
        for order in self.orders:
            found.setdefault(order["after"], []).append(order)
        return found
