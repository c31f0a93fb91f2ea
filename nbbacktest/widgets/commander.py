"""Carries out what was clicked: off the kernel's main thread where there are others, in order, and never against a run that the user didn't see."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from nbbacktest.core.monitor import started
from nbbacktest.system.cooperative import CALLS
from nbbacktest.system.runner import has_threads

logger = logging.getLogger("nbbacktest")

STALE = "That was meant for an earlier run; nothing was done"


class Wish(NamedTuple):
    """One command.

    Attributes
    ----------
    name : str
        What it is called in messages.
    call : callable
        Carries it out and returns what to tell the user.
    run : int or None
        The run that the user was looking at; None: whichever there is.
    """

    name: str
    call: Callable[[], str]
    run: int | None


class Lane:
    """A queue and the thread that empties it; the thread is started by the first wish and ends after the last."""

    def __init__(self, name: str, carry_out: Callable[[Wish], None]) -> None:
        self._name = name
        self._carry_out = carry_out
        self._guard = threading.Lock()  # guards the two below
        self._wishes: deque[Wish] = deque()
        self._thread: threading.Thread | None = None

    def add(self, wish: Wish) -> None:
        """Put it at the end."""
        with self._guard:
            self._wishes.append(wish)
            if not has_threads():
                CALLS.call_later(0.0, self._take_turn)
            elif self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                try:
                    started(self._thread)
                except BaseException:
                    self._thread = None  # the next wish tries again
                    raise

    def clear(self) -> None:
        """Forget what hasn't begun."""
        with self._guard:
            self._wishes.clear()

    def _take_turn(self) -> None:
        """Without threads: carry out the first one."""
        if self._wishes:
            self._carry_out(self._wishes.popleft())

    def _work(self) -> None:
        while True:
            with self._guard:
                if self._thread is not threading.current_thread():
                    return
                if not self._wishes:
                    self._thread = None
                    return
                wish = self._wishes.popleft()
            self._carry_out(wish)


class Commander:
    """Two lanes: what moves a run and waits for it to arrive must not hold up a pause.

    Parameters
    ----------
    present
        The number of the present run.
    tell
        Told each command's outcome: a message, and whether it is an error. Any thread.
    """

    def __init__(self, present: Callable[[], int], tell: Callable[[str, bool], object]) -> None:
        self._present = present
        self._tell = tell
        self._prompt = Lane("nbbacktest-panel-commands", self._carry_out)
        self._moves = Lane("nbbacktest-panel-moves", self._carry_out)

    def submit(self, name: str, call: Callable[[], str], run: int | None) -> None:
        """Have a command carried out; returns at once."""
        moves = name in {"step", "until"}
        if not moves:
            self._moves.clear()  # steps that wait in line aren't wanted after a pause, a stop or a resume
        (self._moves if moves else self._prompt).add(Wish(name, call, run))

    def _carry_out(self, wish: Wish) -> None:
        if wish.run is not None and wish.run != self._present():
            self._tell(STALE, True)
            return
        try:
            message = wish.call()
        except Exception as error:
            logger.debug("%s failed", wish.name, exc_info=True)
            self._tell(str(error) or type(error).__name__, True)
        else:
            self._tell(message, False)
