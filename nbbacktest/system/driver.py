"""What moves a run's stages: a thread for each; a host without them has `slices` instead."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from nbbacktest.core.monitor import Flag, apart
from nbbacktest.system.whereabouts import users_line


class Driver(Protocol):
    """Starts a run's stages, and is how others wait for them."""

    def start(self) -> None:
        """Set the stages going."""

    def call_off(self) -> None:
        """See to it that a run that has been told to end does so, where its stages were never set going."""

    def wait(self, done: Flag, timeout: float | None) -> bool:
        """Wait for the run's end; False after `timeout` seconds."""

    def is_here(self) -> bool:
        """Whether the caller is one of the engine's threads."""

    def give_up(self) -> None:
        """Wait for the analysis no longer."""

    def blocked_call(self) -> str:
        """Name the user's line that the analysis is in."""


class Threads:
    """A thread for every stage.

    Parameters
    ----------
    bodies
        By stage, what its thread does; they keep what they raise. In the order in which they are started, the
        coordinator last.
    crashed
        Told what keeps a thread from starting.
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
        self._begun = threading.Lock()  # taken once and kept, by who starts the threads or calls them off
        last = {"analysis": self._analysis_over.set, "coordinator": self._see_out}
        self.threads = {
            name: threading.Thread(
                target=_followed(body, last.get(name)), name=f"nbbacktest-{name}", daemon=True
            )
            for name, body in bodies.items()
        }  # fmt: skip

    def start(self) -> None:
        """Start the threads; where the system refuses one, none is left."""
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
        """Finalize where no thread was started, nor will be."""
        if self._begun.acquire(blocking=False):
            self._finalize()

    def wait(self, done: Flag, timeout: float | None) -> bool:
        """Wait for the end; False after `timeout` seconds. Never a join: an interrupted one lies on Python 3.11."""
        deadline = None if timeout is None else monotonic() + timeout
        while not done.is_set():
            left = 0.1 if deadline is None else min(deadline - monotonic(), 0.1)
            if left <= 0:
                return False
            done.wait(left)  # in short waits, so that Ctrl-C gets through on every platform
        return True

    def is_here(self) -> bool:
        """Whether the caller is one of them."""
        return threading.current_thread() in self.threads.values()

    def give_up(self) -> None:
        """Wait for the analysis no longer."""
        self._analysis_over.set()

    def blocked_call(self) -> str:
        """Name the user's line that the analysis thread is in."""
        return users_line(self.threads["analysis"])

    def _see_out(self) -> None:
        self._analysis_over.wait()  # set when it ends, or by whoever gives it up
        self._finalize()


def _followed(body: Callable[[], None], last: Callable[[], None] | None) -> Callable[[], None]:
    """Do `last` after `body`, whatever becomes of that."""

    def work() -> None:
        try:
            body()
        finally:
            if last is not None:
                last()

    return work
