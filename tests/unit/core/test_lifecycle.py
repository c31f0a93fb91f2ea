"""The state table: what each state allows, where it leads, and what a refusal tells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.enums import SystemState
from nbbacktest.core.errors import InvalidTransition
from nbbacktest.core.lifecycle import HOLDS, TABLE, Command, Lifecycle

REPORTS = {"rest", "finish", "fail"}


def in_state(state: SystemState) -> Lifecycle:
    life = Lifecycle()
    if state is not SystemState.STOPPED:
        life.apply(Command.START)
    if state is SystemState.PAUSED:
        life.apply(Command.PAUSE)
    return life


@pytest.mark.parametrize(("state", "command"), sorted(TABLE))
def test_every_row_of_the_table_leads_where_it_says(state, command):
    """Applying an allowed command gives the table's state."""
    life = in_state(state)
    assert life.allows(command) is True
    assert life.apply(command) is TABLE[state, command]
    assert life.state is TABLE[state, command]


@pytest.mark.parametrize(("state", "command"), sorted(HOLDS))
def test_what_holds_already_changes_nothing(state, command):
    """A command whose wish holds answers False, and neither state nor history moves."""
    life = in_state(state)
    before = life.history
    assert life.allows(command) is False
    assert life.apply(command) is state
    assert life.history == before


@pytest.mark.parametrize("state", list(SystemState))
@pytest.mark.parametrize("command", list(Command))
def test_everything_else_is_refused_with_the_way_out(state, command):
    """Any other command raises InvalidTransition with state, command and what is allowed; no report is offered."""
    life = in_state(state)
    if (state, command) in TABLE or (state, command) in HOLDS:
        return
    with pytest.raises(InvalidTransition, match=f"can't {command} while {state.name}; allowed here: ") as caught:
        life.apply(command)
    assert life.state is state
    assert set(caught.value.allowed) == {c.value for s, c in TABLE if s is state} - REPORTS


def test_no_command_is_both_allowed_and_idle():
    """A pair of state and command is in one of the two tables at most."""
    assert not set(TABLE) & HOLDS


def test_the_listener_hears_changes_only():
    """The callback is told each new state; a transition back into the same state is none."""
    heard = []
    life = Lifecycle(heard.append)
    for command in (Command.START, Command.RUN_UNTIL, Command.START, Command.PAUSE, Command.STOP, Command.STOP):
        life.apply(command)
    assert heard == ["running", "paused", "stopped"]


def test_the_story_is_told_with_the_refusal():
    """A refusal ends with the last events, the oldest forgotten after eight."""
    life = Lifecycle()
    for _ in range(10):
        life.apply(Command.START)
        life.apply(Command.STOP)
    assert len(life.history) == 8
    with pytest.raises(InvalidTransition, match=r"Last events: .*stop: running -> stopped\.$"):
        life.apply(Command.RESUME)


@given(st.lists(st.sampled_from(list(Command)), max_size=40))
def test_any_sequence_stays_within_the_three_states(commands):
    """Whatever is asked for, in any order: the state is one of the three, and every event is a row of the table."""
    life = Lifecycle()
    for command in commands:
        before = life.state
        try:
            after = life.apply(command)
        except InvalidTransition:
            after = before
        assert life.state is after
        assert after is before or TABLE[before, command] is after
