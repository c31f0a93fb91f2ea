"""Ctrl-C as something to be asked for, not as an exception out of the blue; the end of a session as an exit."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self


class Interrupts:
    """Counts Ctrl-C while it is entered; must be entered by the main thread, elsewhere it counts nothing.

    While a command waits for the engine (`waiting`), a Ctrl-C raises as it always does: nobody is kept waiting.
    """

    def __init__(self) -> None:
        self._count = 0
        self._waiting = False
        self._before: list[tuple[int, Any]] = []

    def __enter__(self) -> Self:
        try:
            self._before.append((signal.SIGINT, signal.signal(signal.SIGINT, self._interrupted)))
            self._before += leave_in_order()
        except ValueError:
            pass  # not the main thread: whoever has it sees to signals
        return self

    def __exit__(self, *_: object) -> None:
        restore(self._before)
        self._before.clear()

    def taken(self) -> bool:
        """Whether Ctrl-C was pressed since this was asked last."""
        count, self._count = self._count, 0
        return count > 0

    def waiting(self, call: Callable[[], Any]) -> Any:
        """Do what may take long; a Ctrl-C during it raises KeyboardInterrupt."""
        self._waiting = True
        try:
            return call()
        finally:
            self._waiting = False

    def _interrupted(self, _number: int, _frame: FrameType | None) -> None:
        if self._waiting:
            raise KeyboardInterrupt
        self._count += 1


def leave_in_order() -> list[tuple[int, Any]]:
    """Let the end of the session (SIGTERM, a closed terminal) be an exit; returns what `restore` takes.

    Raises
    ------
    ValueError
        Not the main thread.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    return [(number, signal.signal(number, _leave)) for number in numbers]


def restore(handlers: list[tuple[int, Any]]) -> None:
    """Put signals' handlers back."""
    for number, handler in handlers:
        signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> None:
    """End as an exit does, so that the terminal is put in order and the run stopped."""
    raise SystemExit(128 + number)
