"""Worlds of one origin: the same config and bars, and strategies made anew, driven in the test's own thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.lifecycle import Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.data.sources import load
from nbbacktest.engine.window import Window
from nbbacktest.report.result import Result
from nbbacktest.system.builder import StrategySource, players_of, wired
from nbbacktest.system.loaded import Loaded, needs_of
from nbbacktest.system.membership import RunState
from nbbacktest.system.recorded import recorded


class Origin:
    """What every world of one run is made from."""

    def __init__(self, config: dict[str, Any], data: Any, strategies: Callable[[], list[StrategySource]]) -> None:
        self.config = SessionConfig.load(config)
        self._data = data
        self._strategies = strategies
        needs = needs_of(self._players())
        self._loaded = Loaded(self.config, data, load(self.config, data, needs=needs))
        self._loaded.reach(needs)

    def _players(self) -> Any:
        return players_of(self.config, self._strategies())

    def world(self) -> World:
        """A fresh one, started."""
        lifecycle = Lifecycle()
        stages = wired(
            self.config, lifecycle, Monitor(), self._players(), self._loaded.fresh(), data=self._data, window=1 << 16
        )
        return World(stages)

    def at(self, state: RunState) -> World:
        """A fresh one that goes on from a state that another one saved."""
        world = self.world()
        world.cursor = world.stages.membership.restore(state)
        return world


class World:
    """One run without threads of its own."""

    def __init__(self, stages: Any) -> None:
        self.stages = stages
        self.cursor = 0
        if not stages.analysis.begin():
            raise stages.analysis.error

    def __len__(self) -> int:
        return len(self.stages.timeline)

    @property
    def desk(self) -> Any:
        """Its trading."""
        return self.stages.desk

    def to(self, cursor: int | None = None) -> World:
        """Go forward to the instant `cursor`, or to the end."""
        stages = self.stages
        while self.cursor < (len(self) if cursor is None else min(cursor, len(self))):
            stop = len(self) if cursor is None else min(cursor, len(self))
            for batch in stages.processor.batches(Window(self.cursor, stop, stages.gate.generation, None)):
                stages.analysis.process(batch)
            self.cursor = self.desk.index + 1
            if stages.analysis.error is not None:
                raise stages.analysis.error
        return self

    def save(self) -> RunState:
        """Its state as a value, at the boundary that it has come to."""
        self.stages.analysis.run_errands(self.cursor)
        return self.stages.membership.save()

    def result(self) -> Result:
        """What it gave, ended here."""
        stages = self.stages
        stages.analysis.finish()
        return Result(
            recorded(stages.config, stages.market, stages.analysis, self.desk, source="", synthetic=False, metrics={})
        )
