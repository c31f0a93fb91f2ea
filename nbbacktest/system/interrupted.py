"""Ctrl-C held back while the engine works in the caller's thread: it ends a wait, never a strategy's call."""

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
