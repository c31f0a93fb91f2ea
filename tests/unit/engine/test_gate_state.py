"""The gate as a value: events in, decisions out, without a thread, a lock or a clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.enums import SystemState
from nbbacktest.core.errors import InvalidTransition
from nbbacktest.core.lifecycle import Command, Lifecycle
from nbbacktest.engine.gate_state import UNLIMITED, USER, Decision, GateState, JumpRequest, MoveRequest

GO, PUBLISH, REST, LEAVE, CLOSED = Decision.GO, Decision.PUBLISH, Decision.REST, Decision.LEAVE, Decision.CLOSED


def started(*, paused=False):
    """The gate of a run whose analysis is ready."""
    life = Lifecycle()
    state = GateState(life)
    life.apply(Command.START)
    if paused:
        state.hold_for_user(0.0)
    state.start(0.0)
    return state


def at(state, cursor, *, published=None, turn=UNLIMITED, now=0.0, **options):
    """What is decided at a boundary; what was published last is as of it, where nothing else is said."""
    return state.boundary(cursor, state.generation, cursor if published is None else published, turn, now, **options)


def test_a_run_that_is_not_held_goes_on_to_its_turn():
    """The limit is where the turn ends; the gate knows that strategies are called."""
    state = started()
    assert at(state, 3, turn=5) is GO
    assert (state.limit, state.busy, state.cursor) == (8, True, 3)


def test_a_pause_publishes_and_then_rests():
    """The limit falls at once; at the next boundary what was done is published before the state says PAUSED."""
    state = started()
    at(state, 0)
    assert state.pause(1.0) is True
    assert (state.limit, state.pause_answer()) == (0, None)
    assert at(state, 4, published=0) is PUBLISH
    assert state.life.state is SystemState.RUNNING
    assert at(state, 4) is REST
    assert (state.life.state, state.pause_answer(), state.busy) == (SystemState.PAUSED, True, False)


def test_a_pause_at_rest_is_one_at_once():
    """Between two windows the analysis comes to no boundary, and isn't waited for."""
    state = started()
    at(state, 0)
    assert at(state, 2, leaving=True) is LEAVE
    state.pause(1.0)
    assert state.pause_answer() is True


def test_a_resume_before_the_rest_answers_the_pause_with_false():
    """The pause is taken back, and tells its caller so."""
    state = started()
    at(state, 0)
    state.pause(1.0)
    assert state.resume(2.0) is True
    assert (state.pause_answer(), state.resume(3.0)) == (False, False)
    assert at(state, 1) is GO


def test_a_step_bounds_the_cursor_and_holds_for_the_user():
    """The limit is the place; there the move is over and reached."""
    state, move = started(paused=True), MoveRequest(stepping=True)
    state.set_out(Command.STEP, move, 2, 1.0)
    assert at(state, 0) is GO
    assert (state.limit, state.move_answer(move)) == (2, None)
    assert at(state, 2) is REST
    assert (state.move_answer(move), move.reached, state.move) == (True, True, None)


def test_a_later_move_answers_the_earlier_with_false():
    """One run goes to one place."""
    state, early, late = started(), MoveRequest(), MoveRequest()
    at(state, 0)
    state.set_out(Command.RUN_UNTIL, early, 5, 1.0)
    state.set_out(Command.RUN_UNTIL, late, 3, 1.0)
    assert (state.move_answer(early), state.move_answer(late)) == (False, None)
    assert at(state, 3, leaving=True) is LEAVE
    assert state.move_answer(late) is True


def test_a_place_that_the_run_rests_at_is_reached_at_once():
    """The analysis doesn't have to come to a boundary for that."""
    state, move = started(paused=True), MoveRequest()
    state.set_out(Command.RUN_UNTIL, move, 0, 1.0)
    assert (state.move_answer(move), state.life.state) == (True, SystemState.PAUSED)


def test_a_watcher_is_asked_about_each_instant_after_the_first():
    """The limit is the next instant; every one is published; the one that is found is rested at."""
    state, move = started(paused=True), MoveRequest(watcher=bool)
    state.set_out(Command.RUN_UNTIL, move, None, 1.0)
    assert state.move_watched_at(0) is None
    assert at(state, 0) is GO
    assert state.limit == 1
    assert at(state, 1, published=0, fresh=True) is PUBLISH
    assert state.move_watched_at(1) is move
    state.watched(move, True, None, 1.0)
    assert at(state, 1) is REST
    assert state.move_answer(move) is True


def test_a_move_that_is_given_up_holds_the_run():
    """A command that waits no longer leaves a paused run; one that was over before changes nothing."""
    state, move = started(), MoveRequest()
    at(state, 0)
    state.set_out(Command.RUN_UNTIL, move, 9, 1.0)
    state.give_up(move, 2.0)
    assert at(state, 1) is REST
    state.resume(3.0)
    state.give_up(move, 4.0)
    assert at(state, 1) is GO


def test_holds_are_counted_by_holder_and_the_users_is_one():
    """The run goes on with the last of them."""
    state = started()
    for _ in range(2):
        state.hold("a", 1.0)
        state.hold_for_user(1.0)
    state.resume(2.0)
    state.release("a", 2.0)
    assert at(state, 0) is REST
    state.release("a", 3.0)
    assert at(state, 0) is GO


def test_what_is_asked_for_is_answered_by_the_next_publication():
    """A question makes the analysis publish at its next boundary; at rest between windows it is answered already."""
    state = started()
    assert state.ask() == 0
    at(state, 0)
    number = state.ask()
    assert (number, state.is_answered(number), state.limit) == (1, False, 0)
    assert at(state, 1) is PUBLISH
    assert not state.is_answered(number)
    assert at(state, 1) is GO
    assert state.is_answered(number)


def test_a_run_that_was_told_to_end_answers_when_it_has():
    """In between neither its state nor its last frame is the final one."""
    state, move = started(), MoveRequest()
    at(state, 0)
    state.set_out(Command.RUN_UNTIL, move, 5, 1.0)
    state.pause(1.0)
    state.close()
    assert at(state, 1) is CLOSED
    assert [state.pause_answer(), state.move_answer(move), state.hold_answer(), state.is_answered(state.ask())] == [
        None,
        None,
        None,
        False,
    ]
    state.close(Command.STOP)
    assert [state.pause_answer(), state.move_answer(move), state.hold_answer(), state.is_answered(state.ask())] == [
        False,
        False,
        False,
        True,
    ]


def test_a_new_plan_gives_windows_up_and_moves_the_place_of_a_run_until():
    """Instants may have other numbers then; a step counts them, and keeps its number."""
    for move, target in ((MoveRequest(), 14), (MoveRequest(stepping=True), 4)):
        state = started(paused=True)
        state.set_out(Command.STEP if move.stepping else Command.RUN_UNTIL, move, 4, 1.0)
        before = state.generation
        state.replan(2.0, paced=False, renumber=lambda number: number + 10)
        assert (move.target, state.generation, state.limit) == (target, before + 1, 0)
        assert state.boundary(0, before, 0, UNLIMITED, 2.0) is LEAVE


def test_going_on_gives_up_what_a_clock_had_planned():
    """What was due before the hold is due anew; without a clock the window in hand stays good."""
    for paced in (False, True):
        state = started()
        state.replan(1.0, paced=paced)
        before = state.generation
        state.hold("a", 2.0)
        state.release("a", 3.0)
        assert state.generation == before + paced
        assert state.moving_since == (3.0, 0)


def test_the_end_of_the_data_is_the_runs_unless_it_is_held():
    """A held run stays; one that isn't takes no pause any more, and says so when it has ended."""
    state = started(paused=True)
    assert state.finish() is False
    state.resume(1.0)
    assert state.finish() is True
    state.pause(2.0)
    assert (state.life.state, state.pause_answer()) == (SystemState.RUNNING, None)
    state.close(Command.FINISH)
    assert state.pause_answer() is False


def test_a_closed_gate_touches_the_table_no_more():
    """The table is the system's: where a run is over it may speak of the next one."""
    state = started()
    state.close(Command.STOP)
    state.life.apply(Command.START)
    state.hold_for_user(1.0)
    state.start(1.0)
    state.set_out(Command.RUN_UNTIL, MoveRequest(), 0, 1.0)
    assert state.life.state is SystemState.RUNNING


def test_a_jump_that_was_cut_off_before_it_was_asked_for_holds_nothing_once_mended():
    state = started()
    state.hold(JumpRequest(lambda cursor: cursor), 0.0)
    state.mend(0.0)
    assert not state.holders


def test_an_analysis_that_can_not_wait_leaves():
    """A run without threads is left in the hands of its caller where it would block it."""
    state = started()
    state.hold("a", 1.0)
    assert at(state, 1, waits=False) is LEAVE
    assert state.ask() == 0


EVENTS = {
    "pause": lambda state, moves: state.pause(0.0),
    "resume": lambda state, moves: state.resume(0.0),
    "step": lambda state, moves: state.set_out(Command.STEP, moves[-1], state.cursor + 1, 0.0),
    "until": lambda state, moves: state.set_out(Command.RUN_UNTIL, moves[-1], state.cursor + 2, 0.0),
    "give up": lambda state, moves: state.give_up(moves[0], 0.0),
    "hold": lambda state, moves: state.hold("a", 0.0),
    "release": lambda state, moves: state.release("a", 0.0),
    "replan": lambda state, moves: state.replan(0.0, paced=False),
    "ask": lambda state, moves: state.ask(),
    "mend": lambda state, moves: state.mend(0.0),
    "close": lambda state, moves: state.close(),
}


@given(st.lists(st.sampled_from([*EVENTS, *["boundary"] * 4]), max_size=30))
def test_no_events_break_what_at_rest_means(names):
    """PAUSED is at rest for the user with all published; nothing is delivered while held; a move is over when it is left."""
    state, moves, published = started(), [MoveRequest()], 0
    for name in names:
        if name == "boundary":
            cursor = min(state.limit, state.cursor + 1) if state.busy else state.cursor
            while (decision := at(state, max(cursor, state.cursor), published=published)) is PUBLISH:
                published = state.cursor
            assert (decision is GO) is (state.busy and not state.closed)
        else:
            moves.append(MoveRequest(stepping=name == "step"))
            try:
                EVENTS[name](state, moves)
            except InvalidTransition:
                moves.pop()
        if state.life.state is SystemState.PAUSED:
            assert USER in state.holders
            assert not state.busy
            assert state.move is None
        if state.holders or state.closed:
            assert state.limit <= state.cursor
        assert all(move.over or move is state.move for move in moves if move.begun)
