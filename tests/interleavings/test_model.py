"""All interleavings of a small model of the protocol, whose gate is the engine's own `GateState` and no second writing of it."""

from __future__ import annotations

from unittest import mock

import pytest

from nbbacktest.core.lifecycle import STOPPED, TABLE, Command, Lifecycle
from tests.interleavings.model import PAUSED, RUNNING, Model
from tests.interleavings.mutants import MUTANTS, planted

PAUSE, RESUME, STOP, ADD, ASK = ("pause", 0), ("resume", 0), ("stop", 0), ("add", 0), ("ask", 0)

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
    "ask | pause, resume": Model(3, 2, [ASK], [PAUSE, RESUME]),
    "turns: ask | stop": Model(2, 2, [ASK], [STOP], turn=1),
    "windows of one: speed, pause | until": Model(2, 1, [("speed", 1), PAUSE], [("until", 1)]),
}
"""By what is commanded; `|` stands between controllers. Runs have one to four instants, in windows of one or two."""


def is_of_gate(mutant):
    """Whether a fault is planted into `GateState`."""
    return mutant.method.__qualname__.startswith("GateState.")


@pytest.mark.parametrize("case", CASES)
def test_no_interleaving_of_the_model_breaks_the_protocol(case):
    """No state hangs, delivers while at rest, loses an instant, leaves a thread, or makes a change that the table hasn't."""
    found = CASES[case].search()
    assert found.fault == ""
    assert found.states > 100


OF_THE_GATE = {
    "a rest tells nobody": "pause, step, resume",
    "going on tells nobody": "pause, resume",
    "going on leaves deadlines as they were": "paced: pause, step, resume",
    "a hold leaves the limit": "pause, resume",
    "a publication tells nobody": "ask | pause, resume",
    "windows that were given up are gone on with": "speed | pause, resume",
    "a move ends an instant late": "paused: step, until",
    "the end leaves windows valid": "pause, resume | stop",
    "a new plan tells nobody": "paced: speed | speed",
    "a new plan leaves windows valid": "speed | pause, resume",
    "the last release doesn't go on": "paused: add | step",
    "a place that is reached already isn't noticed": "paused: step, until",
    "a hold at rest doesn't say so": "paced: pause, step, resume",
    "a question leaves the limit": "ask | pause, resume",
    "a command answers before the run has ended": "pause, resume | stop",
    "what is asked for isn't the last publication": "turns: ask | stop",
    "a run that has ended tells nobody": "pause, resume | stop",
}
"""The faults of the list that are the gate's, and the case that shows each."""

SLOWER = {
    "going on leaves deadlines as they were", "a hold leaves the limit", "a publication tells nobody",
    "windows that were given up are gone on with", "the end leaves windows valid", "a new plan tells nobody",
    "a new plan leaves windows valid", "a place that is reached already isn't noticed", "a question leaves the limit",
}  # fmt: skip
"""Of these, those that only make a command wait, or an instant come, longer: no state of the model shows it, since there a
deadline may pass at any time. Schedules show them by how long they take, but for the one that is harmless."""


@pytest.mark.parametrize("mutant", [one for one in MUTANTS if is_of_gate(one)], ids=lambda mutant: mutant.name)
def test_the_model_finds_what_is_planted_into_the_gate(mutant):
    """The model has the engine's gate: a fault there is a fault of the model, and its case shows it."""
    with planted(mutant):
        assert bool(CASES[OF_THE_GATE[mutant.name]].search().fault) is (mutant.name not in SLOWER)


@pytest.mark.parametrize(("fault", "case"), [("plans at once", [PAUSE, RESUME]), ("takes any", [("speed", 1)])])
def test_the_model_sees_a_missing_check(fault, case):
    """A stage that plans while a window is under way, or hands out one that was given up, is found."""
    model = Model(3, 1, case, [PAUSE, RESUME], faults=frozenset({fault}))
    assert model.search().fault


ELSEWHERE = {
    (RUNNING, Command.PAUSE): "a pause that is heard is a rest that is reported",
    (PAUSED, Command.FAIL): "what fails a run at rest comes from outside of the protocol",
    (RUNNING, Command.REWIND): "a jump is gone through by the whole manager: see `system_world`",
    (PAUSED, Command.REWIND): "a jump is gone through by the whole manager: see `system_world`",
    (STOPPED, Command.REWIND): "another run takes the place of one that has ended: see `system_world`",
} | {
    (state, command): "changes no state"
    for state in (RUNNING, PAUSED)
    for command in (Command.ADD, Command.REMOVE, Command.INPUT)
}
"""The rows of the table that no state of the model goes through, and why."""


def test_the_model_goes_through_the_engines_table(monkeypatch):
    """Every row is gone through by the model, or named here: a new command can't be left out of it unnoticed."""
    gone_through, apply = set(), Lifecycle.apply

    def noted(life, command):
        gone_through.add((life.state, command))
        return apply(life, command)

    monkeypatch.setattr(Lifecycle, "apply", noted)
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
        assert CASES["pause, resume"].search().fault
