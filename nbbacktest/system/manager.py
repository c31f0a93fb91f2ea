"""The SystemManager: takes commands and tells states. Every face calls these methods, and has no other way to a run."""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from nbbacktest.core.clock import Clock
from nbbacktest.core.config import JournalConfig, SessionConfig
from nbbacktest.core.enums import InputKind, SystemState
from nbbacktest.core.errors import InvalidTransition, LiveRunError, StrategyBlockedError
from nbbacktest.core.files import write_whole
from nbbacktest.core.inputs import Input, Retried, plain_arguments
from nbbacktest.core.lifecycle import Command, Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.core.user_code import unrun
from nbbacktest.engine.coordinator import Coordinator
from nbbacktest.engine.feed import Feed
from nbbacktest.report.result import Result
from nbbacktest.system.builder import build, refuse_live
from nbbacktest.system.event_dispatcher import EventDispatcher
from nbbacktest.system.inputs import bound
from nbbacktest.system.journey import Destination, Line
from nbbacktest.system.origin import ConfigSource, Origin, Strategies, StrategySource, origin_of
from nbbacktest.system.run import Run, outcome
from nbbacktest.system.run_holder import STOP_SECONDS, JournalPlace, OpenedRun, RunHolder, journal_of
from nbbacktest.system.runner import has_threads
from nbbacktest.system.status import status
from nbbacktest.system.targets import Until, goal_of, past_cursor, place_of, target_of
from nbbacktest.trading.places import Place
from nbbacktest.trading.snapshot import OrderRow, Snapshot
from nbbacktest.trading.strategy import Strategy

if TYPE_CHECKING:
    from nbbacktest.system.break_places import BackUntil
    from nbbacktest.system.breakpoints import Breakpoints
    from nbbacktest.system.journal.recovery import Recovery

T = TypeVar("T")

REST_SECONDS = 10.0
"""The most seconds that `pause` waits for one."""
FLUSH_SECONDS = 5.0
"""The most seconds that the end of a `wait` waits for callbacks."""


class SystemManager:
    """Holds one run at a time: starts, pauses, steps and stops it, changes its speed, and shows it.

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

    run_hook: ClassVar[Callable[[SystemManager, SessionConfig], OpenedRun | None]] = staticmethod(lambda *_: None)
    """Makes the object that is opened beside a run, or None; set by `nbbacktest.system.session`."""
    panel_hook: ClassVar[Callable[[SystemManager], Any]]
    """Gives a manager's panel; set by `nbbacktest.system.session`."""

    def __init__(self, *, clock: Clock | None = None, reachable: bool = True) -> None:
        dispatcher = self._events = EventDispatcher()
        # Guards the lifecycle, the run holder and every gate of this system; nothing is called while it is held.
        self._condition = Monitor()
        self._life = Lifecycle(lambda state: dispatcher.post("state", state))
        self._holder = RunHolder(self._life, self._condition, dispatcher)
        self._origin: Origin | None = None  # the origin of the newest run; written under the condition
        self._reviving = threading.Lock()  # held while a run that has ended is taken back
        self._reachable = reachable  # by the user's other terminals, and by a later process: without it a run has no control server and no journal
        self._speed: float | None = None  # the speed that was set while stopped; the next start takes it
        self._clock = clock
        weakref.finalize(
            self, self._holder.leash.end
        ).atexit = False  # at the process's exit, all runs are ended together
        _managers.add(self)

    def _forked(self) -> None:
        """Begin anew in a forked child, which has none of the parent's threads and may have locks that are never released."""
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
            With a config, nothing of the last run is taken over. None runs the last run again, with its data, strategies,
            parameters and feed, except for those that are given now; the first time, a small example with synthetic
            bars or, with `data`, the defaults.
        data : DataFrame, mapping of DataFrames, or path, optional
            Takes the place of the config's data. Bars in memory are copied: later changes of them change no run.
        strategies : Strategy class, instance or list of them, optional
            Take the place of the config's strategies; `params` are their parameters. An instance begins each run with
            the state that it was given with, and what its owner has set between runs.
        wait : bool
            Block until the end, as `wait` does, and raise what it raises.
        paused : bool
            Hold the run before its first bar: `step` or `resume` set it in motion.
        feed : Feed, optional
            The source of a live run's bars, such as a `PushFeed`; None: the one that the config names.

        Returns
        -------
        bool
            False if a run is under way already.

        Raises
        ------
        ConfigError, DataError
            Raised before any thread is started.
        NoThreadsError
            A live run on a host without threads.
        """
        if not self._allowed(Command.START):
            return False
        started = self.begin(origin_of(self._origin, config, data, strategies, params, feed), paused=paused)
        if started and wait:
            self.wait()
        return started

    def recover(self, run: str | Path | None = None, *, data: Any = None, strategies: Strategies = None) -> bool:
        """Go on with a run whose process died: it is paused where it was, with all that was done to it by hand.

        It is executed again from its start by its journal, and held against it; then it goes on with the same journal.

        Parameters
        ----------
        run : str or path, optional
            Its id or a part of it, as `nbbacktest runs` lists it, or the path of its journal; one that has ended may be named too. None:
            the newest whose process died.
        data, strategies
            Bars and strategies that the journal doesn't hold: bars that were handed over as objects, classes that can't be
            imported, instances.

        Returns
        -------
        bool
            False if a run is under way already.

        Raises
        ------
        JournalError
            There is no such run, its journal is damaged, it is of other bars, or its process lives.
        ReplayError
            The run doesn't repeat itself.
        """
        if not self._allowed(Command.START):
            return False
        from nbbacktest.system.journal.recovery import claimed_recovery

        settings = self._origin.config.journal if self._origin is not None else JournalConfig()
        with contextlib.closing(claimed_recovery(run, settings, data, strategies)) as recovery:
            return recovery.follow(self)

    def pause(self) -> bool:
        """Hold the run at the next bar boundary.

        Returns
        -------
        bool
            True once the engine is at rest: no bar is delivered after that. False if the run was paused already, or
            ended or was resumed by another command before it came to rest. Inside a strategy's callback, True at
            once: the run rests when the callback's instant is complete; False in `on_stop`. A live run is never held:
            False, with a warning in the log.

        Raises
        ------
        InvalidTransition
            Nothing runs.
        StrategyBlockedError
            A strategy's call is still under way after 10 s; the run will rest when it returns.
        """
        if not self._allowed(Command.PAUSE):
            return False
        run = self._present(Command.PAUSE)
        if run.is_live:
            return run.coordinator.pause_backtest()  # refuses
        return self._at_rest(run, lambda: run.stages.gate.pause(REST_SECONDS))

    def resume(self) -> bool:
        """Let a paused run go on, even if its pause hasn't come to rest yet; False if it is running already."""
        self._allowed(Command.RESUME)
        return self._present(Command.RESUME).stages.gate.resume()

    def step(self, n: int = 1) -> bool:
        """Deliver exactly `n` instants and rest again; waits for it. An instant is all bars that close at one time.

        Returns True at rest; False if the run came to its end, or another command stopped, paused or moved it, before.
        """
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"step takes a whole number of at least 1, not {n!r}")
        return self._from_outside(Command.STEP).gate.step(n)

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
            True at rest at that place; False if the run came to its end, or another command stopped, paused or moved
            it, before.

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
        # The meaning of a time depends on the cursor, which is known only once the run stands.
        return self._at_rest(run, lambda: run.gate.run_to(lambda: target_of(when, run), REST_SECONDS))

    def back(self, n: int = 1) -> bool:
        """Go back by `n` instants and rest there; waits for it. `step(n)` leads to the same place again.

        The run is executed again from its start to that place, and held against what it has recorded. A run that has ended
        is paused there.

        Returns True at rest there; False if another command stopped or moved the run before.

        Raises
        ------
        ReplayError
            The run doesn't repeat itself; it stays where it was.
        ValueError
            Fewer than `n` instants are completed.
        LiveRunError
            The run is live: its arrivals aren't recorded.
        """
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"back takes a whole number of at least 1, not {n!r}")

        def place(_run: Run, cursor: int) -> int:
            if n > cursor:
                raise ValueError(f"back({n}): {cursor:,} instants are completed")
            return cursor - n

        return self._travel(place)

    def run_back_until(self, when: BackUntil) -> bool:
        """Go back to the last instant before the present one at which a condition held, and rest there; waits for it.

        The place is found in the record, without executing anything, and then gone to as `rewind` does.

        Parameters
        ----------
        when : callable or str
            A callable is given a `Snapshot` of each instant, the newest first, and the run rests at the first one that it
            answers with true. What isn't read of a snapshot isn't computed. A text says an event or a time: ``"fill"``, ``"order"``, ``"rejected"``
            (each also with a symbol: ``"fill EXE"``), ``"order 17"``, ``"session"`` (the first instant of one), ``"session end"``,
            ``"error"``, ``"drawdown 10%"``, ``"equity 95000"``, ``"10:30"``.

        Returns
        -------
        bool
            True at rest there. False if it held at no instant, and the run stays as it is; or if another command stopped or moved
            the run before.

        Raises
        ------
        ReplayError
            The run doesn't repeat itself; it stays where it was.
        ValueError
            A `when` that says no place of this run, and a coroutine or generator function.
        LiveRunError
            The run is live: its arrivals aren't recorded.
        """
        from nbbacktest.system.break_places import place_before

        place = place_before(when, self._from_outside(Command.REWIND))
        return place is not None and self.rewind(place)

    def rewind(
        self, to: Place | None = None, *, fill: int | None = None, order: int | None = None, trade: int | None = None,
        input: int | None = None, before: bool = False,  # noqa: A002 - the word of `inputs`
    ) -> bool:  # fmt: skip
        """Go to a place that the run was at, and rest there; waits for it.

        The instants ahead stay the same line: `step`, `resume` and `run_until` deliver them again, inputs by hand included, and go
        on beyond it. A run that has ended is paused there.

        Parameters
        ----------
        to : int, str, datetime or Timestamp
            A cursor, or a time as `look` reads it; ``"start"``, and ``"end"`` for `horizon`. Inputs by hand at that place
            are done.
        fill : int
            In place of `to`: the instant of the fill of that number, counted from 0; -1 is the last one so far.
        order : int
            The instant at which the order of that number, its `id`, was submitted; -1 is the last one.
        trade : int
            The instant of the entry of a trade: its row in the result's `trades`.
        input : int
            The place of an input by hand: its number in `inputs`, counted from 0; -1 is the last one.
        before : bool
            One instant earlier: the strategies haven't met that instant yet. Of an input just before it was done.

        Returns
        -------
        bool
            True at rest there; False if another command stopped or moved the run before.

        Raises
        ------
        ReplayError
            The run doesn't repeat itself; it stays where it was.
        ValueError
            A `to` that is no place, and a place before the start or beyond the horizon.
        LiveRunError
            The run is live: its arrivals aren't recorded.
        """
        goal = goal_of(to, before, fill=fill, order=order, trade=trade, input=input)
        return self._travel(lambda run, cursor: place_of(goal, run, cursor))

    def undo(self) -> bool:
        """Take back the last input that was done by hand, and rest just before it; what came after it is given up.

        Returns False if there is none. `redo` brings it back, until something else is done by hand. Raises as `rewind`.
        """
        return self._travel(lambda run, _cursor: run.journey.undo_goal())

    def redo(self) -> bool:
        """Go back to the line, and the place, that the last `undo` has left; False if there is none. Raises as `rewind`."""
        return self._travel(lambda run, _cursor: run.journey.redo_goal())

    def retry(self, strategy: Strategies = None) -> Retried:
        """After a strategy's error: go on with the class mended, paused just before the instant that raised.

        The mended class is executed from the start of the run up to there, and held against the record: if its past is the recorded
        one, the run is as if it had been so from the start. Else nothing changes, and the answer says where the pasts part.
        Inputs by hand up to there are done again.

        Parameters
        ----------
        strategy : Strategy class, instance or list of them, optional
            The mended class, under the same name; its parameters stay. None: the class of that name as it is defined now.

        Raises
        ------
        RuntimeError
            No error holds the run or has ended it.
        ValueError
            The class is the one that raised, or has another name.
        StrategyError
            The mended class raises before that instant.
        LiveRunError
            The run is live: its arrivals aren't recorded.
        """
        from nbbacktest.system.retry import retried

        return retried(self, self._latest(), self._origin, strategy)

    def debug(self, n: int = 1) -> Snapshot:
        """Go through the next `n` instants under pdb, in the thread of the caller; the run itself stays where it is.

        The run is executed again from its start to this place, in a world of its own; then pdb stops at the first line of a
        strategy's code. What is changed there changes nothing of the run. It may be paused, or have ended by an error: then the
        next instant is the one that raised.

        Returns
        -------
        Snapshot
            The run after these instants; as far as it came, if you have left pdb by ``q``.

        Raises
        ------
        StrategyError
            A strategy raised in these instants.
        ReplayError
            The run doesn't repeat itself.
        ValueError
            Fewer than `n` instants follow.
        LiveRunError
            The run is live: its arrivals aren't recorded.
        """
        from nbbacktest.system.debug import debugged

        return debugged(self._latest(), n)

    def fork(
        self, *, params: Mapping[str, Any] | None = None, strategy: Strategies = None,
        costs: Mapping[str, Any] | None = None, config: Mapping[str, Any] | None = None,
    ) -> SystemManager:  # fmt: skip
        """Another system, paused where this one stands, that goes on by itself; this one stays as it is.

        The fork is executed from the start of the run to that place, with what was done by hand. `params` and `costs` differ from
        that place on: up to there the fork's past is the run's, and is held against its record. With `strategy` or `config` the
        fork has a past of its own, in which the inputs by hand are done at the same times; nothing holds it against the record.

        Parameters
        ----------
        params : mapping, optional
            New parameters; a run of several strategies takes them by strategy and parameter. `Strategy.on_change` is told of them: if a
            strategy has none, what its `on_start` made of the old values stays. With `strategy`, the parameters of its class.
        strategy : Strategy class, instance or list of them, optional
            In place of those of the run, from its start on.
        costs : mapping, optional
            New `commission`, `slippage`, `borrow` or `interest`, as the config's `broker` has them.
        config : mapping, optional
            Sections that are laid over the config, from the start of the run on.

        Raises
        ------
        ReplayError
            The run doesn't repeat itself.
        RuntimeError
            Nothing was started yet, or a strategy's call asks for it.
        LiveRunError
            The run is live: its arrivals aren't recorded.
        ConfigError, OrderError, ParameterError, DataError, StrategyError
            The changes make no sense, or the fork's own past ends before that place.
        """
        from nbbacktest.system.forks import Changes, forked

        other = SystemManager(clock=self._clock, reachable=self._reachable)
        return forked(self._latest(), self._origin, Changes(params, strategy, costs, config), other)

    def go_on_from(self, run: Run, origin: Origin, goal: Destination, line: Line) -> None:
        """Pause at `goal` with a new run that goes on with a line of another manager's run, which is of `origin`."""
        self._origin = origin
        begun = (lambda stages: journal_of(origin, stages)) if self._reachable else None
        self._holder.revive(run, goal, self._beside(run.config), line, begun)

    # -- by hand ---------------------------------------------------------------------------------------------

    def buy(
        self, symbol: str | None = None, size: float | None = None, *, strategy: str | None = None, **terms: Any
    ) -> OrderRow:
        """Place an order to buy by hand, as one that is decided at the present instant; the run may be paused or going on.

        It is an input: it stands in `inputs` and in the result, and a replay repeats it. In the past it gives up what lay
        ahead.

        Parameters
        ----------
        symbol, size, **terms
            As for `Strategy.buy`.
        strategy : str, optional
            The name of the strategy in whose name it is placed, which is told of its fills. None: in the hand's own, which
            has its own positions, and shares the cash.

        Returns
        -------
        OrderRow
            The order as it was placed; `snapshot().orders` has it later.

        Raises
        ------
        OrderError
            The terms make no sense.
        InvalidTransition
            Nothing runs. `LiveRunError` if the run is live.
        """
        return self._order(InputKind.BUY, strategy, bound(InputKind.BUY, symbol, size, **terms))

    def sell(
        self, symbol: str | None = None, size: float | None = None, *, strategy: str | None = None, **terms: Any
    ) -> OrderRow:
        """Place an order to sell by hand; see `buy`."""
        return self._order(InputKind.SELL, strategy, bound(InputKind.SELL, symbol, size, **terms))

    def close(self, symbol: str | None = None, *, strategy: str | None = None) -> OrderRow | None:
        """Close the position of the hand, or of `strategy`, at the market; None if it is flat. See `buy`."""
        return self._by_hand(InputKind.CLOSE, strategy, bound(InputKind.CLOSE, symbol))  # type: ignore[no-any-return]

    def cancel(self, order: int | OrderRow) -> OrderRow:
        """Take back an open order by hand, of the hand or of a strategy, which is told.

        Parameters
        ----------
        order : int or OrderRow
            Its id, or its row in a snapshot.

        Raises
        ------
        OrderError
            It isn't open any more, or the run has no such order.
        """
        return self._order(InputKind.CANCEL, None, {"id": getattr(order, "id", order)})

    def replace(self, order: int | OrderRow, **terms: Any) -> OrderRow:
        """Change terms of an open order by hand; see `cancel`, and `Strategy.replace` for the terms."""
        found = bound(InputKind.REPLACE, None, **terms)
        return self._order(InputKind.REPLACE, None, {"id": getattr(order, "id", order), **found})

    def change(self, strategy: str | None = None, **params: Any) -> dict[str, Any]:
        """Change parameters of a strategy of the run under way, by hand; `Strategy.on_change` is told. See `buy`.

        If the strategy has no `on_change`, what its `on_start` made of the old values stays; the run's log says so.

        Parameters
        ----------
        strategy : str, optional
            Its name; may be left out if the run has one.

        Returns
        -------
        dict
            The new values of the parameters that have changed.

        Raises
        ------
        ParameterError
            For an unknown parameter, and a value of the wrong type.
        """
        return self._by_hand(InputKind.CHANGE, strategy, params)  # type: ignore[no-any-return]

    def stop(self) -> bool:
        """End the run, from every state; False if nothing runs.

        Raises
        ------
        StrategyBlockedError
            A strategy's call did not return within 5 s. The system is stopped all the same.
        """
        with self._condition.lock:
            if not self._table.allows(Command.STOP):
                return False
            run = self._holder.run
        if run is None:
            return False
        run.stop(STOP_SECONDS)
        return True

    def add_symbol(self, symbol: str, data: Any = None) -> bool:
        """Let a symbol join the run between two instants; a paused run stays paused.

        Its bars up to now are history, as warm-up is; from then on the run is as if the symbol had been there from
        the start, without a trade. Strategies that trade all symbols trade it, and are told by
        `on_symbol_added`.

        Parameters
        ----------
        symbol : str
            One that the run's source of data has; the path of files has ``{symbol}`` in it.
        data : DataFrame, mapping of DataFrames by interval, or path, optional
            Its bars, if that source doesn't have them.

        Returns
        -------
        bool
            True: it has joined; inside a strategy's callback, it joins when the callback's instant is complete.

        Raises
        ------
        ConfigError, DataError
            The symbol is in the run already or has no bars for it, or the run is at its end.
        InvalidTransition
            Nothing runs.
        """
        self._allowed(Command.ADD)
        run = self._present(Command.ADD)
        universe = run.world.universe
        if run.gate.is_analyst:
            return universe.add(symbol, data)
        bars = universe.load(symbol, data)
        return run.act(InputKind.ADD, None, {"symbol": symbol}, bars)  # type: ignore[no-any-return]

    def remove_symbol(self, symbol: str, positions: str = "refuse") -> bool:
        """Let a symbol leave the run between two instants: its orders are cancelled, no bar of it comes any more.

        Parameters
        ----------
        symbol : str
        positions : str
            ``"refuse"``: an open position is an error. ``"close"``: positions are closed at the market, and the symbol
            leaves when all are closed.

        Returns
        -------
        bool
            True: it has left. False: it leaves when its positions are closed.

        Raises
        ------
        DataError
            The symbol isn't in the run, is its only one, or has an open position.
        InvalidTransition
            Nothing runs.
        """
        self._allowed(Command.REMOVE)
        run = self._present(Command.REMOVE)
        if run.gate.is_analyst:
            return run.world.universe.remove(symbol, positions)
        return run.act(InputKind.REMOVE, None, {"symbol": symbol, "positions": positions})  # type: ignore[no-any-return]

    def set_speed(self, multiplier: float) -> None:
        """Change the speed: 0 is data-driven, 60 is a simulated minute a second. May change while running.

        While stopped, it is the speed of the next start.
        """
        if isinstance(multiplier, bool) or not isinstance(multiplier, (int, float)):
            raise TypeError(f"speed is a number, not {multiplier!r}")
        if not math.isfinite(multiplier) or multiplier < 0:
            raise ValueError(f"speed {multiplier!r} can't be; 0 is as fast as it goes, 60 a simulated minute a second")
        with self._condition.lock:
            run = self._holder.run if self._table.state is not SystemState.STOPPED else None
            if run is None:
                self._speed = float(multiplier)
                return
        run.stages.coordinator.set_speed(float(multiplier))

    # -- the end ---------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> Result:
        """Wait for the end of the present run; if nothing runs, return the last run's result.

        Raises
        ------
        TimeoutError
            The run goes on after `timeout` seconds.
        StrategyError
            A strategy raised; `.result` has the result until then.
        """
        run = self._latest()
        if run.is_engine_thread():
            raise RuntimeError("a strategy can't wait for the end of its own run")
        if not run.wait(timeout):
            raise TimeoutError(f"the run is {self._life.state} after {timeout:g} s; it goes on")
        self._events.flush(FLUSH_SECONDS)
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
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile: nothing waits any more
                loop.call_soon_threadsafe(settle)

        forget = run.when_done(tell)
        if not has_threads():
            from nbbacktest.system.cooperative import CALLS

            CALLS.attach_loop()
        try:
            await over
        finally:
            forget()
        return outcome(run)

    @property
    def breakpoints(self) -> Breakpoints:
        """The system's breakpoints: `add` sets one. They hold the present run and later ones."""
        return self._holder.its_breakpoints()

    # -- looking --------------------------------------------------------------------------------------------

    def get_state(self) -> SystemState:
        """STOPPED, RUNNING or PAUSED."""
        return self._table.state

    def is_running(self) -> bool:
        """True if a run is under way and not paused."""
        return self.get_state() is SystemState.RUNNING

    def is_paused(self) -> bool:
        """True if a run is at rest at a bar."""
        return self.get_state() is SystemState.PAUSED

    def is_stopped(self) -> bool:
        """True if nothing runs."""
        return self.get_state() is SystemState.STOPPED

    @property
    def mode(self) -> str:
        """The kind of the present or last run: ``"backtest"`` or ``"live"``."""
        run = self._holder.run
        return run.config.mode if run else "backtest"

    @property
    def horizon(self) -> int:
        """The largest number of instants that the present or last run has completed; 0 before the first."""
        run = self._holder.run
        return run.horizon if run else 0

    @property
    def in_past(self) -> bool:
        """True if the present or last run was taken back, and hasn't come to its horizon again."""
        run = self._holder.run
        return run is not None and run.stages.gate.cursor < run.horizon

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The inputs that were done by hand in the present or last run, in order; in the past of a run with those that lie ahead."""
        run = self._holder.run
        return run.inputs if run else ()

    @property
    def next_start(self) -> str | None:
        """Strategies, symbols and source of the run that a `start` without arguments begins; None before the first run."""
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
        """The error that ended the present or last run, or holds it; None if there is none."""
        run = self._holder.run
        return run.error if run else None

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """The live strategy objects of the present or last run, for inspection while it is paused."""
        run = self._holder.run
        return tuple(run.world.desk.strategies) if run else ()

    def get_coordinator(self) -> Coordinator | None:
        """The present or last run's coordinator; None before the first run."""
        run = self._holder.run
        return run.stages.coordinator if run else None

    @property
    def journal(self) -> JournalPlace:
        """The place of the journal of the present or last run; its `path` is None if there is none."""
        return self._holder.journal

    @property
    def run(self) -> Run | None:
        """The present or last run, for faces that draw it; None before the first."""
        return self._holder.run

    def snapshot(self) -> Snapshot:
        """The present run as of its cursor, frozen; if nothing runs, the last run."""
        return self._latest().snapshot()

    def look(self, at: Place) -> Snapshot:
        """The run as it was at a place of its past, frozen as `snapshot` is. The run itself isn't moved or held.

        It is computed from the run's record, in every state, also of a live run and inside a strategy's callback.

        Parameters
        ----------
        at : int, str, datetime or Timestamp
            A cursor, which is a number of completed instants, from 0 on. Or a time, as `run_until` reads it, and means the last
            instant at or before it; a text such as ``"10:30"`` is the last time that the exchange's clock showed it.

        Raises
        ------
        ValueError
            If `at` is no place, lies before the start, or is later than the run has come.
        RuntimeError
            If no run was started.
        """
        run = self._latest()
        return run.look(past_cursor(at, run))

    def status(self) -> dict[str, Any]:
        """The JSON status as a mapping; `nbbacktest.schema("status")` describes it."""
        run = self._holder.run
        if run is not None:
            run.snapshot()
        return status(self.get_state(), run, self.next_start)

    def to_json(self, path: str | Path | None = None) -> str:
        """The status as JSON text, also written to `path` if one is given."""
        text = json.dumps(self.status(), indent=2, allow_nan=False)
        if path is not None:
            write_whole(Path(path), lambda file: file.write(text.encode() + b"\n"))
        return text

    def panel(self) -> Any:
        """The system's `nbbacktest.ControlPanel`, to be shown in a notebook; the same one until it is closed.

        Raises
        ------
        MissingExtraError
            The extra ``lab`` isn't installed.
        """
        return SystemManager.panel_hook(self)

    # -- callbacks ------------------------------------------------------------------------------------------

    def on_state(self, callback: Callable[[SystemState], object]) -> Callable[[], None]:
        """Call `callback(state)` at every change of state, in order; returns the function that unsubscribes it.

        Callbacks run in a thread of their own, with no lock held; an exception of one is logged, and the run goes on.
        """
        return self._events.subscribe("state", callback)

    def on_progress(self, callback: Callable[[Snapshot], object]) -> Callable[[], None]:
        """Call `callback(snapshot)` about ten times a second while a run is under way."""
        return self._events.subscribe("progress", callback)

    def on_end(self, callback: Callable[[Result], object]) -> Callable[[], None]:
        """Call `callback(result)` at the end of every run; `wait` returns after that."""
        return self._events.subscribe("end", callback)

    # -- inside ---------------------------------------------------------------------------------------------

    def begin(self, origin: Origin, *, paused: bool, recovery: Recovery | None = None) -> bool:
        """Start a run of an origin, that of a recovery perhaps; raises and returns as `start`."""
        settings, asked = origin.config, self._speed
        refuse_live(settings, paused=paused)
        stages = build(
            settings, self._life, self._condition, data=origin.data, strategies=origin.strategies,
            params=origin.params, clock=self._clock, feed=origin.feed, market=origin.market, repeatable=True,
        )  # fmt: skip
        if recovery is not None:
            recovery.check(stages)
        beside = self._beside(settings)
        has_journal = self._reachable and recovery is None
        run = self._holder.make(stages, beside, journal_of(origin, stages) if has_journal else None)
        speed = origin.speed if asked is None else asked
        if speed is not None and not run.is_live:
            run.coordinator.set_speed(speed)
        built = origin.built(stages, speed)

        def placed() -> None:
            if self._speed == asked and not run.is_live:
                self._speed = None
            self._origin = built

        if not self._holder.begin(run, beside, paused=paused, placed=placed):
            if run.journal is not None:
                run.journal.close()
            return False  # another thread was faster
        if paused:
            self._at_rest(run, lambda: run.gate.hold_until_rest(REST_SECONDS))
        return True

    def _travel(self, place: Callable[[Run, int], int | Destination | None]) -> bool:
        """Go to a place that `place` gives, from the run and the cursor at which it stands."""
        run = self._from_outside(Command.REWIND)
        if not run.done:
            return run.rewind(lambda cursor: place(run, cursor))
        if run.is_live:
            raise LiveRunError(Command.REWIND.value, self._life.history)
        with self._reviving:
            if self._holder.run is run:
                goal = place(run, run.published().cursor)
                if goal is not None:
                    self._holder.revive(run, goal, self._beside(run.config))
                return goal is not None
        return self._travel(place)

    def _beside(self, settings: SessionConfig) -> OpenedRun | None:
        return SystemManager.run_hook(self, settings) if self._reachable else None

    def _order(self, what: InputKind, strategy: str | None, arguments: Mapping[str, Any]) -> OrderRow:
        return self._by_hand(what, strategy, arguments)  # type: ignore[no-any-return]

    def _by_hand(self, what: InputKind, strategy: str | None, arguments: Mapping[str, Any]) -> Any:
        run = self._from_outside(Command.INPUT, f"{what} by hand in")
        found = plain_arguments(what, arguments)
        return self._at_rest(run, lambda: run.act(what, strategy, found))

    def _allowed(self, command: Command) -> bool:
        with self._condition.lock:
            return self._table.allows(command)

    @property
    def _table(self) -> Lifecycle:
        """The state table that the caller's commands reach: in a strategy's call of a replay that one's."""
        run = self._holder.run
        replay = None if run is None else run.replay
        return self._life if replay is None else replay.gate.state.life

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

    def _from_outside(self, command: Command, name: str | None = None) -> Run:
        """The run, for a command that waits for it, called by `name`; refused inside the engine."""
        name = name or command.value
        run = self._holder.run
        if run is not None and run.is_live and self._life.state is not SystemState.STOPPED:
            raise LiveRunError(name, self._life.history)  # "pause it first" is of no use there
        self._allowed(command)
        run = self._present(command)
        if run.is_engine_thread():
            raise RuntimeError(f"a strategy can't {name} its own run; pause() and stop() are what it may call")
        return run

    @staticmethod
    def _at_rest(run: Run, wait: Callable[[], T]) -> T:
        try:
            return wait()
        except TimeoutError:
            raise StrategyBlockedError(
                f"{run.blocked_call()} has not returned after {REST_SECONDS:g} s; the run will rest when it does. "
                "stop() ends the run without it"
            ) from None


_managers: weakref.WeakSet[SystemManager] = weakref.WeakSet()  # the managers that live, for a forked child alone


def _reset_all() -> None:
    for manager in list(_managers):
        manager._forked()  # noqa: SLF001 - of this module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
