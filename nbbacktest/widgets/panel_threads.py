"""A panel's threads: the pump draws frames, three queues carry out clicks. Without threads both work by turns.

Each thread lives only while it has something to do. The pump knows its panel weakly: dropping the panel ends the thread.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from nbbacktest.core.monitor import Flag, started
from nbbacktest.system.cooperative import CALLS
from nbbacktest.system.runner import has_threads

logger = logging.getLogger("nbbacktest")

STALE = "That was meant for an earlier run; nothing was done"
ELSEWHERE = "The run was taken to another place meanwhile; nothing was done"
MOVES = frozenset({"step", "until", "back", "rewind", "undo"})
"""The commands that wait until the run is at their place."""
ShownPlace = tuple[int, int]
"""The run that a page shows: its number, and how often that was taken to another place."""


class Drawable(Protocol):
    """A thing that a `FramePump` draws."""

    def draw_frame(self) -> float | None:
        """Draw a frame; returns in how many seconds the next is due, None if nothing moves."""


class FramePump:
    """Calls `draw_frame` from a thread of its own, which lives only while there is something to draw."""

    def __init__(self, drawn: Drawable) -> None:
        self._drawn = weakref.ref(drawn)
        self._wanted = Flag()
        self._guard = threading.Lock()  # guards the two below
        self._thread: threading.Thread | None = None
        self._closed = False
        self._next = 0  # without threads: the number of the next turn; turns with an older number do nothing

    def poke(self) -> None:
        """Ask for a frame at once. Any thread; returns at once."""
        if not has_threads():
            self._ask_for_turn(0.0)
            return
        with self._guard:
            if self._thread is not None:
                self._wanted.set()
            elif not self._closed:
                self._wanted.clear()  # the thread begins with a frame
                self._thread = threading.Thread(
                    target=_work, args=(weakref.ref(self), self._drawn), name="nbbacktest-panel", daemon=True
                )
                try:
                    started(self._thread)
                except BaseException as error:
                    self._thread = None  # if it has started all the same, it sees that it isn't `_thread`, and ends
                    if not isinstance(error, RuntimeError):
                        raise
                    # No thread can start, or the interpreter ends: the run goes on without a frame.
                    logger.exception("the panel can't be drawn now; the next event tries again")

    def close(self) -> None:
        """Draw no more; the thread ends at its next frame."""
        with self._guard:
            self._closed = True
            self._wanted.set()

    def _ask_for_turn(self, seconds: float) -> None:
        self._next += 1
        mine, number = weakref.WeakMethod(self._take_turn), self._next

        def come() -> None:
            take = mine()
            if take is not None:
                take(number)

        CALLS.call_later(seconds, come)

    def _take_turn(self, number: int) -> None:
        if number == self._next and not self._closed:
            seconds = _drawn(self._drawn())
            if seconds is not None and number == self._next:
                self._ask_for_turn(seconds)

    def rest(self, seconds: float | None) -> bool:
        """Wait until the next frame is due; returns False if the thread must end."""
        if seconds is not None:
            self._wanted.wait(seconds)
        with self._guard:
            if self._thread is not threading.current_thread():
                return False
            if self._closed or (seconds is None and not self._wanted.is_set()):
                self._thread = None
                return False
            self._wanted.clear()
            return True


def _work(me: weakref.ref[FramePump], drawn: weakref.ref[Drawable]) -> None:
    while True:
        seconds = _drawn(drawn())
        pump = me()
        if pump is None or not pump.rest(_brief(seconds)):
            return
        del pump


def _drawn(target: Drawable | None) -> float | None:
    """Draw a frame; returns in how many seconds the next is due."""
    try:
        return None if target is None else target.draw_frame()
    except Exception:
        logger.exception("a panel's frame can't be drawn; the run goes on")
        return 1.0


def _brief(seconds: float | None) -> float | None:
    """At most a second: a panel that is dropped during the wait leaves its thread no longer than that."""
    return seconds if seconds is None else min(seconds, 1.0)


class QueuedCommand(NamedTuple):
    """One command.

    Attributes
    ----------
    name : str
        Its name in log lines.
    call : callable
        Carries it out and returns the message to show.
    shown : tuple of int or None
        The run and epoch that the page showed; None: they may be any.
    over : callable
        Called when it was carried out, refused or dropped.
    """

    name: str
    call: Callable[[], str]
    shown: ShownPlace | None
    over: Callable[[], object]


class CommandQueue:
    """A queue and the thread that empties it; the thread is started by the first command and ends after the last."""

    def __init__(self, name: str, carry_out: Callable[[QueuedCommand], None]) -> None:
        self._name = name
        self._carry_out = carry_out
        self._guard = threading.Lock()  # guards the two below
        self._queued: deque[QueuedCommand] = deque()
        self._thread: threading.Thread | None = None

    def add(self, command: QueuedCommand) -> None:
        """Put it at the end."""
        with self._guard:
            self._queued.append(command)
            if not has_threads():
                CALLS.call_later(0.0, self._take_turn)
            elif self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                try:
                    started(self._thread)
                except BaseException:
                    self._thread = None  # the next command tries again
                    raise

    def clear(self) -> None:
        """Drop commands that haven't begun."""
        with self._guard:
            dropped = tuple(self._queued)
            self._queued.clear()
        for command in dropped:
            command.over()

    def _take_turn(self) -> None:
        """Without threads: carry out the first one."""
        if self._queued:
            self._carry_out(self._queued.popleft())

    def _work(self) -> None:
        while True:
            with self._guard:
                if self._thread is not threading.current_thread():
                    return
                if not self._queued:
                    self._thread = None
                    return
                command = self._queued.popleft()
            self._carry_out(command)


class CommandDispatcher:
    """Carries out commands and other actions in three queues, so that none holds up a pause.

    A click is refused if another run is under way than the page showed, or if the run was taken to another place since; but not
    if this dispatcher's own commands took it there, such as a click on Back before this one.

    Parameters
    ----------
    present
        The run and epoch that a page would show now.
    answered
        Called in any thread with each outcome: a message, and True if it is an error.
    """

    def __init__(self, present: Callable[[], ShownPlace], answered: Callable[[str, bool], object]) -> None:
        self._present = present
        self._answered = answered
        self._led: dict[ShownPlace, ShownPlace] = {}  # to where own commands have taken the run
        self._prompt = CommandQueue("nbbacktest-panel-commands", self._carry_out)
        self._moves = CommandQueue("nbbacktest-panel-moves", self._carry_out)
        self._actions = CommandQueue("nbbacktest-panel-actions", self._carry_out)

    def submit(
        self, name: str, call: Callable[[], str], shown: ShownPlace | None, over: Callable[[], object] = lambda: None
    ) -> None:
        """Queue a command; returns at once.

        A command that moves the run waits for its place, so it has a queue of its own. Any other command, and a rewind, drops
        the moves that wait in that queue.
        """
        if name not in MOVES or name == "rewind":
            self._moves.clear()
        (self._moves if name in MOVES else self._prompt).add(QueuedCommand(name, call, shown, over))

    def submit_action(self, call: Callable[[], str], shown: ShownPlace | None) -> None:
        """Queue a function that is no command of the run; returns at once."""
        self._actions.add(QueuedCommand("action", call, shown, lambda: None))

    def _carry_out(self, command: QueuedCommand) -> None:
        present = self._present()
        try:
            if command.shown is not None and (why := self._stale(command.shown, present)):
                self._answered(why, True)
                return
            message = command.call()
        except Exception as error:
            logger.debug("%s failed", command.name, exc_info=True)
            self._answered(str(error) or type(error).__name__, True)
        else:
            self._answered(message, False)
        finally:
            if command.name in MOVES and (now := self._present()) != present:
                self._led[present] = now
            command.over()

    def _stale(self, shown: ShownPlace, present: ShownPlace) -> str:
        """The reason why a click isn't carried out; empty if it is."""
        while shown != present and shown in self._led:
            shown = self._led[shown]
        if shown == present:
            return ""
        return ELSEWHERE if shown[0] == present[0] else STALE
