"""The state of a run's gate: each event changes it, and it decides. It has no lock, thread or clock.

`RunGate` changes it under its lock and waits for what it decides. The model in `tests/interleavings` goes through
all its interleavings.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from nbbacktest.core.enums import SystemState
from nbbacktest.core.lifecycle import Command, Lifecycle

UNLIMITED = 1 << 62
USER = "user"
"""The holder that stands for the user's own pause."""

Watcher = Callable[[Any], object]


class Decision(Enum):
    """The answer of the gate at a boundary between two instants.

    GO: deliver instants up to the limit. PUBLISH: publish a frame, ask the watcher, and come to the boundary again.
    JUMP: go to the place of the jump that was asked for, and leave. REST: wait for news, and come to the boundary again. LEAVE: at rest; the window or the turn is done or given up.
    CLOSED: the run is over.
    """

    GO = auto()
    PUBLISH = auto()
    JUMP = auto()
    REST = auto()
    LEAVE = auto()
    CLOSED = auto()


class MoveRequest:
    """A step or a run_until: a place at which the run is to rest. The gate's state writes it.

    Attributes
    ----------
    after : int
        Completed instants when the move began; the watcher is asked about later ones.
    target : int or None
        Completed instants to rest at.
    watcher : callable or None
        Asked by the analysis, with no lock held, after each instant.
    stepping : bool
        True for a step, which doesn't wait for the clock.
    begun : bool
        True once the run was set in motion for it.
    over : bool
        True once the run rests, or goes on for another command.
    reached : bool
        True once the run came to the place.
    error : BaseException or None
        The exception of the watcher.
    """

    __slots__ = ("after", "begun", "error", "over", "reached", "stepping", "target", "watcher")

    def __init__(
        self, after: int = 0, target: int | None = None, watcher: Watcher | None = None, *, stepping: bool = False
    ) -> None:
        self.after = after
        self.target = target
        self.watcher = watcher
        self.stepping = stepping
        self.begun = False
        self.over = False
        self.reached = False
        self.error: BaseException | None = None

    def limit(self, cursor: int) -> int:
        """The cursor at which a run that stands at `cursor` has to ask the gate again."""
        if self.watcher is not None:
            return cursor + 1
        return UNLIMITED if self.target is None else self.target


class JumpRequest:
    """A rewind: a place of the past at which the run is to rest. The gate's state writes it, and holds the run by it.

    Attributes
    ----------
    place : callable
        The place to go to, from the cursor at which the run stands; asked by the analysis, with no lock held. It may raise.
    over : bool
        True once the run rests there, or stays for an error, or goes on for another command.
    reached : bool
        True once the run stands at the place.
    error : BaseException or None
        The reason why it stayed.
    """

    __slots__ = ("error", "over", "place", "reached")

    def __init__(self, place: Callable[[int], Any]) -> None:
        self.place = place
        self.over = False
        self.reached = False
        self.error: BaseException | None = None


class GateState:
    """Holds a run at an instant, exactly.

    *At rest* means: the cursor can't pass the limit and no strategy's call is under way. The analysis rests at a
    boundary and between its windows. It publishes before it rests, so that the frame is then as of the cursor.

    Each method is one event. `now` is the clock's time at the event, in seconds.

    Parameters
    ----------
    life
        The state table of the system.

    Attributes
    ----------
    limit : int
        The cursor must stay below it for another instant to be delivered. The analysis reads it without the lock, once
        an instant, and so sees a change before its next instant.
    generation : int
        Rises with every new plan; windows of an older one are given up at the next boundary.
    cursor : int
        Completed instants, as of the last boundary.
    holders : dict
        For each holder, how many of its holds are open.
    move : MoveRequest or None
        The step or run_until that is under way.
    jump : JumpRequest or None
        The rewind that is asked for or under way.
    ahead : int
        A cursor at which the analysis comes to a boundary: in the past of a run, the next place that something is done at.
    stop_at : int
        Another one: the next date of a breakpoint. Written by the analysis.
    trouble : BaseException or None
        The error that the run is held for; None again when the run goes on.
    busy : bool
        True while strategies are called, and so from before the start on.
    resting : bool
        True while the analysis waits at a boundary, where it can be asked to publish.
    paced : bool
        True if a clock says when an instant is due.
    asked, answering, answered : int
        Numbers of requests for a fresh frame: the newest one, the newest that the frame under way answers, the newest
        that is answered.
    moving_since : (float, int)
        When, and at which cursor, the run was last set in motion: started, resumed, or planned again.
    moved_before : float
        Seconds in motion before `moving_since`; while the run is held, all seconds in motion.
    is_moving : bool
        True from the start on while the run isn't held.
    interrupted_at : float
        When the present hold, or else the last new plan, began.
    started, finishing, closed, ended : bool
        The analysis is ready for its first window; no instant follows any more; the run was told to end; it has ended.
    has_news : bool
        True if a thread that waits for the gate has to look again. `RunGate` takes it down.
    is_set_going : bool
        True if a run without threads has to be given a turn. `RunGate` takes it down.
    """

    def __init__(self, life: Lifecycle, now: float = 0.0) -> None:
        self.life = life
        self.limit = 0
        self.generation = 0
        self.cursor = 0
        self.holders: dict[object, int] = {}
        self.move: MoveRequest | None = None
        self.jump: JumpRequest | None = None
        self.ahead = 0
        self.stop_at = 0
        self.trouble: BaseException | None = None
        self.busy = True
        self.resting = False
        self.paced = False
        self.asked = self.answering = self.answered = 0
        self.moving_since = (now, 0)
        self.moved_before = 0.0
        self.is_moving = False
        self.interrupted_at = now
        self.started = False
        self.finishing = False
        self.closed = False
        self.ended = False
        self.has_news = False
        self.is_set_going = False

    # -- commands -------------------------------------------------------------------------------------------

    def pause(self, now: float) -> bool:
        """Hold the run for its user; False if it is paused already."""
        if not self.life.allows(Command.PAUSE):
            return False
        if not self.closed:
            self.hold_for_user(now)
        return True

    def resume(self, now: float) -> bool:
        """Undo the user's pause, at rest already or not; False if there is none."""
        paused = self.life.allows(Command.RESUME)
        if self.closed or not (paused or USER in self.holders):
            return False
        if paused:
            self.life.apply(Command.RESUME)
        self._go(None, now)
        return True

    def set_out(self, command: Command, move: MoveRequest, target: int | None, now: float) -> None:
        """Begin a step or a run_until; a run that is over isn't moved."""
        move.after, move.target = self.cursor, target
        # The table is the system's: if this run is over, the table may be about the next one.
        if not self.life.allows(command) or self.closed:
            return
        move.begun = True  # from here on an interrupt holds the run
        self.life.apply(command)
        self._go(move, now)
        if not self.busy and move.target is not None and self.cursor >= move.target:
            # the run is at the place already, and the analysis comes to no boundary that would show it
            self._reach(move, now)
            self._come_to_rest()

    def ask_jump(self, jump: JumpRequest, now: float) -> None:
        """Ask for a rewind, in place of the one that is under way; a run that is over stays where it is."""
        if not self.life.allows(Command.REWIND) or self.closed:
            return
        self.hold(jump, now)
        self._leave_jump(now)
        self.jump = jump

    def give_up_jump(self, jump: JumpRequest, now: float) -> None:
        """Rest at once where the command that asked for `jump` was interrupted."""
        if jump is self.jump and not self.closed:
            self.hold_for_user(now)
            self._leave_jump(now)

    def give_up(self, move: MoveRequest, now: float) -> None:
        """Rest at once if the command that asked for `move` waits no longer: it timed out or was interrupted."""
        if move.begun and not (move.over or self.closed):
            self.hold_for_user(now)

    def hold_for_user(self, now: float, trouble: BaseException | None = None) -> None:
        """Hold the run at its next boundary as a pause does; `trouble` is the error that is the reason."""
        self.trouble = self.trouble or trouble
        self.hold(USER, now)
        if not self.busy:
            self._come_to_rest()  # the analysis has no window and comes to no boundary

    def hold(self, holder: object, now: float) -> None:
        """Hold the run; the holds of one holder are counted, the user's is one."""
        if not self.holders:
            self.interrupted_at = now
        if self.is_moving:
            self.moved_before += now - self.moving_since[0]
            self.is_moving = False
        self.holders[holder] = 1 if holder == USER else self.holders.get(holder, 0) + 1
        self.limit = 0
        self.has_news = True

    def release(self, holder: object, now: float) -> None:
        """Undo one hold of that holder; the run goes on if no other is left."""
        left = self.holders.get(holder, 0) - 1
        if left > 0:
            self.holders[holder] = left
        else:
            self.holders.pop(holder, None)
        if not self.holders:
            self._move_on(now)
        elif self.jump is not None:
            self.has_news = True  # the analysis may have waited for this holder

    def replan(self, now: float, *, paced: bool, renumber: Callable[[int], int] | None = None) -> None:
        """Make all windows invalid; see `RunGate.replan`."""
        self.paced = paced
        move = self.move
        if renumber is not None and move is not None and move.target is not None and not move.stepping:
            move.target = renumber(move.target)
        if not self.holders:
            self.interrupted_at = now
            self._set_in_motion(now)
        self.generation += 1
        self.limit = 0
        self.has_news = True

    def ask(self) -> int | None:
        """Ask for a fresh frame; returns the number of the request, for `is_answered`, or None before the start."""
        if self.closed:
            return UNLIMITED  # the last frame, which is about to be published, is the newest
        if not self.started:
            return None
        if not self.busy and not self.resting:
            return 0  # between windows or turns: the last frame is as of the cursor
        self.asked += 1
        self.limit = 0
        self.has_news = True
        return self.asked

    def close(self, command: Command | None = None) -> None:
        """Tell the run to end; with a command (STOP, FINISH or FAIL), note that it has ended."""
        self.closed = True
        self.ended = self.ended or command is not None
        self.limit = 0
        self.generation += 1  # instants that were released and not delivered are never delivered
        if command is not None and self.life.state is not SystemState.STOPPED:
            self.life.apply(command)
        self.life.tell()
        self.has_news = self.is_set_going = True

    def mend(self, now: float) -> None:
        """Make all fields agree with the holders again, after an interrupt has cut a command in two."""
        for holder in [one for one in self.holders if isinstance(one, JumpRequest) and one is not self.jump]:
            del self.holders[holder]  # cut between its hold and its place in `jump`
        if not self.holders:
            self._move_on(now)
        elif not self.busy:
            self._come_to_rest()
        self.limit = 0
        self.life.tell()
        self.has_news = True

    # -- answers: None means that the command waits on ------------------------------------------------------

    def pause_answer(self) -> bool | None:
        """True at rest for the user, False if the run ended or was resumed first."""
        rests = self.life.state is SystemState.PAUSED
        return self._answer(arrived=rests or USER not in self.holders, answer=rests)

    def move_answer(self, move: MoveRequest) -> bool | None:
        """True if the run rests at the place of `move`; False if it ended, or another command moved it, before."""
        return self._answer(arrived=move.over, answer=move.reached)

    def jump_answer(self, jump: JumpRequest) -> bool | None:
        """True if the run rests at the place of `jump`, False if it stayed, ended, or another command moved it, first."""
        return self._answer(arrived=jump.over and not (jump.reached and self.busy), answer=jump.reached)

    def hold_answer(self) -> bool | None:
        """True if the run rests at an instant, False if it has ended."""
        return self._answer(arrived=not self.busy, answer=True)

    def is_answered(self, number: int) -> bool:
        """True if the frame that was asked for by that number is published."""
        return self.ended or self.answered >= number

    def _answer(self, *, arrived: bool, answer: bool) -> bool | None:
        # A closed run doesn't arrive any more, and until it has ended neither its state nor its frame is the last one.
        if self.ended or (arrived and not self.closed):
            return answer and not self.closed
        return None

    # -- what the stages report -----------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Note that the analysis is ready for its first window and has published."""
        self.started = True
        self._set_in_motion(now)
        self.has_news = True
        if not self.closed:
            self._come_to_rest()

    def finish(self) -> bool:
        """Try to end the run at the end of its data: True if no instant follows any more, False while the run is held.

        The cursor of a held run may still be taken back. After True no pause holds the run any more.
        """
        if self.holders or self.closed:
            return False
        self.finishing = self.busy = True  # the strategies' last calls follow, and the run doesn't rest any more
        return True

    def boundary(
        self,
        cursor: int,
        generation: int,
        published: int,
        turn: int,
        now: float,
        *,
        fresh: bool = False,
        leaving: bool = False,
        waits: bool = True,
    ) -> Decision:
        """Decide what the analysis does between two instants; see `RunGate.at_boundary`.

        `waits` is False for an analysis that can't wait at a boundary: it leaves instead.
        """
        self.cursor = cursor
        self.resting = False
        if self.answered != self.answering:
            self.answered = self.answering
            self.has_news = True
        if self.closed:
            return Decision.CLOSED
        move = self.move
        if published == cursor and self.jump is not None and self._holds_alone(self.jump):
            self.busy = True
            return Decision.JUMP
        if self.asked > self.answered or (published != cursor and move is not None):
            return self._publish()
        if move is not None and move.target is not None and cursor >= move.target:
            self._reach(move, now)
        leaves = leaving or generation != self.generation
        if published != cursor and (leaves or self.holders or not fresh):
            return self._publish()
        if leaves:
            self._come_to_rest()
            return Decision.LEAVE
        if not self.holders:
            self.busy = True
            self.limit = min(self._bound(cursor), cursor + turn)
            return Decision.GO
        self._come_to_rest()
        if not waits:
            return Decision.LEAVE
        self.resting = True
        return Decision.REST

    def move_watched_at(self, cursor: int) -> MoveRequest | None:
        """The move whose watcher is to be asked about this instant; None for the instant that the move began at."""
        move = self.move
        return move if move is not None and move.watcher is not None and cursor > move.after else None

    def watched(self, move: MoveRequest, found: object, error: BaseException | None, now: float) -> None:
        """Take the watcher's answer: the run rests here if the place is found, or the watcher raised."""
        if (found or error is not None) and move is self.move:
            move.error = error
            self._reach(move, now)

    def jumped(self, jump: JumpRequest, cursor: int, now: float) -> bool:
        """Stand at `cursor`, where `jump` has led; False, and nothing is changed, if the run ended or the jump was given up."""
        if self.closed or jump is not self.jump:
            return False
        self.cursor = cursor
        self.moving_since = (now, cursor)
        self.interrupted_at = now
        self.trouble = None
        self.generation += 1
        self.jump = None
        jump.reached = jump.over = True
        self.hold(USER, now)
        self.holders.pop(jump, None)
        self._leave_move()
        self.life.apply(Command.REWIND)
        self.has_news = True
        return True

    def stayed(self, jump: JumpRequest, error: BaseException | None, now: float) -> None:
        """Note that the run stays where it was, for `error`."""
        self.generation += 1  # the window in hand is given up
        if jump is self.jump:
            jump.error = error
            self._leave_jump(now)

    # -- parts of events ------------------------------------------------------------------------------------

    def _publish(self) -> Decision:
        self.answering = self.asked
        return Decision.PUBLISH

    def _go(self, move: MoveRequest | None, now: float) -> None:
        self.holders.pop(USER, None)
        self._leave_move()
        self._leave_jump(now)
        self.move = move
        self.trouble = None
        self._move_on(now)

    def _set_in_motion(self, now: float) -> None:
        if self.is_moving:
            self.moved_before += now - self.moving_since[0]
        self.moving_since = (now, self.cursor)
        self.is_moving = self.started and not self.holders

    def _move_on(self, now: float) -> None:
        self._set_in_motion(now)
        self.limit = 0  # a working analysis comes to a boundary, and the gate decides there
        if self.paced:
            self.generation += 1  # deadlines from before the hold are set anew
        self.has_news = self.is_set_going = True

    def _leave_move(self) -> None:
        if self.move is not None:
            self.move.over = True
            self.move = None

    def _bound(self, cursor: int) -> int:
        limit = UNLIMITED if self.move is None else self.move.limit(cursor)
        for stop in (self.ahead, self.stop_at):
            if cursor < stop < limit:
                limit = stop
        return limit

    def _leave_jump(self, now: float) -> None:
        jump, self.jump = self.jump, None
        if jump is not None:
            jump.over = True
            self.release(jump, now)
            self.has_news = True

    def _holds_alone(self, jump: JumpRequest) -> bool:
        """True if only `jump` and the user hold the run: another holder is at work on it."""
        return all(holder is jump or holder == USER for holder in self.holders)

    def _reach(self, move: MoveRequest, now: float) -> None:
        move.reached = True
        self.hold(USER, now)

    def _come_to_rest(self) -> None:
        self.busy = False
        if USER in self.holders:
            self._leave_move()
            if self.life.state is SystemState.RUNNING and not self.closed:
                self.life.apply(Command.REST)
        self.has_news = True
