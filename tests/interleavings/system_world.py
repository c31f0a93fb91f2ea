"""A whole SystemManager over a small market: threads that command it, callbacks that do, subscribers, several runs."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

import nbbacktest as nb
import nbbacktest.system.manager as managers
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.enums import SystemState
from nbbacktest.core.errors import NbBacktestError, StrategyBlockedError
from nbbacktest.data.market import MarketData
from nbbacktest.data.sources import load
from nbbacktest.system.cooperative import CALLS
from nbbacktest.system.run import Run
from tests.interleavings.choices import Departures
from tests.interleavings.judged import FINISHES, Judge, Outcome
from tests.interleavings.replaced import peek
from tests.interleavings.scheduler import Choices
from tests.interleavings.threads import Clock, sleep

NAME = "system"
REFUSALS = (NbBacktestError, TimeoutError, RuntimeError, ValueError)
"""What a command may answer instead of doing something; each is said by the docstring of the command that raises it."""


class Boom(Exception):
    """What a callback raises."""


@dataclass(frozen=True)
class Scenario:
    """What is run, and who commands what. A command is its name and an argument."""

    controllers: tuple[tuple[tuple[str, Any], ...], ...] = ((("start", False),),)
    minutes: int = 4
    derived: bool = False
    window: int = 2
    on_error: str = "stop"
    raises_at: int | None = None
    start_raises: bool = False
    stop_raises: bool = False
    inside: dict[int, str] = field(default_factory=dict)
    listens: bool = False
    follows: bool = False
    finish: str = "resume"
    seconds_a_bar: float = 0.0
    """What a callback takes."""


CASES = {
    "run alone": Scenario(minutes=2),
    "start | start": Scenario(((("start", False),), (("start", False),)), minutes=2),
    "stop, start": Scenario(((("start", False), ("stop", None), ("start", False)),), minutes=2),
    "rewind | stop": Scenario(
        ((("start", True), ("step", 2), ("rewind", 1)), (("nap", 0.001), ("stop", None))), minutes=2
    ),
    "rewind | resume": Scenario(((("start", True), ("step", 2), ("rewind", 1)), (("resume", None),)), minutes=2),
    "rewind | rewind": Scenario(((("start", True), ("step", 2), ("rewind", 1)), (("rewind", 0),)), minutes=2),
    "add | pause": Scenario(((("start", False), ("add", "C")), (("nap", 0.001), ("pause", None))), minutes=2),
}


def drawn(dice: random.Random) -> Scenario:
    """A scenario by chance."""
    minutes = dice.choice([2, 4, 4, 6])
    weights = {
        "start": 4, "pause": 5, "resume": 5, "step": 5, "until": 3, "until_time": 3, "speed": 3, "stop": 2, "add": 3, "rewind": 3,
        "remove": 2, "status": 2, "snapshot": 2, "wait": 1, "await_end": 0.5, "nap": 2,
    }  # fmt: skip
    arguments: dict[str, Callable[[], Any]] = {
        "start": lambda: dice.random() < 0.5,
        "step": lambda: dice.randint(1, 3),
        "until": lambda: dice.randint(1, minutes),
        "until_time": lambda: dice.randint(0, minutes + 1),
        "speed": lambda: dice.choice([0.0, 6_000.0]),
        "add": lambda: dice.choice(["C", "D"]),
        "remove": lambda: dice.choice(["A", "B", "C"]),
        "rewind": lambda: dice.randint(0, minutes),
        "nap": lambda: dice.choice([0.005, 0.02, 0.05]),
    }

    def command() -> tuple[str, Any]:
        name = dice.choices(list(weights), list(weights.values()))[0]
        return name, arguments.get(name, lambda: None)()

    def script() -> tuple[tuple[str, Any], ...]:
        return (("start", dice.random() < 0.6), *(command() for _ in range(dice.randint(1, 5))))

    inside = ["pause", "stop", "resume", "speed", "status", "snapshot", "add", "remove", "step", "await_end", "until"]
    return Scenario(
        tuple(script() for _ in range(dice.choice([1, 2, 2, 3]))),
        minutes,
        derived=dice.random() < 0.5,
        window=dice.choice([1, 2, 3, 100]),
        on_error=dice.choice(["stop", "pause"]),
        raises_at=dice.randint(1, minutes) if dice.random() < 0.15 else None,
        start_raises=dice.random() < 0.03,
        stop_raises=dice.random() < 0.05,
        inside={dice.randint(1, minutes): dice.choice(inside)} if dice.random() < 0.4 else {},
        listens=dice.random() < 0.5,
        follows=dice.random() < 0.1,
        finish=dice.choice(["resume", "stop"]),
    )


def run(scenario: Scenario, choices: Choices) -> Outcome:
    """One schedule of it, judged."""
    expected = undisturbed(scenario.minutes, scenario.derived)
    outcome, _ = schedule(scenario, choices, expected)
    return outcome


def schedule(scenario: Scenario, choices: Choices, expected: str | None) -> tuple[Outcome, list[Run]]:
    """One schedule, judged, and its runs; one that went to its end alone is to have the `expected` fingerprint."""
    outcome = Outcome(scenario)
    judge = Judge(choices, outcome)
    fixed = partial(managers.build, window=scenario.window)
    with judge.scheduler, mock.patch.object(managers, "build", fixed):
        bench = _Bench(scenario, judge, expected)
        bench.run()
    return outcome, bench.runs


@cache
def undisturbed(minutes: int, derived: bool) -> str:
    """The fingerprint of a run that nobody disturbs."""
    outcome, [alone] = schedule(Scenario(minutes=minutes, derived=derived), Departures(), None)
    if outcome.problems:
        raise AssertionError(outcome.problems)
    return alone.result().fingerprint


def frame(minutes: int, *, without_first: bool = False) -> pd.DataFrame:
    """Bars whose close rises by one each minute."""
    index = pd.date_range("2024-10-03 09:30", periods=minutes, freq="1min", tz="America/New_York")
    close = 100 + np.arange(minutes, dtype=float)
    columns = {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 1.0}
    return pd.DataFrame(columns, index=index).iloc[int(without_first) :]


@cache
def config(derived: bool, on_error: str = "stop") -> SessionConfig:
    """That of all runs here."""
    data = {"interval": "1m", "warmup_days": 0, "derived_intervals": ["2m"] if derived else []}
    return SessionConfig.load({"exchange": "24/7", "data": data, "on_error": on_error})


@cache
def market(minutes: int, derived: bool) -> MarketData:
    """Two symbols, of which the second begins a minute later."""
    return load(config(derived), {"A": frame(minutes), "B": frame(minutes, without_first=minutes > 2)})


@cache
def joining(minutes: int) -> pd.DataFrame:
    """The bars of a symbol that joins."""
    return frame(minutes)


class Trader(nb.Strategy):
    """Buys at every other bar that it sees."""

    def on_start(self) -> None:
        self.seen: list[tuple[str, str, str]] = []

    def on_bar(self, bar: nb.Bar) -> None:
        self.seen.append((bar.symbol, bar.interval, str(bar.time)))
        if len(self.seen) % 2:
            self.buy(bar.symbol, 1)


class _Bench:
    """A manager, what its strategies do, and what each command must have done when it answers."""

    def __init__(self, scenario: Scenario, judge: Judge, expected: str | None) -> None:
        self._scenario = scenario
        self._judge = judge
        self._expected = expected
        self._is_alone = len(scenario.controllers) == 1
        self._is_inside = False  # a callback that commands
        self.runs: list[Run] = []
        self._traders: list[Any] = []
        self._system = system = nb.SystemManager(clock=Clock(), reachable=False)
        self._told: list[SystemState] = []
        self._ended: list[nb.Result] = []
        holder = system._holder
        make = holder.make

        def noted(*parts: Any, **named: Any) -> Run:
            self.runs.append(make(*parts, **named))
            return self.runs[-1]

        holder.make = noted  # type: ignore[method-assign]
        if scenario.listens:
            system.on_state(self._told.append)
            system.on_end(self._ended.append)
        if scenario.follows:
            system.on_progress(lambda shot: judge.scheduler.point("told of progress"))
        self._strategy = self._made_for()

    def _made_for(self) -> type[nb.Strategy]:  # noqa: C901 - a class, of methods that are simple
        """A strategy that judges how it is called."""
        bench, judge, scenario = self, self._judge, self._scenario

        class Judged(Trader):
            def on_start(self) -> None:
                super().on_start()
                bench._traders.append(self)
                self.stops = 0
                [self.run] = [run for run in bench.runs if self in run.world.desk.strategies]
                if scenario.start_raises:
                    raise Boom("at the start")

            def on_bar(self, bar: nb.Bar) -> None:
                judge.scheduler.mark()
                self.check("called")
                judge.scheduler.point("in a callback")
                self.check("in a callback")
                count = len(self.seen) + 1
                if scenario.raises_at == count:
                    self.seen.append((bar.symbol, bar.interval, str(bar.time)))
                    raise Boom(count)
                super().on_bar(bar)
                judge.scheduler.now += scenario.seconds_a_bar
                bench.do_inside(self.run, scenario.inside.get(count))

            def check(self, where: str) -> None:
                if self.is_replay:
                    return
                if self.run is peek(bench._system._holder, "run") and judge.state is not SystemState.RUNNING:
                    judge.complain(f"{where} while {judge.state}")
                if self.stops:
                    judge.complain(f"{where} after on_stop")

            def on_symbol_added(self, symbol: str) -> None:
                judge.scheduler.point("told of a symbol")

            def on_stop(self) -> None:
                self.stops += 1
                if scenario.stop_raises:
                    raise Boom("at the end")

        Judged.__name__ = Judged.__qualname__ = Trader.__name__  # a fingerprint has it
        return Judged

    # -- commands -------------------------------------------------------------------------------------------

    def do_inside(self, run: Run, name: str | None) -> None:
        """A command from a callback of that run."""
        if name is None:
            return
        self._is_inside = True
        try:
            if name == "interrupt":
                # Only where it is held back: elsewhere it is the test's.
                if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
                    signal.raise_signal(signal.SIGINT)
            elif name == "add":
                run.world.universe.add("Z", joining(self._scenario.minutes))
            elif name == "remove":
                run.world.universe.remove("B", "close")
            else:
                getattr(self, f"_{name}")(*{"speed": [6_000.0], "step": [1], "until": [0]}.get(name, []))
        except REFUSALS:
            return
        finally:
            self._is_inside = False

    def _do(self, name: str, argument: Any) -> None:
        began = self._judge.scheduler.now
        try:
            answer = getattr(self, f"_{name}")(*([] if argument is None else [argument]))
        except StrategyBlockedError as error:
            answer = type(error).__name__
            self._judge.complain(f"{name}: {error}")
        except KeyboardInterrupt:
            answer = "interrupted"
            if self._judge.state is SystemState.RUNNING:
                self._judge.complain(f"{name}({argument}) was interrupted, and the run goes on")
        except REFUSALS as error:
            answer = type(error).__name__
            if not self._may_refuse(name, error):
                self._judge.complain(f"{name}({argument}) raised {error!r}")
        self._judge.outcome.answers.append((name, argument, answer))
        self._judge.scheduler.mark()
        took = self._judge.scheduler.now - began
        if name in _AT_ONCE and took > 0 and self._is_undisturbed():
            self._judge.complain(f"{name}({argument}) took {took:g} s, though nothing but a clock was waited for")

    @staticmethod
    def _may_refuse(name: str, error: Exception) -> bool:
        if isinstance(error, nb.ReplayError):
            return "by a command" in str(error)
        if isinstance(error, NbBacktestError):
            return True
        if isinstance(error, TimeoutError):
            return name == "wait"
        return (
            name in {"until_time", "rewind"} if isinstance(error, ValueError) else "nothing was started" in str(error)
        )

    def _is_undisturbed(self) -> bool:
        names = {name for script in self._scenario.controllers for name, _ in script}
        return self._judge.is_prompt and not (
            names & _ON_TIME or self._scenario.follows or self._scenario.seconds_a_bar
        )

    def _sight(self) -> tuple[Any, ...]:
        run = self._system._holder.run
        seen = len(self._traders[-1].seen) if self._traders else 0
        return self._system.get_state(), seen, run.gate.cursor, run.published().cursor

    def _start(self, paused: bool) -> bool:
        scenario = self._scenario
        settings = config(scenario.derived, scenario.on_error)
        bars = market(scenario.minutes, scenario.derived)
        return self._system.start(settings, data=bars, strategies=self._strategy, paused=paused)

    def _pause(self) -> bool:
        answer = self._system.pause()
        if answer and self._is_alone and not self._is_inside:
            self._check_rest("pause", None)
        return answer

    def _check_rest(self, what: str, cursor: int | None) -> None:
        """What must be so as long as nobody else commands."""
        first = sight = self._sight()
        for _ in range(4):
            if sight != first or sight[0] is not SystemState.PAUSED or sight[2] != sight[3]:
                self._judge.complain(f"after {what}: {first}, then {sight}")
            if cursor is not None and sight[2] != cursor:
                self._judge.complain(f"{what} rests at {sight[2]} instead of {cursor}")
            self._judge.scheduler.point("look")
            sight = self._sight()

    def _resume(self) -> bool:
        return self._system.resume()

    def _step(self, instants: int) -> bool:
        run = self._system._holder.run
        was_paused, before = self._judge.state is SystemState.PAUSED, run.gate.cursor if run else 0
        answer = self._system.step(instants)
        if answer and was_paused and self._is_alone:
            self._check_rest("step", before + instants)
        return answer

    def _until(self, cursor: int) -> bool:
        return self._system.run_until(lambda shot: shot.cursor >= cursor)

    def _rewind(self, cursor: int) -> bool:
        answer = self._system.rewind(cursor)
        if answer and self._is_alone:
            self._check_rest("rewind", cursor)
        return answer

    def _until_time(self, minute: int) -> bool:
        return self._system.run_until(f"09:{30 + minute}")

    def _speed(self, multiplier: float) -> None:
        self._system.set_speed(multiplier)

    def _stop(self) -> bool:
        return self._system.stop()

    def _add(self, symbol: str) -> bool:
        return self._system.add_symbol(symbol, joining(self._scenario.minutes))

    def _remove(self, symbol: str) -> bool:
        return self._system.remove_symbol(symbol, "close")

    def _status(self) -> str:
        return self._system.status()["system_manager"]["_state"]

    def _snapshot(self) -> int:
        return self._system.snapshot().cursor

    def _wait(self) -> str:
        return type(self._system.wait(0.05)).__name__

    def _await_end(self) -> str:
        return type(self._system.wait()).__name__

    def _nap(self, seconds: float) -> None:
        sleep(seconds)

    def _turn(self, seconds: float) -> None:
        """What an event loop does between two cells; without threads it is what moves a run."""
        sleep(seconds)
        CALLS.make_due()

    def _finish(self) -> None:
        """Go to the end where nobody else does."""
        for _ in range(FINISHES):
            if self._judge.state is SystemState.STOPPED:
                break
            if self._judge.state is SystemState.PAUSED:
                self._do("stop" if self._scenario.finish == "stop" else "resume", None)
            else:
                self._do("await_end", None)
        self._turn(0.2)  # callbacks are told of the end

    # -- all of it ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Command, finish, and judge."""
        judge = self._judge
        judge.watch(self._system._life, self._system.stop if self._scenario.finish == "stop" else self._system.resume)
        for number, script in enumerate(self._scenario.controllers):
            judge.control(f"controller {number}", lambda script=script: [self._do(*one) for one in script])
        judge.run()
        if not judge.outcome.problems:
            self._judge_end()

    def _judge_end(self) -> None:
        judge, scenario = self._judge, self._scenario
        for trader in self._traders:
            if trader not in trader.run.world.desk.strategies:
                continue  # of a world that another one took the place of
            if trader.stops != (not scenario.start_raises):
                judge.complain(f"on_stop was called {trader.stops} times")
            if len(set(trader.seen)) != len(trader.seen):
                judge.complain(f"a bar came twice: {trader.seen}")
            if not trader.run.done:
                judge.complain("a run isn't done")
                continue
            result = trader.run.result()
            self._check_result(trader, result)
        if scenario.listens:
            changes = [event.partition(": ")[2].split(" -> ") for event in self._system._life.history]
            after = [new for old, new in changes if old != new]
            if [state.value for state in self._told] != after:
                judge.complain(f"the states {after} were told as {self._told}")
            if len(self._ended) != sum(run.done and run.is_shown for run in self.runs):
                judge.complain(f"{len(self._ended)} ends were told of {len(self.runs)} runs")

    def _check_result(self, trader: Any, result: nb.Result) -> None:
        """A run that went to its end alone is the one that nobody disturbs, however it was held and stepped."""
        judge, run = self._judge, trader.run
        count = sum(interval == "1m" for _, interval, _ in trader.seen)
        if run.error is None and count != result.stats["bars"]:
            judge.complain(f"{count} bars were delivered, and {result.stats['bars']} are counted")
        names = {name for script in self._scenario.controllers for name, _ in script} | set(
            self._scenario.inside.values()
        )
        is_whole = not names & {"stop", "add", "remove"} and self._scenario.finish == "resume" and run.error is None
        if is_whole and self._scenario.raises_at is None and self._expected is not None:
            if run.analysis.frame.cursor != len(run.world.timeline):
                judge.complain(f"the run ended at {run.analysis.frame.cursor} of {len(run.world.timeline)} instants")
            elif result.fingerprint != self._expected:
                judge.complain(f"the fingerprint is {result.fingerprint} instead of {self._expected}")


_AT_ONCE = frozenset({"start", "pause", "resume", "speed", "stop", "add", "remove", "status", "snapshot"})
"""Commands that wait for no clock, and so take no time where nobody is slow."""
_ON_TIME = frozenset({"nap", "until", "until_time", "wait", "await_end", "turn"})
"""Commands that may wait for one."""
