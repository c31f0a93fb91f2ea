"""Runs the stages of a run in threads of their own, and tells if this host lets them have any.

A host without threads runs them by `nbbacktest.system.cooperative` instead.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Protocol

from nbbacktest.core.errors import NoThreadsError
from nbbacktest.core.monitor import Flag, T, apart

VARIABLE = "NBBACKTEST_THREADS"
"""The environment variable that says "off" if no thread is to be started."""

_WITHOUT = ("emscripten", "wasi")
_NOT_USERS = (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"), "<frozen")
"""The folders of code that isn't a strategy's."""


class Runner(Protocol):
    """Starts the stages of a run; other threads wait for the run through it."""

    def start(self) -> None:
        """Set the stages going."""

    def call_off(self) -> None:
        """End a run that was told to end before its stages were set going."""

    def wait(self, done: Flag, timeout: float | None) -> bool:
        """Wait for the run's end; False after `timeout` seconds."""

    def is_here(self) -> bool:
        """True in a thread of the engine."""

    def give_up(self) -> None:
        """Wait no longer for the analysis."""

    def blocked_call(self) -> str:
        """Name the line of user code that the analysis executes."""


class ThreadedRunner:
    """Runs each stage in a thread of its own.

    Parameters
    ----------
    bodies
        The function of each stage's thread, by the stage's name; it keeps its own error. The threads start in this
        order, the coordinator's last.
    crashed
        Called with the error that keeps a thread from starting.
    finalize
        Called when all stages are done.
    """

    def __init__(
        self,
        bodies: dict[str, Callable[[], None]],
        crashed: Callable[[BaseException], None],
        finalize: Callable[[], None],
    ) -> None:
        self._crashed = crashed
        self._finalize = finalize
        self._analysis_over = Flag()
        self._begun = threading.Lock()  # taken once, by `_start` or `call_off`, and never given back
        last = {"analysis": self._analysis_over.set, "coordinator": self._see_out}
        self.threads = {
            name: threading.Thread(target=_followed(body, last.get(name)), name=f"nbbacktest-{name}", daemon=True)
            for name, body in bodies.items()
        }

    def start(self) -> None:
        """Start the threads; if the operating system refuses one, none is left."""
        apart(self._start)

    def _start(self) -> None:
        if not self._begun.acquire(blocking=False):
            return  # called off
        try:
            for thread in self.threads.values():
                thread.start()
        except BaseException as error:  # no thread to be had
            self._crashed(error)
            if self.threads["coordinator"].ident is None:
                self._finalize()
            raise

    def call_off(self) -> None:
        """Finalize the run if no thread was started; none will be."""
        if self._begun.acquire(blocking=False):
            self._finalize()

    def wait(self, done: Flag, timeout: float | None) -> bool:
        """Wait for the end; False after `timeout` seconds. Joins no thread: Python 3.11 gets an interrupted join wrong."""
        deadline = None if timeout is None else monotonic() + timeout
        while not done.is_set():
            left = 0.1 if deadline is None else min(deadline - monotonic(), 0.1)
            if left <= 0:
                return False
            done.wait(left)  # in short waits, so that Ctrl-C gets through on every platform
        return True

    def is_here(self) -> bool:
        """True in one of these threads."""
        return threading.current_thread() in self.threads.values()

    def give_up(self) -> None:
        """Wait no longer for the analysis."""
        self._analysis_over.set()

    def blocked_call(self) -> str:
        """Name the line of user code that the analysis thread executes."""
        return users_line(self.threads["analysis"])

    def _see_out(self) -> None:
        self._analysis_over.wait()  # set at the end of the analysis thread, or by `give_up`
        self._finalize()


def _followed(body: Callable[[], None], last: Callable[[], None] | None) -> Callable[[], None]:
    """Call `last` after `body`, also if `body` raises."""

    def work() -> None:
        try:
            body()
        finally:
            if last is not None:
                last()

    return work


def users_line(thread: threading.Thread) -> str:
    """The innermost line of user code in `thread`, as ``on_bar() at file.py:12``."""
    frame = sys._current_frames().get(thread.ident or 0)
    for line in reversed(traceback.extract_stack(frame) if frame else []):
        if not line.filename.startswith(_NOT_USERS):
            return f"{line.name}() at {line.filename}:{line.lineno}"
    return "a strategy's call"


def has_threads() -> bool:
    """True if threads may be started: not in a browser's Python, nor if `VARIABLE` is off."""
    return _why_none() is None


def require_threads(what: str) -> None:
    """Refuse `what` on a host without threads.

    Raises
    ------
    NoThreadsError
        This host has none.
    """
    reason = _why_none()
    if reason is not None:
        raise NoThreadsError(what, f"run it where Python has them: {reason}")


def uninterrupted(call: Callable[[], T]) -> T:
    """Make a call that no Ctrl-C may cut in two: in a thread of its own if the host has threads, else here."""
    return apart(call) if has_threads() else call()


def raise_interrupt(error: BaseException | None) -> None:
    """Raise the Ctrl-C among the causes of `error`, if there is one.

    A run in the caller's thread keeps the errors of its strategy, a KeyboardInterrupt included.
    """
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            raise error from None
        error = error.__cause__


def is_off(variable: str) -> bool:
    """True if the environment variable switches off what it is about."""
    return os.environ.get(variable, "").strip().lower() in ("off", "false", "no", "0")


def _why_none() -> str | None:
    """The reason why no thread may be started; None if threads may be."""
    if is_off(VARIABLE):
        return f"{VARIABLE}={os.environ[VARIABLE].strip()}"
    if sys.platform in _WITHOUT:
        return f"Python on {sys.platform} has no threads"
    return None
