"""The commands by which a user trades by hand, as every face calls them."""

from __future__ import annotations

import pytest

import nbbacktest as nb
from nbbacktest.shell.interpreter import Interpreter
from nbbacktest.system.commands import COMMANDS
from tests.markets import minutes

ALWAYS = {"exchange": "24/7"}


class Fast(nb.Strategy):
    """Has a parameter, and is told."""

    length: int = 9

    def on_bar(self, bar):
        pass

    def on_change(self, changed):
        pass


@pytest.fixture
def system():
    system = nb.SystemManager(reachable=False)
    system.start(ALWAYS, data={"A": minutes(100)}, strategies=Fast, paused=True)
    system.step(20)
    yield system
    if not system.is_stopped():
        system.stop()


def said(system, command, *words, **options):
    answer = COMMANDS[command](system, *words, **options)
    assert answer.command == command
    return answer.message


def test_the_dialogue_of_a_hand(system):
    assert said(system, "inputs") == "Nothing was done by hand"
    assert said(system, "close", "A").startswith("There is no position of the hand to close at 2024-10-03 09:50")
    assert said(system, "buy", "A", 5.0, trail="2%").startswith("Order 1 buy 5 A trailing_stop")
    assert said(system, "cancel", 1).startswith("Order 1 of hand cancelled at 2024-10-03 09:50")
    assert said(system, "sell", "A", 2.0, limit=1e6, strategy="Fast").startswith(
        "Order 2 sell 2 A limit limit 1e+06: open"
    )
    assert said(system, "change", "length=4").startswith("length=4 by hand at")
    assert said(system, "change", "length=4") == "length is 4 already"
    answer = COMMANDS["inputs"](system)
    assert answer.message.splitlines()[0] == "A run with 6 inputs by hand"
    assert [one["what"] for one in answer.data["inputs"]] == ["close", "buy", "cancel", "sell", "change", "change"]
    assert said(system, "undo").startswith("System paused at")
    assert said(system, "redo").startswith("System paused at")
    assert said(system, "redo").startswith("Nothing was taken back")
    for _ in range(6):
        assert COMMANDS["undo"](system).value is True
    assert said(system, "undo") == "Nothing was done by hand before this place"


def test_a_setting_is_a_name_and_a_value(system):
    for setting in ("length", "=4", "1x=3"):
        with pytest.raises(ValueError, match="NAME=VALUE"):
            COMMANDS["change"](system, setting)
    with pytest.raises(nb.ConfigError, match="lenght"):
        COMMANDS["change"](system, "lenght=4")


def test_the_shell_trades(system, capsys):
    """Options, negative words and errors come through."""
    shell = Interpreter(system)
    for line in ("buy A 5 --stop-loss 90 --tag mine", "step", "close A", "step", "inputs", "buy B 1", "undo"):
        shell.execute(line)
    told = capsys.readouterr()
    assert "Order 1 buy 5 A market: open placed by hand" in told.out
    assert "A run with 2 inputs by hand" in told.out
    assert "no symbol 'B'" in told.err + told.out


def test_a_rejected_order_is_said_to_be():
    system = nb.SystemManager(reachable=False)
    system.start(ALWAYS, data={"A": minutes(20), "B": minutes(100, seed=2)}, strategies=Fast, paused=True)
    system.step(30)
    assert "rejected (A has no bar any more" in said(system, "buy", "A", 1.0)
    system.stop()


def test_a_status_says_where_the_run_stands(system):
    assert system.status()["session"]["place"] == {
        "cursor": 20, "inputs": 0, "horizon": 20, "in_past": False, "travelling": None,
    }  # fmt: skip
    system.buy(size=1)
    system.back(5)
    place = system.status()["session"]["place"]
    assert place == {"cursor": 15, "inputs": 0, "horizon": 20, "in_past": True, "travelling": None}
    assert "In the past: 15 of 20 instants" in said(system, "status")
    system.rewind("end")
    assert "By hand: 1 input" in said(system, "status")


def test_what_can_not_be_done_by_hand_now_says_its_name():
    system = nb.SystemManager(reachable=False)
    with pytest.raises(nb.InvalidTransition, match="can't buy while STOPPED"):
        system.buy(size=1)
