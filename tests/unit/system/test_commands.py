"""The commands: what each answers, in which words, and what it refuses."""

from __future__ import annotations

import inspect
import json

import pytest

import nbbacktest as nb
from nbbacktest.core.config import EXAMPLE
from nbbacktest.system import commands, hand_commands
from nbbacktest.system.answers import Answer
from nbbacktest.system.commands import COMMANDS, parameters
from tests.markets import minutes

PACED = EXAMPLE | {"backtest": EXAMPLE["backtest"] | {"speed_multiplier": 60}}


@pytest.fixture
def system():
    """A system whose run, if it has one, ends with the test."""
    system = nb.SystemManager()
    yield system
    system.stop()


ORDER = {
    "symbol": str, "size": float | None, "limit": float | None, "stop": float | None, "touch": float | None,
    "trail": str | None, "stop_loss": float | None, "take_profit": float | None, "tif": str, "until": str | None,
    "tag": str | None, "strategy": str | None,
}  # fmt: skip
"""What is typed for an order by hand."""


@pytest.fixture
def held(system):
    """A system with the example held before its first bar."""
    system.start(EXAMPLE, paused=True)
    return system


def test_the_table_holds_every_command_of_the_contract():
    """The contract's commands, each a function of this module under its own name."""
    names = ["start", "pause", "resume", "step", "until", "back", "back-until", "rewind", "break", "breaks"]
    by_hand = ["buy", "sell", "close", "cancel", "change", "undo", "redo", "inputs"]
    assert list(COMMANDS) == [*names, "speed", "add", "remove", "stop", "look", "status", *by_hand]
    homes = dict.fromkeys(by_hand, hand_commands)
    written = {"back-until": "back_until", "break": "break_"}
    assert all(getattr(homes.get(name, commands), written.get(name, name)) is one for name, one in COMMANDS.items())


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_itself(name):
    """A docstring of one line or more, that names each parameter: it is the help of every face."""
    told = inspect.getdoc(COMMANDS[name])
    assert told.splitlines()[0].endswith(".")
    assert all(f"\n{parameter.name}\n" in told for parameter in parameters(name))


def test_parameters_leave_the_system_to_the_face():
    """What is typed besides the command's name, with types that JSON and a terminal know."""
    typed = {name: {p.name: p.annotation for p in parameters(name)} for name in COMMANDS}
    assert typed == {
        "start": {"config": str | None, "speed": float | None, "paused": bool},
        "pause": {}, "resume": {}, "step": {"n": int}, "until": {"when": str}, "back": {"n": int},
        "back-until": {"when": str}, "rewind": {"to": str, "before": bool}, "break": {"when": str, "once": bool},
        "breaks": {"remove": int, "clear": bool}, "speed": {"x": float},
        "add": {"symbol": str}, "remove": {"symbol": str, "close": bool}, "stop": {}, "look": {"at": str}, "status": {},
        "buy": ORDER, "sell": ORDER, "close": {"symbol": str | None, "strategy": str | None}, "cancel": {"order": int},
        "change": {"setting": str, "strategy": str | None}, "undo": {}, "redo": {}, "inputs": {},
    }  # fmt: skip


def test_the_dialogue_of_a_session(system):
    """Start, pause, status, resume, stop: the words that a user reads."""
    assert commands.start(system, PACED) == Answer("start", True, "running", "System started successfully")
    assert commands.pause(system) == Answer("pause", True, "paused", "System paused", "Use 'system resume' to continue")
    assert str(commands.status(system)).startswith("State: PAUSED\nSession: Example: two synthetic symbols (synthetic")
    resumed = commands.resume(system)
    assert resumed == Answer("resume", True, "running", "System resumed", "State: running")
    assert str(resumed) == "System resumed\nState: running"
    assert commands.stop(system) == Answer("stop", True, "stopped", "System stopped")


def test_a_command_that_already_holds_says_so(system):
    """Repeated commands answer False and change nothing."""
    commands.start(system, PACED)
    assert commands.start(system, PACED).value is False
    assert commands.resume(system).message == "System is running already"
    commands.pause(system)
    again = commands.pause(system)
    assert (again.value, again.state, again.message) == (False, "paused", "System is paused already")
    assert "is paused already" in commands.start(system).message
    commands.stop(system)
    assert commands.stop(system) == Answer("stop", False, "stopped", "System is stopped already")


@pytest.mark.parametrize("name", ["pause", "resume", "step"])
def test_what_makes_no_sense_is_raised(system, name):
    """Without a run, a command is refused with what is allowed instead."""
    with pytest.raises(nb.InvalidTransition, match="while STOPPED; allowed here: start"):
        COMMANDS[name](system)


@pytest.mark.parametrize("when", ["10:30", "next fill", "next session"])
def test_until_is_refused_without_a_run(system, when):
    """Times and events alike."""
    with pytest.raises(nb.InvalidTransition, match="can't run_until while STOPPED"):
        commands.until(system, when)


def test_start_can_hold_the_run_and_set_its_speed(system):
    """`paused` holds it before its first bar, `speed` takes the place of the config's."""
    answer = commands.start(system, EXAMPLE, speed=60, paused=True)
    assert (answer.state, answer.hint) == ("paused", "Use 'system step' or 'system resume' to set it in motion")
    assert system.snapshot().cursor == 0
    assert system.status()["session"]["speed_multiplier"] == 60


def test_a_config_that_is_refused_leaves_the_speed_alone(system):
    """The next start doesn't run at the speed of one that failed."""
    with pytest.raises(nb.ConfigError):
        commands.start(system, {"mode": "no"}, speed=60)
    commands.start(system, EXAMPLE, paused=True)
    assert system.status()["session"]["speed_multiplier"] == 0


def test_look_shows_an_instant_of_the_past(held):
    """By a time or a cursor: bars, account, positions, orders and indicators in a few lines, and as data for JSON."""
    commands.step(held, 200)
    answer = commands.look(held, "11:30")
    assert answer.message.splitlines()[0] == "At 2024-10-03 11:30:00-04:00: 120 of 2,340 instants"
    for line in (
        "  EXE 1m from 2024-10-03 11:29 EDT: open 34.78, high 34.79, low 34.77, close 34.77, volume 3,983",
        "Equity: 99,693.16, cash 24.20, 8 fills",
        "  SW 451 at 115.83, last 116.3, unrealized +211.97 (SmaCross)",
        "Orders: none",
        "  EXE SMA(close, 10) = 34.755",
    ):
        assert line in answer.message.splitlines()
    assert answer.data == commands.look(held, "120").data
    assert answer.value.cursor == answer.data["cursor"] == 120
    assert json.loads(json.dumps(answer.to_dict(), allow_nan=False))["data"]["positions"][0]["size"] == 451
    assert (answer.state, held.snapshot().cursor) == ("paused", 200)
    assert commands.look(held, "0").message.startswith("Before the first bar: 0 of 2,340 instants\nBars: none")
    assert commands.look(held, "0").data["indicators"]["EXE SMA(close, 10)"] is None


def test_a_look_at_much_shows_the_first_of_it(system):
    """Ten of a kind, and how many more there are."""

    class Ladder(nb.Strategy):
        def on_bar(self, bar):
            if not self.orders():
                for number in range(13):
                    self.buy(bar.symbol, 1, limit=bar.close - 1 - number / 4, tag="rung")

    system.start({}, data=minutes(50), strategies=Ladder, paused=True)
    system.step(3)
    lines = commands.look(system, "2").message.splitlines()
    assert lines[-2:] == ["  order 10: buy 1 ASSET limit, limit 96.78 (Ladder)", "  and 3 more"]


@pytest.mark.parametrize("at", ["201", "noon", "2024-10-05", "-1", ""])
def test_look_refuses_what_is_no_place_of_the_past(held, at):
    """One line that says what was asked, what there is, and what to write."""
    commands.step(held, 200)
    with pytest.raises(ValueError, match=r"200 instants are completed|is no time; write|later than the run has come"):
        commands.look(held, at)


def test_look_needs_a_run(system):
    """Where nothing was started there is no past."""
    with pytest.raises(RuntimeError, match=r"nothing was started yet; call start\(\) first"):
        commands.look(system, "10:30")


def test_step_says_where_it_came_to(held):
    """The number of instants, and the time of the last."""
    assert commands.step(held).message == "Stepped 1 instant at 2024-10-03 09:31:00-04:00"
    assert commands.step(held, 5).message == "Stepped 5 instants at 2024-10-03 09:36:00-04:00"
    assert held.snapshot().cursor == 6


def test_a_step_past_the_end_says_that_the_run_ended(held):
    """Beyond the last bar, the answer is False and says why."""
    held.run_until("2024-10-10 16:00")
    assert commands.step(held, 3) == Answer("step", False, "stopped", "The run ended before that")


def test_until_a_time(held):
    """A text is a time of the exchange's clock."""
    answer = commands.until(held, "10:30")
    assert (answer.value, answer.state) == (True, "paused")
    assert answer.message == "System paused at 2024-10-03 10:30:00-04:00"


@pytest.mark.parametrize("text", ["next fill", "Next  Fill"])
def test_until_the_next_fill(held, text):
    """Rests at the instant of the fill, however it is spelt; again at the one after it."""
    assert commands.until(held, text).value is True
    first = held.snapshot()
    assert first.n_fills == len(first.last_fills) >= 1
    assert all(fill.index == first.cursor - 1 for fill in first.last_fills)
    commands.until(held, text)
    assert held.snapshot().n_fills > first.n_fills


def test_until_the_next_session(held):
    """Rests when the first bar of the next session is complete."""
    held.step(3)
    for day in ("2024-10-04", "2024-10-07"):
        assert commands.until(held, "next session").message == f"System paused at {day} 09:31:00-04:00"
        assert str(held.snapshot().session_date) == day


def test_back_says_what_lies_ahead(held):
    """And before the first bar says so."""
    commands.step(held, 30)
    answer = commands.back(held, 10)
    assert (answer.value, answer.state, answer.message) == (
        True,
        "paused",
        "System paused at 2024-10-03 09:50:00-04:00",
    )
    assert answer.hint == "10 instants lie ahead: 'system resume' delivers what lies ahead again"
    assert commands.back(held, 20).message == "System paused before the first bar"
    with pytest.raises(ValueError, match=r"back\(1\): 0 instants are completed"):
        commands.back(held)


@pytest.mark.parametrize(
    ("to", "cursor"),
    [
        ("10:00", 30), ("25", 25), ("start", 0), ("end", 300), ("last fill", None), ("fill -1", None), ("fill 0", None),
        ("order 2", None), ("trade 1", None),
    ],
)  # fmt: skip
def test_rewind_to_places_in_words(held, to, cursor):
    """A time, a number of instants, the ends, and events by their numbers; or one instant before."""
    commands.step(held, 300)
    answer = commands.rewind(held, to)
    there = held.snapshot().cursor
    assert (answer.value, there) == (True, there if cursor is None else cursor)
    assert cursor is not None or held.snapshot().last_fills[-1].index + 1 == there or to.startswith("order")
    if there:
        assert commands.rewind(held, to, before=True).value
        assert held.snapshot().cursor == there - 1


def test_back_until_something_happened(held):
    """By the words that until takes too; nothing earlier is no error."""
    commands.step(held, 300)
    assert commands.back_until(held, "fill").value
    last = held.snapshot().cursor
    assert held.snapshot().last_fills[-1].index + 1 == last
    commands.rewind(held, "end")
    assert commands.until(held, "Last fill").value
    assert held.snapshot().cursor == last
    answer = commands.back_until(held, "rejected")
    assert answer.value is False
    assert answer.message == f"There is no such place before {held.snapshot().time}"
    with pytest.raises(ValueError, match="'lunch' is no place; write a time such as 10:30, 'fill'"):
        commands.back_until(held, "lunch")


def test_break_holds_the_run_and_breaks_lists_them(held):
    """What was set, how often it was hit, and which one holds the run: in words, and as data."""
    answer = commands.break_(held, "fill EXE")
    assert (answer.value, answer.message) == (1, "Set breakpoint 1 (fill of EXE)")
    assert answer.hint == "Use 'system breaks --remove 1' to remove it"
    commands.break_(held, "drawdown 10%", once=True)
    answer = commands.step(held, 300)
    assert answer.value is False
    assert answer.message == f"System paused at {held.snapshot().time}: breakpoint 1 (fill of EXE)"
    assert "Breakpoint: 1: fill of EXE" in commands.status(held).message
    answer = commands.breaks(held)
    assert answer.message == "Breakpoint 1: fill of EXE, hit 1 time\nBreakpoint 2: drawdown 10%, once"
    assert json.loads(json.dumps(answer.to_dict()))["data"]["breakpoints"][1] == {
        "number": 2, "when": "drawdown 10%", "once": True, "hits": 0,
    }  # fmt: skip
    assert commands.breaks(held, remove=1).value == [2]
    assert commands.breaks(held, clear=True).message == "No breakpoints"
    assert commands.step(held, 300).value is True
    with pytest.raises(ValueError, match="7 isn't set; no breakpoint is"):
        commands.breaks(held, remove=7)
    with pytest.raises(ValueError, match="'lunch' is no place"):
        commands.break_(held, "lunch")


@pytest.mark.parametrize(("name", "word"), [("back", 1), ("back_until", "fill"), ("rewind", "10:30")])
def test_going_back_needs_a_run(system, name, word):
    """As a step does."""
    with pytest.raises(nb.InvalidTransition, match="can't rewind while STOPPED"):
        getattr(commands, name)(system, word)


def test_a_time_that_cannot_be_read_is_refused(held):
    """One line that shows how a time is written; the run stays where it is."""
    with pytest.raises(ValueError, match=r"'noonish' is no time; write '10:30'"):
        commands.until(held, "noonish")
    assert held.is_paused()


def test_speed_for_now_and_for_the_next_start(system):
    """While stopped it is the next start's, and the answer says so."""
    answer = commands.speed(system, 60)
    assert (answer.message, answer.hint) == ("Speed set: 60 simulated seconds a second", "For the next start")
    commands.start(system, EXAMPLE, paused=True)
    assert system.status()["session"]["speed_multiplier"] == 60
    assert commands.speed(system, 0).message == "Speed set: as fast as it goes"
    with pytest.raises(ValueError, match="speed -1"):
        commands.speed(system, -1)


def test_status_before_any_run_is_its_state(system):
    """There is nothing else to tell."""
    assert commands.status(system).message == "State: STOPPED"


def test_status_tells_the_account(held):
    """Time, progress, speed, equity and positions, a line each; the JSON status is the value."""
    commands.until(held, "next fill")
    answer = commands.status(held)
    told = dict(line.split(": ", 1) for line in answer.message.splitlines())
    assert list(told) == ["State", "Session", "Sim time", "Progress", "Speed", "Equity", "Positions"]
    assert told["Sim time"] == str(held.snapshot().time)
    assert any(symbol in told["Positions"] for symbol in ("EXE", "SW"))
    assert answer.value == answer.data
    assert answer.data["portfolio"]["equity"] == held.snapshot().equity


def test_a_status_tells_the_error(system):
    """Where a strategy raised, its line is there."""

    class Broken(nb.Strategy):
        def on_bar(self, bar):
            raise ValueError("by order")

    system.start(EXAMPLE, strategies=Broken)
    with pytest.raises(nb.StrategyError):
        system.wait(30)
    assert "Error: Broken.on_bar raised" in commands.status(system).message


def test_answers_are_json(held):
    """Every answer can be sent to another process, and is sent once."""
    for answer in (commands.step(held, 2), commands.status(held), commands.stop(held)):
        sent = json.loads(json.dumps(answer.to_dict(), allow_nan=False))
        assert sent["message"] == answer.message
        assert sent["value"] is (None if answer.data else answer.value)


def test_symbols_join_and_leave_by_command(system):
    """The words of adding and removing, with the run held as it was."""
    commands.start(system, EXAMPLE, paused=True)
    commands.step(system, 3)
    added = commands.add(system, "XYZ")
    assert (added.value, added.state) == (True, "paused")
    assert added.message.startswith("XYZ joined the run at 2024")
    assert commands.remove(system, "XYZ").message.startswith("XYZ left the run at 2024")
    with pytest.raises(nb.DataError, match="no symbol 'ABC'"):
        commands.remove(system, "ABC")


@pytest.mark.parametrize("symbol", ["", "../etc/passwd", "a\\b", "a\0"])
def test_a_symbol_that_could_be_a_path_is_refused(system, symbol):
    """A symbol may be put into a file's path, and so none may lead elsewhere."""
    commands.start(system, EXAMPLE, paused=True)
    with pytest.raises(ValueError, match="is no symbol that can be asked for here"):
        commands.add(system, symbol)


class Touches(nb.Strategy):
    """Waits with a touch for what it will never get."""

    def on_bar(self, bar):
        if not self.orders():
            self.buy(size=1, touch=10.0, limit=9.0)


def test_a_look_shows_the_level_of_a_touch():
    """In words and as data."""
    system = nb.SystemManager(reachable=False)
    system.start(data=minutes(10), strategies=Touches, wait=True)
    answer = commands.look(system, "5")
    assert "limit 9, touch 10" in answer.message
    assert answer.data["orders"][0]["touch"] == 10.0
