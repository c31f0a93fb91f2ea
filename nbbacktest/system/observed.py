"""What can be seen of a system without changing it: its state, its run as of the cursor, and news of both."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nbbacktest.core.enums import SystemState
from nbbacktest.core.files import write_whole
from nbbacktest.core.lifecycle import Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.engine.coordinator import SessionCoordinator
from nbbacktest.report.result import Result
from nbbacktest.system.announcer import Announcer
from nbbacktest.system.origin import Origin
from nbbacktest.system.run import Run
from nbbacktest.system.slot import Slot
from nbbacktest.system.snapshot import Snapshot
from nbbacktest.system.status import status
from nbbacktest.trading.strategy import Strategy


class ObservedSystem:
    """A lifecycle, a run and its announcements; `SystemManager` adds the commands. Any thread may look."""

    def __init__(self) -> None:
        self._announcer = Announcer()
        announcer = self._announcer
        # Guards the lifecycle, the slot and every gate of this system; nothing is called while it is held.
        self._condition = Monitor()
        self._life = Lifecycle(lambda state: announcer.post("state", state))
        self._slot = Slot()
        self._origin: Origin | None = None  # of the newest run; written under the condition

    # -- looking --------------------------------------------------------------------------------------------

    def get_state(self) -> SystemState:
        """STOPPED, RUNNING or PAUSED."""
        return self._life.state

    def is_running(self) -> bool:
        """Whether a run is under way and not paused."""
        return self._life.state is SystemState.RUNNING

    def is_paused(self) -> bool:
        """Whether a run is at rest at a bar."""
        return self._life.state is SystemState.PAUSED

    def is_stopped(self) -> bool:
        """Whether nothing runs."""
        return self._life.state is SystemState.STOPPED

    @property
    def mode(self) -> str:
        """What kind of run it is: ``"backtest"``."""
        run = self._slot.run
        return run.config.mode if run else "backtest"

    @property
    def next_start(self) -> str | None:
        """What a `start` without arguments runs: strategies, symbols and source of the newest run; None before the first."""
        return self._origin.description if self._origin is not None else None

    @property
    def error(self) -> BaseException | None:
        """Why the present or last run failed, or is held; None where nothing did."""
        run = self._slot.run
        return run.error if run else None

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """The live strategy objects of the present or last run, to look into while paused."""
        run = self._slot.run
        return tuple(run.desk.strategies) if run else ()

    def get_coordinator(self) -> SessionCoordinator | None:
        """The present or last run's coordinator; None before the first run."""
        run = self._slot.run
        return run.coordinator if run else None

    @property
    def run(self) -> Run | None:
        """The present or last run, for faces that draw it; None before the first."""
        return self._slot.run

    def snapshot(self) -> Snapshot:
        """The run as of its cursor, frozen; of the last run where nothing runs."""
        return self._latest().snapshot()

    def status(self) -> dict[str, Any]:
        """The JSON status as a mapping; `nbbacktest.schema("status")` describes it."""
        run = self._slot.run
        if run is not None:
            run.snapshot()
        return status(self._life.state, run, self.next_start)

    def to_json(self, path: str | Path | None = None) -> str:
        """The status as JSON text, also written to `path` where one is given."""
        text = json.dumps(self.status(), indent=2, allow_nan=False)
        if path is not None:
            write_whole(Path(path), lambda file: file.write(text.encode() + b"\n"))
        return text

    # -- callbacks ------------------------------------------------------------------------------------------

    def on_state(self, callback: Callable[[SystemState], object]) -> Callable[[], None]:
        """Call `callback(state)` at every change of state, in order; returns the function that ends it.

        Callbacks run in a thread of their own, with no lock held; what one raises is logged and harms nothing.
        """
        return self._announcer.subscribe("state", callback)

    def on_progress(self, callback: Callable[[Snapshot], object]) -> Callable[[], None]:
        """Call `callback(snapshot)` about ten times a second while a run is under way."""
        return self._announcer.subscribe("progress", callback)

    def on_end(self, callback: Callable[[Result], object]) -> Callable[[], None]:
        """Call `callback(result)` at the end of every run; `wait` returns after that."""
        return self._announcer.subscribe("end", callback)

    # -- inside ---------------------------------------------------------------------------------------------

    def _latest(self) -> Run:
        run = self._slot.run
        if run is None:
            raise RuntimeError("nothing was started yet; call start() first")
        return run
