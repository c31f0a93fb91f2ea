"""All interleavings of a small model of the protocol, whose states change by the table that the engine has."""

from __future__ import annotations

from unittest import mock

import pytest

from nbbacktest.core.lifecycle import TABLE, Command
from tests.interleavings.model import PAUSED, RUNNING, STOPPED, Model
from tests.interleavings.model_state import State

PAUSE, RESUME, STOP, ADD = ("pause", 0), ("resume", 0), ("stop", 0), ("add", 0)

CASES = {
    "alone": Model(4, 2, []),
    "pause, resume": Model(3, 2, [PAUSE, RESUME]),
    "pause, step, resume": Model(3, 2, [PAUSE, ("step", 2), RESUME]),
    "paused: step, until": Model(4, 2, [("step", 1), ("until", 3)], paused=True),
    "pause, resume | pause": Model(2, 2, [PAUSE, RESUME], [PAUSE]),
    "pause, resume | stop": Model(2, 2, [PAUSE, RESUME], [STOP]),
    "step | resume, pause": Model(2, 2, [("step", 1)], [RESUME, PAUSE], paused=True),
    "until | until": Model(3, 2, [("until", 1)], [("until", 2)]),
    "add | pause, resume": Model(2, 2, [ADD], [PAUSE, RESUME]),
    "paused: add | step": Model(3, 2, [ADD], [("step", 1)], paused=True),
    "speed | pause, resume": Model(2, 1, [("speed", 1)], [PAUSE, RESUME]),
    "paced: speed | pause, resume": Model(2, 2, [("speed", 0)], [PAUSE, RESUME], speed=1),
    "paced: pause, step, resume": Model(2, 2, [PAUSE, ("step", 1), RESUME], speed=1),
    "paced: add | stop": Model(1, 1, [ADD], [STOP], speed=1),
    "paced: speed | speed": Model(2, 2, [("speed", 0)], [("speed", 2)], speed=1),
    "a callback raises | pause, resume": Model(3, 2, [PAUSE, RESUME], raises_at=1),
    "held at an error: pause, resume | resume": Model(2, 2, [PAUSE, RESUME], [RESUME], raises_at=1, on_error="pause"),
    "stop | stop": Model(2, 2, [STOP], [STOP]),
    "turns: pause, step | add": Model(2, 2, [PAUSE, ("step", 1)], [ADD], turn=1),
    "windows of one: speed, pause | until": Model(2, 1, [("speed", 1), PAUSE], [("until", 1)]),
}
"""By what is commanded; `|` stands between controllers. Runs have one to four instants, in windows of one or two."""

FAULTS = {
    "a rest tells nobody": ("pause, step, resume", "come_to_rest"),
    "going on tells nobody": ("pause, resume", "move_on"),
    "the end tells nobody": ("pause, resume | stop", "end"),
}
"""Sections whose notification is left out, and the case that shows it."""


@pytest.mark.parametrize("case", CASES)
def test_no_interleaving_of_the_model_breaks_the_protocol(case):
    """No state hangs, delivers while at rest, loses an instant, leaves a thread, or makes a change that the table hasn't."""
    found = CASES[case].search()
    assert found.fault == ""
    assert found.states > 100


@pytest.mark.parametrize("fault", FAULTS)
def test_the_model_sees_a_lost_notification(fault, monkeypatch):
    """A section that tells nobody leaves somebody waiting in some interleaving."""
    case, section = FAULTS[fault]
    whole = getattr(State, section)

    def silent(state, *args, **options):
        asleep = state.asleep
        whole(state, *args, **options)
        state.asleep = asleep

    monkeypatch.setattr(State, section, silent)
    assert CASES[case].search().fault


def test_the_model_sees_a_hold_at_rest_that_is_not_said(monkeypatch):
    """Where a paced run that is at rest already is held, the analysis doesn't come by to say so."""
    monkeypatch.setattr(State, "hold_for_user", lambda state: state.hold(user=True))
    assert CASES["paced: pause, step, resume"].search().fault


@pytest.mark.parametrize(
    ("fault", "case"),
    [("plans at once", [PAUSE, RESUME]), ("takes any", [("speed", 1)]), ("answers early", [STOP])],
)
def test_the_model_sees_a_missing_check(fault, case):
    """Who plans while a window is under way, hands out one that was given up, or answers before the end, is found."""
    model = Model(3, 1, case, [PAUSE, RESUME], faults=frozenset({fault}))
    assert model.search().fault


ELSEWHERE = {
    (STOPPED, Command.START): "a model's run has been started",
    (RUNNING, Command.PAUSE): "a pause that is heard is a rest that is reported",
    (PAUSED, Command.FAIL): "what fails a run at rest comes from outside of the protocol",
} | {(state, command): "changes no state" for state in (RUNNING, PAUSED) for command in (Command.ADD, Command.REMOVE)}
"""The rows of the table that no state of the model goes through, and why."""


def test_the_model_goes_through_the_engines_table(monkeypatch):
    """Every row is gone through by the model, or named here: a new command can't be left out of it unnoticed."""
    gone_through, apply = set(), State.apply

    def noted(state, command):
        gone_through.add((state.life, command))
        apply(state, command)

    monkeypatch.setattr(State, "apply", noted)
    small = ["alone", "pause, resume", "paused: step, until", "until | until", "a callback raises | pause, resume"]
    assert [CASES[case].search().fault for case in small] == [""] * len(small)
    assert Model(1, 1, [STOP], paused=True).search().fault == ""
    assert Model(1, 1, [STOP]).search().fault == ""
    assert gone_through | set(ELSEWHERE) == set(TABLE)
    assert not gone_through & set(ELSEWHERE)


@pytest.mark.parametrize("command", [Command.REST, Command.FINISH])
def test_what_the_table_has_not_the_model_can_not(command):
    """A transition that is missing from the engine's table is a fault of the model: both have one table."""
    with mock.patch.dict(TABLE):  # which keeps its order, as the pictures of the pages do
        del TABLE[RUNNING, command]
        assert "the table has no" in CASES["pause, resume"].search().fault
