"""Worlds of one origin: the same config and bars, and strategies made anew, driven in the test's own thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.lifecycle import Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.data.sources import load
from nbbacktest.engine.timeline import Window
from nbbacktest.report.result import Result
from nbbacktest.system.builder import strategies_of
from nbbacktest.system.origin import StrategySource
from nbbacktest.system.run_bars import RunBars, needs_of
from nbbacktest.system.stages import Stages, wire
from nbbacktest.system.universe import RunState
from nbbacktest.system.world import record_of, world_of


class Origin:
    """What every world of one run is made from."""

    def __init__(self, config: dict[str, Any], data: Any, strategies: Callable[[], list[StrategySource]]) -> None:
        self.config = SessionConfig.load(config)
        self._data = data
        self._strategies = strategies
        needs = needs_of(self._made())
        self._bars = RunBars(self.config, data, load(self.config, data, needs=needs))
        self._bars.reach(needs)

    def _made(self) -> Any:
        return strategies_of(self.config, self._strategies())

    def world(self) -> World:
        """A fresh one, started."""
        world = world_of(self.config, self._made(), self._bars.fresh(), data=self._data)
        return World(wire(self.config, Lifecycle(), Monitor(), world, window=1 << 16))

    def at(self, state: RunState) -> World:
        """A fresh one that goes on from a state that another one saved."""
        world = self.world()
        world.cursor = world.stages.world.universe.restore(state)
        return world


class World:
    """One run without threads of its own."""

    def __init__(self, stages: Stages) -> None:
        self.stages = stages
        self.cursor = 0
        if not stages.analysis.begin():
            raise stages.analysis.error

    def __len__(self) -> int:
        return len(self.stages.world.timeline)

    @property
    def desk(self) -> Any:
        """Its trading."""
        return self.stages.world.desk

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
        self.stages.analysis.run_deferred(self.cursor)
        return self.stages.world.universe.save()

    def result(self) -> Result:
        """What it gave, ended here."""
        stages = self.stages
        stages.analysis.finish()
        return Result(
            record_of(stages.config, stages.world, stages.analysis.frame, source="", synthetic=False, metrics={})
        )
