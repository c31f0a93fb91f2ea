"""The SystemManager: commands in, states out. Every face calls these methods; none has a way around them."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nbbacktest.core.calls import unrun
from nbbacktest.core.clock import Clock
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.enums import SystemState
from nbbacktest.core.errors import InvalidTransition, LiveRunError, StrategyBlockedError
from nbbacktest.core.lifecycle import Command
from nbbacktest.engine.feed import Feed
from nbbacktest.system.awaited import AwaitedSystem
from nbbacktest.system.builder import StrategySource, build
from nbbacktest.system.forked import reset_when_forked
from nbbacktest.system.moments import Until, target_of
from nbbacktest.system.origin import ConfigSource, Origin, origin_of
from nbbacktest.system.run import Run, Stages
from nbbacktest.system.status import status
from nbbacktest.system.threads import has_threads, require_threads, whole

if TYPE_CHECKING:
    from nbbacktest.system.remote.door import Door

STOP_SECONDS = 5.0
"""How long `stop` waits for a strategy's call that is under way."""
REST_SECONDS = 10.0
"""How long `pause` waits for one."""


class SystemManager(AwaitedSystem):
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
        super().__init__()
        self._reachable = reachable  # by the user's other terminals, where the config and the environment let them
        self._speed: float | None = None  # asked for while stopped; the next start takes it
        self._clock = clock
        weakref.finalize(self, self._slot.leash.end).atexit = False  # the exit ends all runs together
        reset_when_forked(self, SystemManager._forked)

    def _forked(self) -> None:
        """Begin anew in a forked child: the run's threads are the parent's, and any lock may be held there for ever."""
        origin, run = self._origin, self._slot.run
        SystemManager.__init__(self, clock=self._clock, reachable=self._reachable)
        self._origin = origin
        if run is not None and run.done:
            self._slot.run = run

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
        run = self._from_outside(Command.UNTIL)
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
            run = self._slot.run
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
            run = self._slot.run if self._life.state is not SystemState.STOPPED else None
            if run is None:
                self._speed = float(multiplier)
                return
        run.coordinator.set_speed(float(multiplier))

    @property
    def next_speed(self) -> float:
        """The speed that the next start takes, as far as it is known now."""
        if self._speed is not None:
            return self._speed
        if self._origin is None:
            return 0.0
        asked = self._origin.speed
        return self._origin.config.backtest.speed_multiplier if asked is None else asked

    def panel(self) -> Any:
        """The system's `nbbacktest.ControlPanel`, to be shown in a notebook; the same one until it is closed.

        Raises
        ------
        MissingExtraError
            Where the extra ``lab`` isn't installed.
        """
        # By name: a face stands above this floor, and is loaded only where somebody asks for it.
        return import_module("nbbacktest.widgets.panel").panel_of(self)

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
                self._slot.put(run)
                self._life.apply(Command.START)
            self._announcer.watch(run.published)
            run.start()
            if door is not None:
                whole(door.open)  # its files are written whole, or not at all
        except BaseException as error:
            if self._slot.run is run:
                run.call_off(error, STOP_SECONDS)
            raise
        return True

    def _made(self, stages: Stages, door: Door | None) -> Run:
        announcer, leash = self._announcer, self._slot.leash  # the run holds no reference to its manager

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
        run = self._slot.run
        if run is None:
            raise InvalidTransition(self._life.state.value, command.value, ["start"], self._life.history)
        return run

    def _from_outside(self, command: Command) -> Run:
        """The run, for a command that waits for it."""
        run = self._slot.run
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
