"""The engine's three stages under a gate, as a run has them, with threads that command it; no trading."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nbbacktest.core.enums import SystemState
from nbbacktest.core.errors import InvalidTransition, StrategyBlockedError
from nbbacktest.core.records import Bar
from nbbacktest.engine.loader import ChunkLoader, ShownChunks
from nbbacktest.engine.timeline import in_callback_order
from nbbacktest.system.run import Run
from nbbacktest.system.stages import Stages
from nbbacktest.system.world import World
from tests.interleavings.chunked import Pieces
from tests.interleavings.judged import Judge, Outcome
from tests.interleavings.replaced import peek
from tests.interleavings.scheduler import Choices
from tests.interleavings.threads import Clock, Lock, sleep
from tests.rig import Recorder, Rig, series

NAME = "engine"
JOINING = (1, 2, 7, 9)
"""The minutes of the symbol that joins."""
BLOCKS_FOR = 20.0
"""Seconds of a callback that blocks."""
STOP_SECONDS = 5.0


class Boom(Exception):
    """What a callback raises."""


@dataclass(frozen=True)
class Scenario:
    """What is run, and who commands what. A command is its name and an argument."""

    controllers: tuple[tuple[tuple[str, Any], ...], ...] = ((),)
    instants: int = 3
    symbols: int = 1
    window: int = 2
    turn: int | None = None
    speed: float = 0.0
    paused: bool = False
    on_error: str = "stop"
    raises_at: int | None = None
    blocks_at: int | None = None
    start_raises: bool = False
    chunk: int | None = None
    chunk_fails: int | None = None
    inside: dict[int, str] = field(default_factory=dict)
    finish: str = "resume"


CASES = {
    "run alone": Scenario(window=2),
    "pause, resume": Scenario(((("pause", None), ("resume", None)),)),
    "paced: pause, resume": Scenario(((("pause", None), ("resume", None)),), instants=2, window=1, speed=6_000.0),
    "paced: faster": Scenario(((("speed", 60_000.0),),), window=1, speed=6_000.0),
    "paced: pause, nap, resume": Scenario(
        ((("pause", None), ("nap", 0.01), ("resume", None)),), window=1, speed=6_000.0
    ),
    "step | resume": Scenario(((("step", 1),), (("resume", None),)), instants=2, window=1, paused=True),
    "until | stop": Scenario(((("until", 2),), (("stop", None),)), paused=True),
    "paced: until where it is": Scenario(((("step", 1), ("until", 1)),), instants=2, speed=6_000.0, paused=True),
    "stop": Scenario(((("stop", None),),), instants=2, window=1),
    "turns, stop": Scenario(((("stop", None),),), instants=3, window=3, turn=1),
    "turns, ask": Scenario(((("ask", None),),), instants=3, window=3, turn=1),
    "ask in a window": Scenario(((("ask", None),),), instants=4, window=4),
    "pause | speed": Scenario(((("pause", None),), (("speed", 6_000.0),)), instants=2, window=1),
    "join | pause": Scenario(((("join", None),), (("pause", None),)), instants=2),
    "ask | pause": Scenario(((("ask", None),), (("pause", None),)), instants=2),
    "place | hold": Scenario(((("place", 1),), (("hold", None),)), instants=2),
    "chunks, stop": Scenario(((("stop", None),),), window=3, chunk=1),
    "a chunk that fails": Scenario(window=3, chunk=1, chunk_fails=1),
    "a chunk that fails | pause": Scenario(((("pause", None), ("resume", None)),), window=3, chunk=1, chunk_fails=1),
    "raise | pause": Scenario(((("pause", None),),), instants=2, raises_at=1),
    "stop a callback that blocks": Scenario(((("nap", 0.01), ("stop", None)),), instants=2, blocks_at=0),
}
"""Small ones, of which all schedules up to some preemptions can be gone through."""


def drawn(dice: random.Random) -> Scenario:
    """A scenario by chance."""
    instants = dice.choice([1, 2, 3, 4, 4, 5, 8])

    def command() -> tuple[str, Any]:
        name = dice.choices(
            [
                "pause",
                "resume",
                "step",
                "until",
                "watch",
                "speed",
                "hold",
                "ask",
                "stop",
                "crash",
                "place",
                "join",
                "nap",
            ],
            [5, 5, 5, 4, 3, 5, 4, 3, 1, 0.5, 3, 2, 2],
        )[0]
        arguments: dict[str, Callable[[], Any]] = {
            "step": lambda: dice.randint(1, 3),
            "until": lambda: dice.randint(0, instants + 1),
            "place": lambda: dice.randint(0, instants + 1),
            "watch": lambda: dice.randint(1, instants + 1),
            "speed": lambda: dice.choice([0.0, 6_000.0, 60_000.0]),
            "nap": lambda: dice.choice([0.003, 0.01]),
        }
        return name, arguments.get(name, lambda: None)()

    many = dice.choice([1, 2, 2, 3])
    controllers = tuple(tuple(command() for _ in range(dice.randint(1, 4))) for _ in range(many))
    joins = any(name == "join" for script in controllers for name, _ in script)
    chunk = dice.choice([1, 2, 3]) if dice.random() < 0.25 and not joins else None
    raises_at = dice.randrange(instants) if dice.random() < 0.25 else None
    blocks_at = dice.randrange(instants) if dice.random() < 0.05 else None
    if blocks_at is not None:
        controllers = (*controllers[1:], (("nap", 0.01), ("stop", None)))
    return Scenario(
        controllers,
        instants,
        symbols=dice.choice([1, 2]),
        window=dice.choice([1, 2, 2, 3, 100]),
        turn=dice.choice([1, 2]) if dice.random() < 0.3 else None,
        speed=dice.choice([0.0, 0.0, 6_000.0]),
        paused=dice.random() < 0.4,
        on_error=dice.choice(["stop", "pause"]),
        raises_at=raises_at,
        blocks_at=blocks_at,
        start_raises=dice.random() < 0.03,
        chunk=chunk,
        chunk_fails=dice.randint(1, 3) if chunk and dice.random() < 0.2 else None,
        inside={dice.randrange(instants): dice.choice(["pause", "stop", "resume", "speed 0", "speed 6000"])}
        if dice.random() < 0.3
        else {},
        finish=dice.choice(["resume", "stop"]),
    )


def run(scenario: Scenario, choices: Choices) -> Outcome:
    """One schedule of it, judged."""
    outcome = Outcome(scenario)
    judge = Judge(choices, outcome)
    with judge.scheduler:
        _Bench(scenario, judge).run()
    return outcome


class _Bench:
    """An engine on the bench, what its strategy does, and what each command must have done when it answers."""

    def __init__(self, scenario: Scenario, judge: Judge) -> None:
        self._scenario = scenario
        self._judge = judge
        self._point = judge.scheduler.point
        self._agent = Recorder()
        self._agent.strategies = ()  # type: ignore[attr-defined] - a run looks through them at its end
        self._agent.on_bar = self._on_bar
        if scenario.start_raises:
            self._agent.on_start = self._raise
        parts = [series("A", range(scenario.instants))]
        if scenario.symbols == 2:
            parts.append(series("B", range(0, scenario.instants, 2)))
        self._rig = rig = Rig(
            *parts, agent=self._agent, clock=Clock(), speed=scenario.speed, window=scenario.window,
            paused=scenario.paused, on_error=scenario.on_error,
        )  # fmt: skip
        if scenario.turn is not None:
            rig.quantum.turn = scenario.turn
        self._pieces: Pieces | None = None
        chunks = None
        if scenario.chunk is not None:
            whole = [one.whole for one in rig.timeline.series]
            self._pieces = Pieces(whole, scenario.chunk, scenario.chunk_fails, Boom)
            chunks = rig.processor._chunks = ShownChunks(ChunkLoader(self._pieces), rig.timeline.series)
        stages = Stages(
            None, World(None, rig.timeline, self._agent, chunks=chunks), rig.gate, rig.quantum, rig.analysis,  # type: ignore[arg-type]
            rig.processor, rig.coordinator, (rig.upstream, rig.downstream), None, rig.clock,  # type: ignore[arg-type]
        )  # fmt: skip
        self._run = Run(stages, lambda run: {}, self._at_end)
        self._gate, self._state = rig.gate, rig.gate.state
        self._one_at_a_time = Lock()  # of those that hold the run, as `SymbolUniverse` has it
        self._is_alone = len(scenario.controllers) == 1
        self._delivered: list[int] = []
        self._joined: int | None = None  # how many instants were complete when the third symbol joined
        self._is_cut_short = scenario.start_raises or scenario.chunk_fails is not None
        self._is_told = False  # to end, by a command
        self._is_repaced = False  # by commands: then nobody here knows when an instant is due
        # How many instants have begun since the present hold, or since the question of that number.
        self._begun_since: Counter[str | int] = Counter()
        self._moving = 0.0
        self._since: float | None = None if scenario.paused else judge.scheduler.now
        self._follow_motion()

    def _at_end(self, run: Run) -> None:
        """What a run that ends is, for those who wait for it: whole, cut short by a command, or failed."""
        is_whole = len(self._delivered) == len(self._rig.timeline)
        if not (is_whole or self._is_told or run.error is not None):
            self._judge.complain(f"the run ends after {len(self._delivered)} instants, and nobody is told why")

    # -- the strategy ---------------------------------------------------------------------------------------

    def _raise(self) -> None:
        raise Boom("at the start")

    def _on_bar(self, bar: Bar) -> None:
        index, scenario = self._agent.index, self._scenario
        self._judge.scheduler.mark()
        if not self._delivered or self._delivered[-1] != index:
            self._check_begin(index)
            self._delivered.append(index)
        self._check_moves("called")
        self._point("in a callback")
        if scenario.blocks_at == index and bar.symbol == "A":
            sleep(BLOCKS_FOR)
            return
        self._check_moves("in a callback")
        if scenario.raises_at == index and bar.symbol == "A":
            self._is_cut_short |= scenario.on_error == "stop"
            raise Boom(index)
        self._do_inside(scenario.inside.get(index))

    def _do_inside(self, what: str | None) -> None:
        if what == "pause":
            self._gate.pause()
        elif what == "resume":
            self._gate.resume()
        elif what == "stop":
            self._is_cut_short = self._is_told = True
            self._run.stop(STOP_SECONDS)
        elif what is not None:
            self._is_repaced = True
            self._rig.coordinator.set_speed(float(what.split()[1]))

    def _check_begin(self, index: int) -> None:
        if index != len(self._delivered):
            self._judge.complain(f"instant {index} is delivered as number {len(self._delivered)}")
        asked = peek(self._state, "asked")
        for since in (
            "hold" if peek(self._state, "holders") else None,
            asked if asked > peek(self._state, "answered") else None,
        ):
            if since is not None:
                self._begun_since[since] += 1
                if self._begun_since[since] > 1:
                    self._judge.complain(
                        f"{self._begun_since[since]} instants have begun since the hold, or question {since}"
                    )
        if self._scenario.speed and not self._is_repaced and self._joined is None:
            moved = self._moving + (0.0 if self._since is None else self._judge.scheduler.now - self._since)
            due = index * 60 / self._scenario.speed
            if due > moved + 1e-6:
                self._judge.complain(f"instant {index} is due after {due} s of motion, and came after {moved} s")

    def _check_moves(self, where: str) -> None:
        if self._judge.state is not SystemState.RUNNING and not (self._scenario.blocks_at is not None):
            self._judge.complain(f"instant {self._agent.index}: {where} while {self._judge.state}")
        if not peek(self._state, "busy"):
            self._judge.complain(f"instant {self._agent.index}: {where} while the gate says that it is at rest")

    def _follow_motion(self) -> None:
        """Count for how long the run isn't held."""
        state, hold, move_on = self._state, self._state.hold, self._state._move_on
        scheduler = self._judge.scheduler

        def held(holder: object, now: float) -> None:
            if not peek(state, "holders"):
                self._begun_since["hold"] = 0
                if self._since is not None:
                    self._moving, self._since = self._moving + scheduler.now - self._since, None
            hold(holder, now)

        def moved_on(now: float) -> None:
            if self._since is None:
                self._since = scheduler.now
            move_on(now)

        state.hold, state._move_on = held, moved_on  # type: ignore[method-assign]

    # -- commands -------------------------------------------------------------------------------------------

    def _do(self, name: str, argument: Any) -> None:
        began = self._judge.scheduler.now
        is_ending = peek(self._state, "closed") and self._judge.state is SystemState.RUNNING
        try:
            answer = getattr(self, f"_{name}")(*([] if argument is None else [argument]))
        except InvalidTransition:
            answer = "refused"
        except StrategyBlockedError as error:
            answer = "blocked"
            if self._scenario.blocks_at is None:
                self._judge.complain(f"{name}: {error}")
        except TimeoutError as error:
            answer = "late"
            if self._scenario.blocks_at is None:
                self._judge.complain(f"{name}({argument}): {error}")
        is_early = is_ending and self._judge.state is not SystemState.STOPPED and self._scenario.blocks_at is None
        if is_early and name in _WAIT and isinstance(answer, bool):
            self._judge.complain(f"{name}({argument}) answers {answer} before the run has ended")
        self._judge.outcome.answers.append((name, argument, answer))
        self._judge.scheduler.mark()
        took = self._judge.scheduler.now - began
        if took > _AT_ONCE.get(name, took) and self._is_undisturbed():
            self._judge.complain(f"{name}({argument}) took {took:g} s, though nothing but a clock was waited for")

    def _is_undisturbed(self) -> bool:
        """Whether no time passes but that which the engine itself waits for."""
        scenario = self._scenario
        naps = any(name in {"nap", *_ON_TIME} for script in scenario.controllers for name, _ in script)
        return self._judge.is_prompt and not naps and scenario.blocks_at is None

    def _at_rest(self, what: str, instants: int) -> None:
        """What must be so as long as nobody else commands."""
        for _ in range(3):
            if len(self._delivered) != instants:
                self._judge.complain(f"{what}: {len(self._delivered)} instants are delivered, and not {instants}")
            if peek(self._rig.analysis, "frame").cursor != len(self._delivered):
                self._judge.complain(f"{what}: what is published is older than what was delivered")
            self._point("look")

    def _pause(self) -> bool:
        answer = self._gate.pause(10.0)
        if answer and self._is_alone:
            self._at_rest("pause", len(self._delivered))
            if self._judge.state is not SystemState.PAUSED and not peek(self._state, "closed"):
                self._judge.complain(f"pause: {self._judge.state}")
        return answer

    def _resume(self) -> bool:
        return self._gate.resume()

    def _step(self, instants: int) -> bool:
        self._is_repaced, was_paused, before = True, self._judge.state is SystemState.PAUSED, len(self._delivered)
        answer = self._gate.step(instants, 10.0)
        if answer and self._is_alone:
            self._at_rest("step", before + instants if was_paused else len(self._delivered))
        return answer

    def _until(self, target: int) -> bool:
        before, began = len(self._delivered), self._judge.scheduler.now
        was_paused = self._judge.state is SystemState.PAUSED
        answer = self._gate.run_until(target, None, 10.0)
        if answer and self._is_alone:
            self._at_rest("run_until", max(before, target) if was_paused else max(len(self._delivered), target))
            if was_paused and target <= before and self._judge.scheduler.now > began and self._judge.is_prompt:
                self._judge.complain("run_until waits for the clock, though it is there already")
        return answer

    def _watch(self, target: int) -> bool:
        answer = self._gate.run_until(None, lambda frame: frame.cursor >= target, 10.0)
        if answer and self._is_alone and len(self._delivered) < target:
            self._judge.complain(f"run_until its watcher's {target} rests at {len(self._delivered)}")
        return answer

    def _speed(self, multiplier: float) -> None:
        self._is_repaced = True
        self._rig.coordinator.set_speed(multiplier)

    def _held(self, holder: str, action: Callable[[int], object]) -> bool:
        """Hold the run as `SymbolUniverse` does, and act."""
        with self._one_at_a_time:
            try:
                answer = self._gate.hold(holder, 10.0)
            except TimeoutError:
                if self._scenario.blocks_at is None:
                    raise
                return False
            try:
                if answer:
                    count = len(self._delivered)
                    if peek(self._state, "busy"):
                        self._judge.complain("held, and not at rest")
                    self._at_rest("hold", count)
                    with self._gate.standing_in():
                        action(self._gate.cursor)
                    if len(self._delivered) != count:
                        self._judge.complain("an instant was delivered while the run was held")
            finally:
                self._gate.release(holder)
        return answer

    def _hold(self) -> bool:
        return self._held("holder", lambda cursor: self._rig.coordinator.replan(int))

    def _join(self) -> bool:
        return self._held("holder", self._let_join)

    def _let_join(self, cursor: int) -> None:
        rig = self._rig
        if self._joined is not None or cursor >= len(rig.timeline):
            return
        new = series("C", JOINING)
        if cursor:
            new.first = new.n = int((new.columns.end <= rig.timeline.instants[cursor - 1]).sum())
        self._joined = new.first
        renumber = rig.timeline.recast(in_callback_order([*rig.timeline.series, new]))
        rig.analysis.adopt(cursor)
        rig.coordinator.replan(renumber)

    def _place(self, target: int) -> bool:
        try:
            self._gate.hold("placing", 10.0)
            move = self._gate.set_out(target)
        finally:
            self._gate.release("placing")
        return self._gate.arrived(move, 10.0)

    def _ask(self) -> bool:
        has_started = peek(self._state, "started")
        answer = self._gate.ask(0.25)
        if not answer and has_started and not peek(self._state, "closed") and self._scenario.blocks_at is None:
            self._judge.complain("ask: nothing was published, though the run goes on")
        return answer

    def _stop(self) -> None:
        self._is_cut_short = self._is_told = True
        if self._judge.state is not SystemState.STOPPED:
            try:
                self._run.stop(STOP_SECONDS)
            except StrategyBlockedError:
                left = [t.name for t in self._judge.scheduler.tasks if t.state != "done" and not t.is_users]
                if set(left) - {"analysis"}:
                    self._judge.complain(f"stop gave a callback up, and left {left}")
                raise
            if not self._run.done:
                self._judge.complain("stop returned before the run was done")
            if self._judge.state is not SystemState.STOPPED:
                self._judge.complain(f"after stop it is {self._judge.state}")

    def _crash(self) -> None:
        self._is_cut_short = True
        if not self._run.done:
            self._run._crash_with(Boom("a stage"))

    def _nap(self, seconds: float) -> None:
        sleep(seconds)

    # -- all of it ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Start, command, finish, and judge."""
        judge = self._judge
        judge.watch(self._rig.life, self._stop if self._scenario.finish == "stop" else self._gate.resume)
        self._run.start()
        for number, script in enumerate(self._scenario.controllers):
            judge.control(f"controller {number}", lambda script=script: [self._do(*one) for one in script])
        judge.run()
        if not judge.outcome.problems:
            self._judge_end()

    def _judge_end(self) -> None:  # noqa: C901 - a list of what must be so
        complain, scenario, total = self._judge.complain, self._scenario, len(self._rig.timeline)
        if not self._run.done:
            complain("the run isn't done")
        if self._pieces is not None and not self._pieces.closed:
            complain("the source of bars wasn't closed")
        if self._agent.events.count("stop") != 1 and scenario.blocks_at is None:
            complain(f"on_stop was called {self._agent.events.count('stop')} times")
        lateness = self._rig.analysis.lateness
        if lateness.count and lateness.largest > 1e-9 and self._is_undisturbed():
            complain(f"an instant began {lateness.largest} s late, though nothing was slow")
        if self._is_cut_short or scenario.blocks_at is not None:
            return
        if self._delivered != list(range(total)):
            complain(f"{self._delivered} were delivered of {total} instants")
        expected = {"A": [100.0 + minute for minute in range(scenario.instants)]}
        if scenario.symbols == 2:
            expected["B"] = expected["A"][::2]
        if self._joined is not None:
            expected["C"] = [100.0 + minute for minute in JOINING[self._joined :]]
        for symbol, closes in expected.items():
            seen = [close for _, name, _, close in self._agent.seen if name == symbol]
            if seen != closes:
                complain(f"{symbol}'s bars are {seen} instead of {closes}")


_AT_ONCE = dict.fromkeys(["pause", "resume", "speed", "hold", "join", "ask", "stop", "crash"], 0.0) | {"step": 5e-4}
"""Commands that wait for no clock, and for how long they may: between its turns a step lets others in for a moment."""
_WAIT = frozenset({"pause", "step", "until", "watch", "hold", "join", "place", "ask"})
"""Commands that wait for the end of a run that was told to end."""
_ON_TIME = frozenset({"until", "watch", "place"})
"""Commands that may wait for one."""
