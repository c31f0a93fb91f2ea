"""The one pump of a panel: a thread that draws frames while there is something to draw, and then ends; or turns.

It knows its panel only weakly: dropping the panel ends the thread.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Protocol

from nbbacktest.core.monitor import Flag, started
from nbbacktest.system.cooperative import CALLS
from nbbacktest.system.runner import has_threads

logger = logging.getLogger("nbbacktest")


class Drawn(Protocol):
    """What is pumped."""

    def draw_frame(self) -> float | None:
        """Draw what is new; in how many seconds to come again, None where nothing more will come by itself."""


class Pump:
    """Calls `draw_frame` again and again from a thread of its own, which lives only as long as there is something to draw."""

    def __init__(self, drawn: Drawn) -> None:
        self._drawn = weakref.ref(drawn)
        self._wanted = Flag()
        self._guard = threading.Lock()  # guards the two below
        self._thread: threading.Thread | None = None
        self._closed = False
        self._next = 0  # without threads: the number of the turn that is to come; older ones are dropped

    def poke(self) -> None:
        """Have a frame drawn at once. Any thread; returns at once."""
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
                    self._thread = None  # where it has started all the same, it finds that it isn't the one, and ends
                    if not isinstance(error, RuntimeError):
                        raise
                    # No thread to be had, or the interpreter is ending: the run matters more.
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
        """Wait for the next frame's time; False where the thread is to end, which it must do then."""
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


def _work(me: weakref.ref[Pump], drawn: weakref.ref[Drawn]) -> None:
    while True:
        seconds = _drawn(drawn())
        pump = me()
        if pump is None or not pump.rest(_brief(seconds)):
            return
        del pump


def _drawn(target: Drawn | None) -> float | None:
    """Draw a frame; in how many seconds the next one is wanted."""
    try:
        return None if target is None else target.draw_frame()
    except Exception:
        logger.exception("a panel's frame can't be drawn; the run goes on")
        return 1.0


def _brief(seconds: float | None) -> float | None:
    """No long waits: a panel that is dropped meanwhile is to leave no thread behind."""
    return seconds if seconds is None else min(seconds, 1.0)
