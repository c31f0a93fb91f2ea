"""Ctrl-C at a chosen point of a command, and what a manager has to be like afterwards; `python -m tests.interrupts` counts.

Python raises what a signal handler raises where a Python function begins and where a function written in C has returned
(and where a loop goes round, which differs from these in nothing that matters here). A profile function is called at
exactly these points, and what it raises is raised there.
"""

from __future__ import annotations

import gc
import io
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from types import FrameType
from typing import Any, NamedTuple

import nbbacktest as nb
from nbbacktest import magics
from nbbacktest.core.errors import RemoteError
from nbbacktest.core.lifecycle import TABLE
from nbbacktest.shell.interpreter import Interpreter
from nbbacktest.system.remote.client import reach
from tests.control_servers import runtime_folder
from tests.held import Quiet
from tests.markets import minutes

EVERY = "NBBACKTEST_EVERY_POINT"
"""The environment variable that has all points tried, and not a sample of them."""
SECONDS = float(os.environ.get("NBBACKTEST_PATIENCE", "5"))
BARS = minutes(300)
SLOW = 60.0 * 20
"""Twenty bars a second: a run that is under way as long as a command takes."""
NEAR = ("nbbacktest", "threading", "contextvars")
"""Where a module is near to what an interrupt may break; others compute."""

Command = Callable[[nb.SystemManager], object]


class Numbered(nb.Strategy):
    """Has a parameter."""

    number: int = 1

    def on_bar(self, bar: nb.Bar) -> None:
        pass


class Interrupter:
    """Raises KeyboardInterrupt at the point numbered `at`; without one it only counts."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.near: list[bool] = []  # for each point, whether a module that is near is under way
        self.hit = ""

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event not in ("call", "c_return") or argument is sys.setprofile:
            return
        number = len(self.near)
        self.near.append(frame.f_globals.get("__name__", "").partition(".")[0] in NEAR)
        if number == self.at:
            self.hit = f"{event} {getattr(argument, '__name__', '')} in {frame.f_code.co_qualname}:{frame.f_lineno}"
            raise KeyboardInterrupt

    @contextmanager
    def listening(self) -> Iterator[None]:
        gc.disable()  # what a collection calls is at no fixed point
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            gc.enable()


class Case(NamedTuple):
    """A command, and the system that it is given to."""

    name: str
    command: Command
    prepare: Command = lambda system: None
    state: str = "paused"
    reachable: bool = False


def _until(system: nb.SystemManager) -> object:
    return system.run_until(lambda shot: shot.cursor >= 8)


def _went(instants: int) -> Command:
    """Until so many instants are completed, stepping or as the run goes."""

    def prepare(system: nb.SystemManager) -> None:
        if system.is_paused():
            system.step(instants)
        while system.snapshot().cursor < instants:
            time.sleep(0.001)

    return prepare


def _ended(system: nb.SystemManager) -> None:
    system.resume()
    system.wait()


def _typed(line: str) -> Command:
    def command(system: nb.SystemManager) -> object:
        interpreter = Interpreter(system)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            return interpreter.execute(line)

    return command


def _awaited(system: nb.SystemManager) -> object:
    with redirect_stdout(io.StringIO()):
        return magics._awaited(system)


def _remotely(name: str, **arguments: Any) -> Command:
    """A command as another terminal gives it: the run's own threads are elsewhere, as they are in another process."""

    def command(_system: nb.SystemManager) -> object:
        with reach() as client:
            return client.command(name, **arguments)

    return command


def _remotely_twice(_system: nb.SystemManager) -> None:
    """An interrupted question's answer is never taken for the next one's."""
    with reach() as client:
        try:
            client.command("step", n=2)
        finally:
            with suppress(RemoteError):  # the interrupt has closed the connection
                answer = client.command("status")
                if answer["command"] != "status":
                    raise AssertionError(answer)


def _sweep(_system: nb.SystemManager) -> object:
    return nb.sweep(BARS, Numbered, {"number": [1, 2]}, progress=False)


def _backtest(_system: nb.SystemManager) -> object:
    return nb.backtest(BARS, Quiet)


CASES = (
    Case("start", lambda system: system.start({}, data=BARS, strategies=Quiet), state="stopped"),
    Case("start, paused", lambda system: system.start({}, data=BARS, strategies=Quiet, paused=True), state="stopped"),
    Case("start, wait", lambda system: system.start({}, data=BARS, strategies=Quiet, wait=True), state="stopped"),
    Case("pause", lambda system: system.pause(), state="running"),
    Case("pause, paused", lambda system: system.pause()),
    Case("resume", lambda system: system.resume()),
    Case("step", lambda system: system.step()),
    Case("step 5, paced", lambda system: system.step(5), lambda system: system.set_speed(SLOW)),
    Case("run_until a time", lambda system: system.run_until("09:40")),
    Case("run_until a time, running", lambda system: system.run_until("09:34"), state="running"),
    Case("run_until a condition", _until),
    Case("back", lambda system: system.back(3), _went(8)),
    Case("back, running", lambda system: system.back(), _went(2), state="running"),
    Case("rewind", lambda system: system.rewind("start"), _went(8)),
    Case("rewind, running", lambda system: system.rewind(1), _went(2), state="running"),
    Case("buy by hand", lambda system: system.buy(size=1), _went(8)),
    Case("buy by hand, running", lambda system: system.buy(size=1), _went(2), state="running"),
    Case("buy and undo", lambda system: (system.buy(size=1), system.undo(), system.redo()), _went(8)),
    Case("rewind of an ended run", lambda system: system.rewind(100), _ended),
    Case("rewind twice", lambda system: (system.rewind("start"), system.rewind("end")), _went(8)),
    Case("stop", lambda system: system.stop()),
    Case("stop, running", lambda system: system.stop(), state="running"),
    Case("wait", lambda system: system.wait(), lambda system: system.set_speed(0), state="running"),
    Case("result", lambda system: system.wait().stats["bars"], _ended),
    Case("set_speed", lambda system: system.set_speed(60.0)),
    Case("set_speed, running", lambda system: system.set_speed(2 * SLOW), state="running"),
    Case("snapshot, running", lambda system: system.snapshot(), state="running"),
    Case("status", lambda system: system.status()),
    Case("status, running", lambda system: system.status(), state="running"),
    Case("add_symbol", lambda system: system.add_symbol("OTHER", BARS)),
    Case(
        "remove_symbol", lambda system: system.remove_symbol("OTHER"), lambda system: system.add_symbol("OTHER", BARS)
    ),
    Case("on_state", lambda system: system.on_state(lambda state: None)()),
    Case("backtest", _backtest),
    Case("audit_lookahead", lambda system: nb.audit_lookahead(BARS.iloc[:30], Quiet, cuts=2), state="stopped"),
    Case("sweep", _sweep, state="stopped"),
    Case("magic: wait", _awaited, lambda system: system.set_speed(0), state="running"),
    Case("shell: step", _typed("system step 3")),
    Case("shell: pause", _typed("system pause"), state="running"),
    Case("shell: until", _typed("system until 09:40")),
    Case("shell: stop", _typed("system stop"), state="running"),
    Case("remote: status", _remotely("status"), state="running", reachable=True),
    Case("remote: pause", _remotely("pause"), state="running", reachable=True),
    Case("remote: step", _remotely("step", n=3), reachable=True),
    Case("remote: until", _remotely("until", when="09:40"), reachable=True),
    Case("remote: stop", _remotely("stop"), state="running", reachable=True),
    Case("remote: step, then status", _remotely_twice, reachable=True),
)


def ready(case: Case) -> nb.SystemManager:
    """A system as the case wants it."""
    system = nb.SystemManager(reachable=case.reachable)
    if case.state != "stopped":
        start_anew(system)
        if case.state == "running":
            system.set_speed(SLOW)
            system.resume()
    case.prepare(system)
    return system


def start_anew(system: nb.SystemManager) -> bool:
    return system.start({}, data=BARS, strategies=Quiet, paused=True)


def counted(case: Case) -> Interrupter:
    """The points of a command that isn't interrupted."""
    system, listener = ready(case), Interrupter()
    with listener.listening():
        case.command(system)
    system.stop()
    return listener


def chosen(case: Case, most: int) -> list[int]:
    """The points to be tried: all where they are few or all are asked for, else `most`, the near ones first."""
    case_points = max((counted(case).near for _ in range(3)), key=len)  # the first call imports
    if os.environ.get(EVERY) or len(case_points) <= most:
        return list(range(len(case_points)))
    dice = random.Random(case.name)
    near = [number for number, is_near in enumerate(case_points) if is_near]
    others = [number for number, is_near in enumerate(case_points) if not is_near]
    some = dice.sample(near, min(len(near), most - min(len(others), most // 10)))
    return sorted(some + dice.sample(others, min(len(others), most - len(some))))


def tried(case: Case, at: int) -> list[str]:
    """Interrupt a command at a point, and say what isn't sound afterwards."""
    before = set(threading.enumerate())
    system, listener = ready(case), Interrupter(at)
    outcome: BaseException | None = None
    streams = sys.stdout, sys.stderr  # an interrupt may come while they are redirected
    with listener.listening():
        try:
            case.command(system)
            listener.at = None  # it was over before
        except BaseException as error:  # noqa: BLE001 - judged below
            outcome = error
    sys.stdout, sys.stderr = streams
    problems = list(judged(system))
    if outcome is not None and not isinstance(outcome, KeyboardInterrupt):
        problems.append(f"it raised {outcome!r}")
    problems += [f"{thread.name} goes on" for thread in left(before)]
    return [f"{case.name}, point {at} ({listener.hit}): {problem}" for problem in problems]


def judged(system: nb.SystemManager) -> Iterator[str]:
    """What isn't sound: asked in another thread, since the main one may hold a lock that it can take again."""
    for name, call in (
        ("it doesn't go on", lambda: _moves(system)),
        ("it doesn't step", lambda: _steps(system)),
        ("status", lambda: bool(system.status())),
        ("stop", lambda: system.stop() in (True, False) and system.is_stopped()),
        ("a new start", lambda: start_anew(system) and system.step() and system.snapshot().cursor == 1),
        ("a new end", lambda: _runs_through(system)),
    ):
        answer = in_time(call)
        if answer is not True:
            yield f"{name}: {answer!r} ({system.get_state()})"
            return
    yield from unlawful(system._life.history)


def _runs_through(system: nb.SystemManager) -> bool:
    system.set_speed(0)
    return system.resume() and system.wait(SECONDS).stats["bars"] == len(BARS)


def _moves(system: nb.SystemManager) -> bool:
    """Whether a system that says that it runs does, and one that says that it is paused is at rest, and one that has ended has."""
    run = system.run
    if run is None or (system.is_stopped() and run.done):
        return True
    if system.is_running():
        system.set_speed(0)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if (system.is_stopped() and run.done) or (system.is_paused() and run.gate.at_rest and run.gate.is_held):
            return True
        time.sleep(0.0005)
    return False


def _steps(system: nb.SystemManager) -> bool:
    """Whether a system that is paused before its end steps, as soon as no command of before is under way any more."""
    deadline = time.monotonic() + SECONDS
    while system.is_paused() and time.monotonic() < deadline:
        before = system.snapshot()
        try:
            if before.cursor == before.total or (system.step() and system.snapshot().cursor == before.cursor + 1):
                return True
        except nb.InvalidTransition:
            pass  # one that a stop is ending ends meanwhile, and one that another command has set going goes on
        time.sleep(0.01)
    return not system.is_paused()


def in_time(call: Callable[[], object]) -> object:
    """What a call answers or raises in another thread; None where it doesn't return."""
    answers: list[object] = []

    def work() -> None:
        try:
            answers.append(call())
        except BaseException as error:  # noqa: BLE001 - an answer too
            answers.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(3 * SECONDS)
    return answers[0] if answers else None


def unlawful(history: Sequence[str]) -> Iterator[str]:
    """Where a history of states isn't one that the table allows."""
    at = None
    for line in history:
        command, _, way = line.partition(": ")
        before, after = way.split(" -> ")
        if not any(
            (state.value, done.value, then.value) == (before, command, after) for (state, done), then in TABLE.items()
        ):
            yield f"{line} is in no table"
        if at is not None and before != at:
            yield f"{line} begins at another state than {at}"
        at = after


def left(before: set[threading.Thread]) -> list[threading.Thread]:
    """The engine's threads that go on."""
    ours = [t for t in threading.enumerate() if t not in before and t.name.startswith("nbbacktest-")]
    deadline = time.monotonic() + SECONDS
    for thread in ours:
        if thread.is_alive():
            thread.join(max(deadline - time.monotonic(), 0))
    return [thread for thread in ours if thread.is_alive()]


def signalled(seconds: float, seed: int) -> tuple[int, list[str]]:
    """Interrupt commands by real signals at random moments; how many there were, and what wasn't sound."""
    dice, problems, count = random.Random(seed), [], 0
    commands = [case.command for case in CASES if case.state != "stopped" and not case.name.startswith("shell")]
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not problems:
        system = ready(Case("signals", commands[0], state=dice.choice(("paused", "running"))))
        said = ""
        try:
            # Again after a while: Python loses what is raised while it clears something away.
            signal.setitimer(signal.ITIMER_REAL, 10 ** dice.uniform(-5, -2.5), 0.5)
            while True:
                try:
                    dice.choice(commands)(system)
                except nb.NbBacktestError:
                    pass  # a command that makes no sense now
                except ValueError as error:
                    if not any(
                        words in str(error) for words in ("has passed", "are completed", "has come", "give a cursor")
                    ):
                        raise
        except KeyboardInterrupt:
            count += 1
        except BaseException as error:  # noqa: BLE001 - said below
            said = repr(error)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        problems = [f"signal {count}: {problem}" for problem in [*judged(system), *filter(None, [said])]]
    signal.signal(signal.SIGALRM, before)
    return count, problems + [f"{thread.name} goes on" for thread in left(set())]


def main(names: Sequence[str]) -> None:
    """Try all points of all cases, or of those named, and print how many failed."""
    total = bad = 0
    for case in CASES:
        if names and not any(name in case.name for name in names):
            continue
        with runtime_folder():
            points = chosen(case, int(os.environ.get("NBBACKTEST_POINTS", "150")))
            failed = [problems for at in points if (problems := tried(case, at))]
        total, bad = total + len(points), bad + len(failed)
        print(f"{case.name:28} {len(points):6} points {len(failed):5} failed", flush=True)
        for problems in failed[: int(os.environ.get("SHOW", "3"))]:
            print("   ", problems[0], flush=True)
    print(f"{total} points, {bad} failed")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--signals"]:
        answer = signalled(float(sys.argv[2]), int(sys.argv[3]))
        print(answer)
        sys.exit(bool(answer[1]) or not answer[0])
    main(sys.argv[1:])
