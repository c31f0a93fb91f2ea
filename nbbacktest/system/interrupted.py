"""Ctrl-C while the engine works in the caller's thread: held back until a call is over, or found again in its error."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held_back(told: Callable[[], object]) -> Iterator[Callable[[], bool]]:
    """Count Ctrl-C instead of raising; gives the function that says whether there was one. A second one raises.

    `told` is called at the first one, wherever the thread is then: it may take no lock.

    Outside the main thread it does nothing: signals come to the main one.
    """
    pressed = 0

    def press(_number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        pressed += 1
        if pressed > 1:
            raise KeyboardInterrupt
        told()

    try:
        before = signal.signal(signal.SIGINT, press)
    except ValueError:
        yield lambda: False
        return
    try:
        yield lambda: pressed > 0
    finally:
        signal.signal(signal.SIGINT, before)


def raise_interrupt(error: BaseException | None) -> None:
    """Raise the Ctrl-C that is behind an error of a run in the caller's thread; nothing where none is.

    Such a run keeps what its strategy raises, and that is where a signal handler raised.
    """
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            raise error from None
        error = error.__cause__
