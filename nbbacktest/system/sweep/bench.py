"""Runs one point after the other over bars that were made ready once. Knows no process and no other point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import NbBacktestError
from nbbacktest.core.lifecycle import Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.core.records import Bar, BarColumns
from nbbacktest.core.shown import said
from nbbacktest.data.source_registry import is_source
from nbbacktest.data.sources import load
from nbbacktest.data.warmup import Need
from nbbacktest.engine.inline import run_inline
from nbbacktest.engine.processor import bars_of
from nbbacktest.engine.series import Series
from nbbacktest.system.builder import players_of, wired
from nbbacktest.system.instances import copied
from nbbacktest.system.interrupted import raise_interrupt
from nbbacktest.system.loaded import Loaded, needs_of, warn_of_lack
from nbbacktest.system.recorded import recorded
from nbbacktest.trading.record import RunRecord
from nbbacktest.trading.stats import statistics
from nbbacktest.trading.strategy import Strategy

Row = dict[str, Any]
ERROR = "error"
"""The key of a row that says why its point failed; None where it didn't."""
_KEPT = 100_000  # bars of all series, some 300 bytes each
_WINDOW = 65_536  # instants: nobody waits for a window's end in here, and each takes 25 us


class Bench:
    """A strategy's class and everything that its runs share. Nothing of it that can be seen changes after it was made.

    So it may be sent to other processes, and be used by several threads.
    """

    def __init__(self, config: SessionConfig, data: Any, strategy: type[Strategy], fixed: Mapping[str, Any]) -> None:
        self._config = config
        # Bars that were handed over are read no more; where more may come from is asked for symbols that join and late warm-up.
        self._data = data if data is None or is_source(data) or isinstance(data, (Mapping, str, Path)) else ()
        self.strategy = strategy
        self._fixed = dict(fixed)
        self._loaded: dict[tuple[Need, ...], Loaded] = {}
        self._bars = _Bars()

    def prepare(self, data: Any, points: Sequence[Mapping[str, Any]]) -> None:
        """Load the bars as far back as each point needs them, and build the derived ones.

        Points that need the same share it; a strategy that can't even be made is its point's error, later.

        Raises
        ------
        ConfigError, DataError
            As a backtest does.
        """
        for point in points:
            try:
                players = players_of(self._config, self.strategy, {**self._fixed, **point})
                needs = needs_of(players)
            except NbBacktestError:
                continue
            if needs in self._loaded:
                continue
            market = load(self._config, data, needs=needs)
            loaded = Loaded(self._config, self._data, market)
            loaded.reach(needs)
            stages = wired(self._config, Lifecycle(), Monitor(), players, loaded, data=self._data)
            warn_of_lack(stages.desk.warmup, loaded.market.asked)
            self._loaded[needs] = loaded

    def record(self, point: Mapping[str, Any]) -> RunRecord:
        """Run one point in this thread.

        Raises
        ------
        NbBacktestError
            Whatever a backtest of it raises.
        """
        players = players_of(self._config, self.strategy, copied({**self._fixed, **point}))
        loaded = self._loaded[needs_of(players)].fresh()
        stages = wired(self._config, Lifecycle(), Monitor(), players, loaded, data=self._data, window=_WINDOW)
        self._bars.lend(stages.timeline.series)
        run_inline(stages.timeline, stages.gate, stages.quantum, stages.processor, stages.analysis)
        if stages.analysis.error is not None:
            raise stages.analysis.error
        market = stages.market
        return recorded(
            self._config, market, stages.analysis, stages.desk,
            source=market.source, synthetic=market.synthetic, metrics=None,
        )  # fmt: skip

    def play(self, point: Mapping[str, Any]) -> Row:
        """The statistics of one point by name, or its error."""
        try:
            return {**statistics(self.record(point)), ERROR: None}
        except Exception as error:  # noqa: BLE001 - a point that fails is a row, and the others go on
            raise_interrupt(error)
            return {ERROR: str(error) if isinstance(error, NbBacktestError) else said(error)}


class _Bars:
    """The bars of a bench, made once: they can't be changed, and making them takes a run up to a fifth of its time.

    They are made anew where a bench is sent to, which is quicker than to send them.
    """

    def __init__(self) -> None:
        self._made: dict[BarColumns, list[Bar]] = {}
        self._count = 0

    def lend(self, every: Sequence[Series]) -> None:
        """Have a run's series use them, as far as they aren't too many to be kept."""
        for series in every:
            series.made = self._of(series)

    def _of(self, series: Series) -> list[Bar] | None:
        columns = series.whole
        bars = self._made.get(columns)
        if bars is None and self._count + len(columns) <= _KEPT:
            bars = self._made[columns] = list(bars_of(series, 0, len(columns)))
            self._count += len(columns)
        return bars

    def __reduce__(self) -> tuple[type[_Bars], tuple[()]]:
        return _Bars, ()
