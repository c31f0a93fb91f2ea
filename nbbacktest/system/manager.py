"""The SystemManager: commands in, states out. Every face calls these methods; none has a way around them."""

from __future__ import annotations

import contextlib
import json
import math
import os
import weakref
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbbacktest.core.clock import Clock
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.enums import SystemState
from nbbacktest.core.errors import InvalidTransition, LiveRunError, StrategyBlockedError
from nbbacktest.core.files import write_whole
from nbbacktest.core.lifecycle import Command, Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.core.user_code import unrun
from nbbacktest.engine.coordinator import SessionCoordinator
from nbbacktest.engine.feed import Feed
from nbbacktest.report.result import Result
from nbbacktest.system.announcer import Announcer
from nbbacktest.system.builder import StrategySource, build
from nbbacktest.system.moments import Until, past_cursor, target_of
from nbbacktest.system.origin import ConfigSource, Origin, origin_of
from nbbacktest.system.run import Run, RunHolder, Stages, outcome
from nbbacktest.system.status import status
from nbbacktest.system.threads import has_threads, require_threads, whole
from nbbacktest.system.turns import TURNS
from nbbacktest.trading.places import Place
from nbbacktest.trading.snapshot import Snapshot
from nbbacktest.trading.strategy import Strategy

if TYPE_CHECKING:
    from nbbacktest.system.remote.door import Door

STOP_SECONDS = 5.0
"""How long `stop` waits for a strategy's call that is under way."""
REST_SECONDS = 10.0
"""How long `pause` waits for one."""
FLUSH_SECONDS = 5.0
"""How long the end of a wait waits for callbacks that are under way."""


class SystemManager:
    """One run at a time: start it, pause it, step it, change its speed, stop it, look at it.

    Every method may be called from any thread. Commands that already hold answer False and change nothing; those that
    make no sense raise `InvalidTransition`. Dropping the last reference to a manager ends its run.

    Examples
    --------
    >>> import nbbacktest as nb
    >>> system = nb.SystemManager()
    >>> system.start(paused=True)
    True
    >>> system.step(10)
    True
    >>> system.snapshot().cursor
    10
    >>> system.stop()
    True
    """

    def __init__(self, *, clock: Clock | None = None, reachable: bool = True) -> None:
        dispatcher = self._announcer = Announcer()
        # Guards the lifecycle, the run holder and every gate of this system; nothing is called while it is held.
        self._condition = Monitor()
        self._life = Lifecycle(lambda state: dispatcher.post("state", state))
        self._holder = RunHolder()
        self._origin: Origin | None = None  # of the newest run; written under the condition
        self._reachable = reachable  # by the user's other terminals, where the config and the environment let them
        self._speed: float | None = None  # asked for while stopped; the next start takes it
        self._clock = clock
        weakref.finalize(self, self._holder.leash.end).atexit = False  # the exit ends all runs together
        _managers.add(self)

    def _forked(self) -> None:
        """Begin anew in a forked child: the run's threads are the parent's, and any lock may be held there for ever."""
        origin, run = self._origin, self._holder.run
        SystemManager.__init__(self, clock=self._clock, reachable=self._reachable)
        self._origin = origin
        if run is not None and run.done:
            self._holder.run = run

    # -- commands -------------------------------------------------------------------------------------------

    def start(
        self,
        config: ConfigSource | None = None,
        *,
        data: Any = None,
        strategies: StrategySource | Sequence[StrategySource] | None = None,
        wait: bool = False,
        paused: bool = False,
        feed: Feed | None = None,
        **params: Any,
    ) -> bool:
        """Start a run; returns as soon as its threads have started.

        Parameters
        ----------
        config : path, mapping or SessionConfig, optional
            A config is a new beginning: of what was given before, nothing is left. None runs again what ran before,
            with its data, strategies, parameters and feed, but for those that are given now. At first it is a small
            example with synthetic bars, or, with `data`, the defaults.
        data : DataFrame, mapping of DataFrames, or path, optional
            Takes the place of the config's data. Bars in memory are copied: what becomes of them later changes no run.
        strategies : Strategy class, instance or list of them, optional
            Take the place of the config's strategies; `params` are their parameters. An instance begins each run with
            the state that it was given with, and what its owner has set between runs.
        wait : bool
            Block until the end, as `wait` does, and raise what it raises.
        paused : bool
            Hold the run before its first bar: `step` or `resume` set it in motion.
        feed : Feed, optional
            Where a live run's bars come from, such as a `PushFeed`; left out, the one that the config names.

        Returns
        -------
        bool
            False where a run is under way already.

        Raises
        ------
        ConfigError, DataError
            Before any thread is started.
        NoThreadsError
            A live run on a host without them.
        """
        if not self._allowed(Command.START):
            return False
        origin = origin_of(self._origin, config, data, strategies, params, feed)
        settings, asked = origin.config, self._speed
        _refuse_live(settings, paused=paused)
        stages = build(
            settings, self._life, self._condition, data=origin.data, strategies=origin.strategies,
            params=origin.params, clock=self._clock, feed=origin.feed, market=origin.market,
        )  # fmt: skip
        door = self._door(settings)
        run = self._made(stages, door)
        speed = origin.speed if asked is None else asked
        if speed is not None and not run.is_live:
            run.coordinator.set_speed(speed)
        if not self._begun(run, door, origin.built(stages, speed), asked, paused=paused):
            return False  # another thread was faster
        if paused:
            self._at_rest(run, lambda: run.gate.hold_until_rest(REST_SECONDS))
        if wait:
            self.wait()
        return True

    def pause(self) -> bool:
        """Hold the run at the next bar boundary.

        Returns
        -------
        bool
            True once the engine is at rest: no bar is delivered after that. False where the run was paused already,
            or ended or was resumed by somebody else before it came to rest. From inside a strategy's callback,
            True at once: the run rests when the callback's instant is complete; False in `on_stop`. A live run is
            never held: False, with a warning in the log.

        Raises
        ------
        InvalidTransition
            Where nothing runs.
        StrategyBlockedError
            A strategy's call is still under way after 10 s; the run will rest when it returns.
        """
        if not self._allowed(Command.PAUSE):
            return False
        run = self._present(Command.PAUSE)
        if run.is_live:
            return run.coordinator.pause_backtest()  # refuses
        return self._at_rest(run, lambda: run.gate.pause(REST_SECONDS))

    def resume(self) -> bool:
        """Let a paused run go on, or one whose pause hasn't come to rest yet; False where it is running already."""
        self._allowed(Command.RESUME)
        return self._present(Command.RESUME).gate.resume()

    def step(self, n: int = 1) -> bool:
        """Deliver exactly `n` instants and rest again; waits for it. An instant is all bars that close at one time.

        Returns True at rest, False where the run came to its end, or others stopped, paused or moved it, before.
        """
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"step takes a whole number of at least 1, not {n!r}")
        run = self._from_outside(Command.STEP)
        return run.gate.step(n)

    def run_until(self, when: Until) -> bool:
        """Go on until a time or a condition, and rest there; waits for it.

        Parameters
        ----------
        when : str, datetime, Timestamp, or callable
            A time: the run rests with every instant up to it complete. A text such as ``"10:30"`` is the next time that
            the exchange's clock shows it. A callable is given a `Snapshot` after each instant, and the run rests at the
            first one that it answers with true; what it raises is raised here, with the run at rest.

        Returns
        -------
        bool
            True at rest at that place; False where the run came to its end, or others stopped, paused or moved it,
            before.

        Raises
        ------
        ValueError
            A time that has passed, or can't be read, and a coroutine or generator function.
        StrategyBlockedError
            A time was given to a running system, and a strategy's call is under way for more than 10 s.
        """
        run = self._from_outside(Command.RUN_UNTIL)
        if callable(when):
            if (reason := unrun(when)) is not None:
                raise ValueError(f"run_until({getattr(when, '__name__', when)}): it {reason}")
            return run.gate.run_until(None, lambda _frame: when(run.published()))
        # Where a running system is can be told when it stands; what a time means depends on it.
        return self._at_rest(run, lambda: run.gate.run_to(lambda: target_of(when, run), REST_SECONDS))

    def stop(self) -> bool:
        """End the run, from every state; False where nothing runs.

        Raises
        ------
        StrategyBlockedError
            A strategy's call did not return within 5 s. The system is stopped all the same.
        """
        with self._condition.lock:
            if not self._life.allows(Command.STOP):
                return False
            run = self._holder.run
        if run is None:
            return False
        run.stop(STOP_SECONDS)
        return True

    def add_symbol(self, symbol: str, data: Any = None) -> bool:
        """Let a symbol join the run between two instants; whether the run is paused stays as it is.

        Its bars up to now are history, as warm-up is; from then on the run is the one that it would have been had the
        symbol been there silently before. Strategies that trade all symbols trade it, and are told by
        `on_symbol_added`.

        Parameters
        ----------
        symbol : str
            Found where the run's data come from; a file's path has ``{symbol}`` in it.
        data : DataFrame, mapping of DataFrames by interval, or path, optional
            Its bars, where they are somewhere else.

        Returns
        -------
        bool
            True: it has joined; from inside a strategy's callback, it joins when the callback's instant is complete.

        Raises
        ------
        ConfigError, DataError
            For a symbol that is in the run already or has no bars for it, and where the run is at its end.
        InvalidTransition
            Where nothing runs.
        """
        self._allowed(Command.ADD)
        return self._present(Command.ADD).membership.add(symbol, data)

    def remove_symbol(self, symbol: str, positions: str = "refuse") -> bool:
        """Let a symbol leave the run between two instants: its orders are cancelled, no bar of it comes any more.

        Parameters
        ----------
        symbol : str
        positions : str
            What becomes of open ones. ``"refuse"``: it is an error that there is one. ``"close"``: they are closed at the
            market, and the symbol leaves when all are.

        Returns
        -------
        bool
            True: it has left. False: it leaves when its positions are closed.

        Raises
        ------
        DataError
            For a symbol that isn't in the run, its only one, and one that is held.
        InvalidTransition
            Where nothing runs.
        """
        self._allowed(Command.REMOVE)
        return self._present(Command.REMOVE).membership.remove(symbol, positions)

    def set_speed(self, multiplier: float) -> None:
        """Change the speed: 0 is data-driven, 60 is a simulated minute a second. May change while running.

        While stopped, it is the speed of the next start.
        """
        if isinstance(multiplier, bool) or not isinstance(multiplier, (int, float)):
            raise TypeError(f"speed is a number, not {multiplier!r}")
        if not math.isfinite(multiplier) or multiplier < 0:
            raise ValueError(f"speed {multiplier!r} can't be; 0 is as fast as it goes, 60 a simulated minute a second")
        with self._condition.lock:
            run = self._holder.run if self._life.state is not SystemState.STOPPED else None
            if run is None:
                self._speed = float(multiplier)
                return
        run.coordinator.set_speed(float(multiplier))

    # -- the end ---------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> Result:
        """Wait for the end of the present run, or take that of the last one.

        Raises
        ------
        TimeoutError
            The run goes on after `timeout` seconds.
        StrategyError
            A strategy raised; what was done until then is in `.result`.
        """
        run = self._latest()
        if run.is_engine_thread():
            raise RuntimeError("a strategy can't wait for the end of its own run")
        if not run.wait(timeout):
            raise TimeoutError(f"the run is {self._life.state} after {timeout:g} s; it goes on")
        self._announcer.flush(FLUSH_SECONDS)
        return outcome(run)

    async def finished(self) -> Result:
        """Wait for the end without blocking the event loop; returns and raises what `wait` does."""
        import asyncio

        run, loop = self._latest(), asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()

        def settle() -> None:
            if not over.done():
                over.set_result(None)

        def tell(_run: Run) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile: nobody waits any more
                loop.call_soon_threadsafe(settle)

        forget = run.when_done(tell)
        TURNS.attend()
        try:
            await over
        finally:
            forget()
        return outcome(run)

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
        run = self._holder.run
        return run.config.mode if run else "backtest"

    @property
    def next_start(self) -> str | None:
        """What a `start` without arguments runs: strategies, symbols and source of the newest run; None before the first."""
        return self._origin.description if self._origin is not None else None

    @property
    def next_speed(self) -> float:
        """The speed that the next start takes, as far as it is known now."""
        if self._speed is not None:
            return self._speed
        if self._origin is None:
            return 0.0
        asked = self._origin.speed
        return self._origin.config.backtest.speed_multiplier if asked is None else asked

    @property
    def error(self) -> BaseException | None:
        """Why the present or last run failed, or is held; None where nothing did."""
        run = self._holder.run
        return run.error if run else None

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """The live strategy objects of the present or last run, to look into while paused."""
        run = self._holder.run
        return tuple(run.desk.strategies) if run else ()

    def get_coordinator(self) -> SessionCoordinator | None:
        """The present or last run's coordinator; None before the first run."""
        run = self._holder.run
        return run.coordinator if run else None

    @property
    def run(self) -> Run | None:
        """The present or last run, for faces that draw it; None before the first."""
        return self._holder.run

    def snapshot(self) -> Snapshot:
        """The run as of its cursor, frozen; of the last run where nothing runs."""
        return self._latest().snapshot()

    def look(self, at: Place) -> Snapshot:
        """The run as it was at a place of its past, frozen as `snapshot` is; the run stays where it is, and goes on if it does.

        It is computed from what the run has recorded, in every state, of a live run too; inside a strategy's callback as well.

        Parameters
        ----------
        at : int, str, datetime or Timestamp
            A cursor, which is a number of completed instants, from 0 on. Or a time, as `run_until` reads it, and means the last
            instant at or before it; a text such as ``"10:30"`` is the last time that the exchange's clock showed it.

        Raises
        ------
        ValueError
            What is no place, and a place before the start or later than the run has come.
        RuntimeError
            Where nothing was started.
        """
        run = self._latest()
        return run.look(past_cursor(at, run))

    def status(self) -> dict[str, Any]:
        """The JSON status as a mapping; `nbbacktest.schema("status")` describes it."""
        run = self._holder.run
        if run is not None:
            run.snapshot()
        return status(self._life.state, run, self.next_start)

    def to_json(self, path: str | Path | None = None) -> str:
        """The status as JSON text, also written to `path` where one is given."""
        text = json.dumps(self.status(), indent=2, allow_nan=False)
        if path is not None:
            write_whole(Path(path), lambda file: file.write(text.encode() + b"\n"))
        return text

    def panel(self) -> Any:
        """The system's `nbbacktest.ControlPanel`, to be shown in a notebook; the same one until it is closed.

        Raises
        ------
        MissingExtraError
            Where the extra ``lab`` isn't installed.
        """
        # By name: a face stands above this floor, and is loaded only where somebody asks for it.
        return import_module("nbbacktest.widgets.panel").panel_of(self)

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

    def _begun(self, run: Run, door: Door | None, origin: Origin, asked: float | None, *, paused: bool) -> bool:
        try:
            with self._condition.lock:
                if not self._life.allows(Command.START):
                    return False
                if self._speed == asked and not run.is_live:
                    self._speed = None
                if paused:
                    run.gate.hold_here()
                self._origin = origin
                self._holder.put(run)
                self._life.apply(Command.START)
            self._announcer.watch(run.published)
            run.start()
            if door is not None:
                whole(door.open)  # its files are written whole, or not at all
        except BaseException as error:
            if self._holder.run is run:
                run.call_off(error, STOP_SECONDS)
            raise
        return True

    def _made(self, stages: Stages, door: Door | None) -> Run:
        announcer, leash = self._announcer, self._holder.leash  # the run holds no reference to its manager

        def ended(run: Run) -> None:
            leash.let_go(run)
            if door is not None:
                door.close()
            announcer.run_ended(run)

        return Run(stages, lambda ended: status(SystemState.STOPPED, ended), ended)

    def _door(self, settings: SessionConfig) -> Door | None:
        if not (self._reachable and has_threads()):
            return None
        from nbbacktest.system.remote.door import door_of

        return door_of(self, settings)

    def _allowed(self, command: Command) -> bool:
        with self._condition.lock:
            return self._life.allows(command)

    def _present(self, command: Command) -> Run:
        run = self._holder.run
        if run is None:
            raise InvalidTransition(self._life.state.value, command.value, ["start"], self._life.history)
        return run

    def _latest(self) -> Run:
        run = self._holder.run
        if run is None:
            raise RuntimeError("nothing was started yet; call start() first")
        return run

    def _from_outside(self, command: Command) -> Run:
        """The run, for a command that waits for it."""
        run = self._holder.run
        if run is not None and run.is_live and self._life.state is not SystemState.STOPPED:
            raise LiveRunError(command.value, self._life.history)  # "pause it first" would be no help there
        self._allowed(command)
        run = self._present(command)
        if run.is_engine_thread():
            raise RuntimeError(f"a strategy can't {command.value} its own run; pause() and stop() are what it may call")
        return run

    @staticmethod
    def _at_rest(run: Run, wait: Callable[[], bool]) -> bool:
        try:
            return wait()
        except TimeoutError:
            raise StrategyBlockedError(
                f"{run.blocked_call()} has not returned after {REST_SECONDS:g} s; the run will rest when it does. "
                "stop() ends the run without it"
            ) from None


def _refuse_live(settings: SessionConfig, *, paused: bool) -> None:
    if settings.mode == "live":
        require_threads("a live run")
        if paused:
            raise LiveRunError("hold")


_managers: weakref.WeakSet[SystemManager] = weakref.WeakSet()  # those that live, for a forked child alone


def _reset_all() -> None:
    for manager in list(_managers):
        manager._forked()  # noqa: SLF001 - of this module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
