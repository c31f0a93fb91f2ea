"""Computes all results of a finished run from its record, each when it is first asked for, and keeps them.

Figure, tearsheet, terminal, document and explanation read a `RunAnalysis`; `Result` shows users copies of its parts.
"""

from __future__ import annotations

import hashlib
import struct
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nbbacktest.core.inputs import canonical, said_by_hand
from nbbacktest.core.records import Float64
from nbbacktest.report import frames
from nbbacktest.report.recipe import recipe_of
from nbbacktest.report.table import Stats
from nbbacktest.trading.equity import equity_curve
from nbbacktest.trading.excursions import Excursions, excursions
from nbbacktest.trading.record import RunRecord
from nbbacktest.trading.stats import by_strategy, by_symbol, reasons, statistics
from nbbacktest.trading.trades import Trades, round_trips

if TYPE_CHECKING:
    import pandas as pd

    from nbbacktest.report.benchmark import BenchmarkSource, Comparison
    from nbbacktest.trading.look import RecordedPast
    from nbbacktest.trading.orders import Fill

HEADER = b"nbbacktest result 1\n"


class RunAnalysis:
    """A run's equity, trades and statistics, and its frames.

    The frames are the analysis's own: readers don't change them.
    """

    def __init__(self, record: RunRecord) -> None:
        self.record = record

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that were run, in the session's order."""
        return tuple(self.record.bars)

    @property
    def origin(self) -> str:
        """The source of the bars; that of invented ones always begins with "synthetic data"."""
        source = self.record.source
        if not self.record.synthetic or source.lower().startswith("synthetic data"):
            return source
        if source.lower().startswith("synthetic"):
            return f"synthetic data{source[len('synthetic') :]}"
        return f"synthetic data ({source})"

    @cached_property
    def equity_values(self) -> Float64:
        """Equity by instant, in the account's currency; read-only."""
        values = equity_curve(self.record)
        values.flags.writeable = False
        return values

    @cached_property
    def round_trips(self) -> Trades:
        """The trades as columns and records."""
        return round_trips(self.record)

    @cached_property
    def excursions(self) -> Excursions:
        """MAE and MFE of each trade."""
        return excursions(self.record, self.round_trips)

    @cached_property
    def past(self) -> RecordedPast:
        """The run at each of its instants."""
        from nbbacktest.trading.look import RecordedPast

        return RecordedPast(self.record)

    @cached_property
    def stats(self) -> Stats:
        """The statistics by name."""
        values = statistics(self.record, self.equity_values, self.round_trips, self.excursions)
        return Stats(values, reasons=lambda: reasons(values, self.record, self.equity_values, self.round_trips))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over fills and equity, in hex."""
        return fingerprint(self.record, self.equity_values)

    @cached_property
    def recipe(self) -> str:
        """SHA-256 over all that decides the result, in hex."""
        return recipe_of(self.record)

    @cached_property
    def inputs(self) -> pd.DataFrame:
        """A row an input by hand."""
        return frames.inputs_frame(self.record)

    @cached_property
    def by_hand(self) -> str:
        """The number of inputs by hand in words; empty if there is none."""
        return said_by_hand(self.record.inputs)

    @cached_property
    def equity(self) -> pd.Series[float]:
        """Equity by instant, as a Series."""
        return frames.equity_series(self.record, self.equity_values)

    @cached_property
    def fills(self) -> pd.DataFrame:
        """A row a fill."""
        return frames.fills_frame(self.record)

    @cached_property
    def orders(self) -> pd.DataFrame:
        """A row an order."""
        return frames.orders_frame(self.record)

    @cached_property
    def order_events(self) -> pd.DataFrame:
        """The events of all orders, one row an event."""
        return frames.order_events_frame(self.record)

    @cached_property
    def trades(self) -> pd.DataFrame:
        """A row a round trip."""
        return frames.trades_frame(self.record, self.round_trips, self.excursions)

    @cached_property
    def flows(self) -> pd.DataFrame:
        """The cash flows without a fill, such as dividends, one row each."""
        return frames.flows_frame(self.record)

    @cached_property
    def log(self) -> pd.DataFrame:
        """The messages of the strategies, one row each."""
        return frames.log_frame(self.record)

    @cached_property
    def by_symbol(self) -> pd.DataFrame:
        """Trade statistics, one row a symbol."""
        return frames.breakdown_frame(by_symbol(self.record, self.round_trips), "symbol")

    @cached_property
    def by_strategy(self) -> pd.DataFrame:
        """Trade statistics, one row a strategy."""
        return frames.breakdown_frame(by_strategy(self.record, self.round_trips), "strategy")

    @cached_property
    def monthly(self) -> pd.DataFrame:
        """Returns by month, one row a year."""
        return frames.monthly_frame(self.record, self.equity_values)

    def rolling(self, days: int) -> pd.DataFrame:
        """Statistics of the last `days` daily returns, one row a date.

        Raises
        ------
        DataError
            For a window that isn't a whole number of at least two days.
        """
        return frames.rolling_frame(self.record, self.equity_values, days)

    def against(self, benchmark: BenchmarkSource) -> Comparison:
        """The run compared with a benchmark.

        Raises
        ------
        DataError
            For a benchmark that can't be lined up with the run.
        """
        from nbbacktest.report.benchmark import compare, read_benchmark

        return compare(self.record, self.equity_values, read_benchmark(self.record, benchmark))


def fingerprint(record: RunRecord, equity: Float64) -> str:
    """SHA-256 of fills and equity, in hex.

    The bytes are: the header ``nbbacktest result 1`` and a newline; the number of fills; each fill's index, time, symbol,
    side, size, price, commission, order id, tag and strategy; the number of instants; all instants; all
    equity values. Integers are 8 bytes, floats IEEE 754 doubles with -0.0 as 0.0, both little-endian. A text is the length
    of its UTF-8 in 8 bytes, and that; a tag is preceded by one byte, 0 for none (then nothing follows), else 1. If the run has
    inputs by hand, their JSON follows: see `core.inputs.canonical`.
    """
    digest = hashlib.sha256(HEADER)
    digest.update(struct.pack("<q", len(record.fills)))
    for fill in record.fills:
        digest.update(fill_bytes(fill))
    digest.update(struct.pack("<q", len(record.instants)))
    digest.update(np.ascontiguousarray(record.instants, dtype="<i8").data)
    digest.update(np.ascontiguousarray(equity + 0.0, dtype="<f8").data)
    if record.inputs:
        digest.update(canonical(record.inputs))
    return digest.hexdigest()


def fill_bytes(fill: Fill) -> bytes:
    """A fill as it counts in a fingerprint."""
    tag = b"\0" if fill.tag is None else b"\1" + _text(fill.tag)
    return (
        struct.pack("<qq", fill.index, fill.time_ns)
        + _text(fill.symbol)
        + _text(fill.side)
        + struct.pack("<ddd", fill.size + 0.0, fill.price + 0.0, fill.commission + 0.0)
        + struct.pack("<q", fill.order_id)
        + tag
        + _text(fill.strategy)
    )


def _text(text: str) -> bytes:
    # surrogatepass: a tag may hold what a file name can, and must not end the run's report.
    encoded = text.encode("utf-8", "surrogatepass")
    return struct.pack("<q", len(encoded)) + encoded
