"""A live run: threads that push bars into its feed, threads that command it, and the inbox between them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Any

import nbbacktest as nb
from nbbacktest.core.config import SessionConfig
from nbbacktest.core.enums import SystemState
from nbbacktest.core.errors import DataError, FeedError, InvalidTransition, LiveRunError, OutsideRunError
from tests.interleavings.choices import Departures
from tests.interleavings.judged import Judge, Outcome
from tests.interleavings.scheduler import Choices
from tests.interleavings.system_world import Boom, Trader
from tests.interleavings.threads import Clock, now, sleep
from tests.live import OPENING, fields

NAME = "live"
SYMBOLS = ("A", "B")
FOR_EVER, SHORT = 1e6, 0.02
"""Seconds that an instant waits for its other symbols."""
REFUSALS = (InvalidTransition, LiveRunError, OutsideRunError, TimeoutError, DataError, FeedError, nb.StrategyError)


@dataclass(frozen=True)
class Scenario:
    """What is pushed, and who commands what. Each pusher has the words of its own; a bar is its symbol and its minute."""

    pushers: tuple[tuple[tuple[str, Any], ...], ...]
    controllers: tuple[tuple[tuple[str, Any], ...], ...] = ()
    derived: bool = False
    grace: float = FOR_EVER
    raises_at: int | None = None
    fails: bool = False


def everything(minutes: int) -> tuple[tuple[tuple[str, Any], ...], ...]:
    """A pusher for each symbol, and all of its bars."""
    return tuple(tuple(("bar", (symbol, minute)) for minute in range(minutes)) for symbol in SYMBOLS)


CASES = {
    "one pusher": Scenario(((("bar", ("A", 0)), ("bar", ("B", 0)), ("bar", ("A", 1)), ("bar", ("B", 1))),)),
    "two pushers": Scenario(everything(1)),
    "stop": Scenario(everything(1), ((("stop", None),),)),
    "a heartbeat": Scenario(((("bar", ("A", 0)), ("heartbeat", 1)),)),
}


def drawn(dice: random.Random) -> Scenario:
    """A scenario by chance."""
    minutes = dice.choice([1, 2, 3, 4])
    pushers = []
    for script in everything(minutes):
        words = list(script)
        for _ in range(dice.choice([0, 0, 1, 2])):
            at = dice.randint(1, len(words))
            again = dice.choice(words[:at])
            words.insert(
                at, dice.choice([again, ("heartbeat", dice.randint(0, minutes)), ("nap", 0.03), ("bad", None)])
            )
        pushers.append(tuple(words))
    if dice.random() < 0.3:
        dice.shuffle(pushers)
        pushers = [tuple(word for script in pushers for word in script)]

    def command() -> tuple[str, Any]:
        names = ["pause", "step", "speed", "add", "status", "snapshot", "wait", "stop", "close", "nap"]
        name = dice.choices(names, [2, 1, 1, 1, 3, 3, 2, 1, 0.5, 2])[0]
        return name, {"nap": 0.01}.get(name)

    return Scenario(
        tuple(pushers),
        tuple(tuple(command() for _ in range(dice.randint(1, 3))) for _ in range(dice.choice([0, 1, 1, 2]))),
        derived=dice.random() < 0.5,
        grace=dice.choice([FOR_EVER, FOR_EVER, SHORT]),
        raises_at=dice.randint(1, minutes) if dice.random() < 0.1 else None,
        fails=dice.random() < 0.15,
    )


def run(scenario: Scenario, choices: Choices) -> Outcome:
    """One schedule of it, judged."""
    minutes = max(what[1] for script in scenario.pushers for name, what in script if name == "bar") + 1
    outcome, _ = _run(scenario, choices, undisturbed(minutes, scenario.derived))
    return outcome


def _run(scenario: Scenario, choices: Choices, expected: str | None) -> tuple[Outcome, nb.SystemManager]:
    outcome = Outcome(scenario)
    judge = Judge(choices, outcome)
    with judge.scheduler:
        bench = _Bench(scenario, judge, expected)
        bench.run()
    return outcome, bench.system


@cache
def undisturbed(minutes: int, derived: bool) -> str:
    """The fingerprint of a run whose bars are pushed one after the other."""
    words = tuple(word for words in zip(*everything(minutes), strict=True) for word in words)
    outcome, system = _run(Scenario((words,), derived=derived), Departures(), None)
    if outcome.problems:
        raise AssertionError(outcome.problems)
    return system.run.result().fingerprint  # type: ignore[union-attr]


@cache
def config(derived: bool, grace: float) -> SessionConfig:
    """That of all runs here."""
    data = {"symbols": list(SYMBOLS), "interval": "1m", "derived_intervals": ["2m"] if derived else []}
    return SessionConfig.load({"mode": "live", "data": data, "live": {"grace_seconds": grace}})


class _Bench:
    """A manager with a live run, and what its feed and its commands must do."""

    def __init__(self, scenario: Scenario, judge: Judge, expected: str | None) -> None:
        self._scenario = scenario
        self._judge = judge
        self._expected = expected
        self._pushing = len(scenario.pushers)
        self._pushed: set[tuple[str, int]] = set()  # what the feed has taken
        self._taken = self._sent = 0
        self._feed = nb.PushFeed(now=lambda: OPENING + int((now() - 1000.0 + 3600.0) * 1e9))
        self.system = nb.SystemManager(clock=Clock(), reachable=False)
        self._trader: Any = None
        self._strategy = self._made_for()

    def _made_for(self) -> type[nb.Strategy]:
        bench, judge, scenario = self, self._judge, self._scenario

        class Judged(Trader):
            def on_start(self) -> None:
                super().on_start()
                bench._trader = self
                self.stops = 0

            def on_bar(self, bar: nb.Bar) -> None:
                judge.scheduler.mark()
                if self.stops:
                    judge.complain("called after on_stop")
                if judge.state is not SystemState.RUNNING:
                    judge.complain(f"called while {judge.state}")
                if bench._is_prompt() and now() > 1000.0:
                    judge.complain(f"a bar comes {now() - 1000.0:g} s after all were pushed at once")
                judge.scheduler.point("in a callback")
                super().on_bar(bar)
                if scenario.raises_at == len(self.seen):
                    raise Boom(len(self.seen))

            def on_stop(self) -> None:
                self.stops += 1

        return Judged

    def _names(self) -> set[str]:
        scripts = (*self._scenario.pushers, *self._scenario.controllers)
        return {name for script in scripts for name, _ in script}

    def _is_prompt(self) -> bool:
        """Whether nothing but a clock can have let time pass."""
        return self._judge.is_prompt and not self._names() & {"nap", "wait"}

    # -- what is done ---------------------------------------------------------------------------------------

    def _do(self, name: str, argument: Any) -> None:
        try:
            answer = getattr(self, f"_{name}")(*([] if argument is None else [argument]))
        except REFUSALS as error:
            answer = type(error).__name__
        self._judge.outcome.answers.append((name, argument, answer))
        self._judge.scheduler.mark()

    def _bar(self, bar: tuple[str, int]) -> bool:
        symbol, minute = bar
        self._sent += 1
        try:
            taken = self._feed.push(fields(symbol, minute, 100.0 + minute))
        except OutsideRunError:
            self._sent -= 1
            raise
        if taken:
            self._taken += 1
            if bar in self._pushed:
                self._judge.complain(f"{bar} was taken twice")
            self._pushed.add(bar)
        return taken

    def _heartbeat(self, minute: int) -> None:
        self._feed.heartbeat(fields("A", minute)["time"])

    def _bad(self) -> None:
        try:
            self._feed.push(fields("A", 0, 100.0, high=1.0))
        except DataError:
            return
        self._judge.complain("a bar whose high is below its low was taken")

    def _nap(self, seconds: float) -> None:
        sleep(seconds)

    def _pause(self) -> bool:
        answer = self.system.pause()
        if answer:
            self._judge.complain("a live run was paused")
        return answer

    def _step(self) -> bool:
        return self.system.step(1)

    def _speed(self) -> None:
        self.system.set_speed(0.0)

    def _add(self) -> bool:
        return self.system.add_symbol("C")

    def _status(self) -> str:
        return self.system.status()["system_manager"]["_state"]

    def _snapshot(self) -> int:
        return self.system.snapshot().cursor

    def _wait(self) -> str:
        return type(self.system.wait(0.05)).__name__

    def _stop(self) -> bool:
        return self.system.stop()

    def _close(self) -> None:
        self._feed.close()

    # -- all of it ------------------------------------------------------------------------------------------

    def _push(self, script: tuple[tuple[str, Any], ...]) -> None:
        for word in script:
            self._do(*word)
        self._pushing -= 1
        if not self._pushing:
            self._feed.close("lost" if self._scenario.fails else None)
            self._do("await_end", None)

    def _await_end(self) -> str:
        return type(self.system.wait()).__name__

    def run(self) -> None:
        """Start, push, command, and judge."""
        judge, scenario = self._judge, self._scenario
        judge.watch(self.system._life, lambda: None)
        settings = config(scenario.derived, scenario.grace)

        def begin() -> None:
            self.system.start(settings, feed=self._feed, strategies=self._strategy)
            for number, script in enumerate(scenario.pushers):
                judge.control(f"pusher {number}", lambda script=script: self._push(script))
            for number, script in enumerate(scenario.controllers):
                judge.control(f"controller {number}", lambda script=script: [self._do(*one) for one in script])

        judge.control("starter", begin)
        judge.run()
        if not judge.outcome.problems:
            self._judge_end()

    def _judge_end(self) -> None:
        judge, scenario, run = self._judge, self._scenario, self.system.run
        if run is None or not run.done or self._trader is None or self._trader.stops != 1:
            judge.complain("the run isn't done, or its strategy wasn't told so once")
            return
        status = run.inbox.status()  # type: ignore[union-attr]
        if self._sent != status["received"] + status["late"] + status["duplicate"]:
            judge.complain(f"{self._sent} bars were pushed, and counted are {status}")
        seen = [(symbol, time) for symbol, interval, time in self._trader.seen if interval == "1m"]
        if seen != sorted(seen, key=lambda one: (one[1], one[0])) or len(set(seen)) != len(seen):
            judge.complain(f"the bars came as {seen}")
        is_cut = {"stop", "close"} & self._names() or scenario.raises_at is not None or scenario.fails
        if not is_cut:
            if len(seen) != self._taken:
                judge.complain(f"{len(seen)} bars came of {self._taken} that the feed took")
            if scenario.grace == FOR_EVER and "heartbeat" not in self._names():
                fingerprint = run.result().fingerprint
                if self._expected is not None and fingerprint != self._expected:
                    judge.complain(f"the fingerprint is {fingerprint} instead of {self._expected}")
        if scenario.fails and not {"stop", "close"} & self._names() and run.error is None:
            judge.complain("the feed failed, and the run didn't")
