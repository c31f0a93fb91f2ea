"""Input and signals of a terminal: single keys, Ctrl-C, Ctrl-Z, and its end (SIGTERM, SIGHUP)."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Self


class Keyboard:
    """Reads single keys while it is entered, and leaves the terminal as it was.

    Parameters
    ----------
    stream
        Standard input; if that is no terminal, there are no keys.
    """

    def __init__(self, stream: Any = None) -> None:
        stream = sys.stdin if stream is None else stream
        self._present = stream is not None and stream.isatty()
        self._file = stream.fileno() if self._present else -1
        self._before: Any = None

    @property
    def present(self) -> bool:
        """True if standard input is a keyboard."""
        return self._present

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def take(self) -> None:
        """Deliver keys one by one, without a line's end."""
        if self._present and sys.platform != "win32":
            import termios
            import tty

            self._before = termios.tcgetattr(self._file)
            tty.setcbreak(self._file)  # Ctrl-C stays a signal

    def release(self) -> None:
        """Leave the terminal as it was."""
        if self._before is not None and sys.platform != "win32":
            import termios

            # Unread keys are dropped, so that the next program doesn't get them.
            with suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(self._file, termios.TCSAFLUSH, self._before)
            self._before = None

    def read(self, seconds: float) -> str | None:
        """The next key; None if none is pressed within that time.

        The bytes of a key that sends several, such as an arrow, are taken together, so that none is read as a letter.
        """
        if not self._present:
            time.sleep(seconds)
            return None
        if sys.platform == "win32":
            return _read_windows(seconds)
        try:
            if not select.select([self._file], [], [], seconds)[0]:
                return None
            sent = os.read(self._file, 32)
        except OSError:
            sent = b""
        if not sent:  # the terminal is gone
            self._present = False
            return None
        return sent.decode("utf-8", "replace") if sent.startswith(b"\x1b") else chr(sent[0])


class Interrupts:
    """Counts Ctrl-C while it is entered; must be entered by the main thread, elsewhere it counts nothing.

    While a command waits for the engine (`waiting`), a Ctrl-C raises KeyboardInterrupt at once.
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
            pass  # only the main thread can handle signals
        return self

    def __exit__(self, *_: object) -> None:
        restore(self._before)
        self._before.clear()

    def taken(self) -> bool:
        """True if Ctrl-C was pressed since the last call."""
        count, self._count = self._count, 0
        return count > 0

    def waiting(self, call: Callable[[], Any]) -> Any:
        """Make a call that may take long; a Ctrl-C during it raises KeyboardInterrupt."""
        self._waiting = True
        try:
            return call()
        finally:
            self._waiting = False

    def _interrupted(self, _number: int, _frame: FrameType | None) -> None:
        if self._waiting:
            raise KeyboardInterrupt
        self._count += 1


class Leaving(SystemExit):
    """SIGTERM or a closed terminal (SIGHUP) asks the process to end; `code` is 128 and the signal's number."""

    @property
    def reason(self) -> str:
        """A line that names the signal."""
        return f"ended by {signal.Signals(int(self.code or 0) - 128).name}: this is what was run until then"


def leave_in_order() -> list[tuple[int, Any]]:
    """Let the end of the session (SIGTERM, a closed terminal) raise `Leaving`; returns the argument of `restore`.

    A signal that the process was told to ignore, as `nohup` does, is still ignored.

    Raises
    ------
    ValueError
        Not the main thread.
    """
    return [(number, signal.signal(number, _leave)) for number in _ends() if signal.getsignal(number) != signal.SIG_IGN]


def restore(handlers: list[tuple[int, Any]]) -> None:
    """Put signals' handlers back."""
    for number, handler in handlers:
        signal.signal(number, handler)


@contextmanager
def leaving_in_order() -> Iterator[None]:
    """`leave_in_order` within a block; outside of the main thread it does nothing."""
    handlers: list[tuple[int, Any]] = []
    try:
        with suppress(ValueError):
            handlers = leave_in_order()
        yield
    finally:
        restore(handlers)


@contextmanager
def leaving_asked(ask: Callable[[Leaving], object]) -> Iterator[None]:
    """Let the end of the session call a function of an event loop: the loop would swallow an exception raised in a callback.

    While `leave_in_order` is in force, the signal's handler calls `ask` once, with the `Leaving` that it would raise; `ask`
    may only schedule. The `Leaving` is raised when the block ends.
    """
    came: list[Leaving] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(Leaving(128 + number))
        if len(came) == 1:
            ask(came[0])

    handlers: list[tuple[int, Any]] = []
    try:
        handlers += [(number, signal.signal(number, note)) for number in _ends() if signal.getsignal(number) is _leave]
        yield
    finally:
        restore(handlers)
        if came:
            raise came[0]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C, SIGTERM and SIGHUP until the block is done, such as while a result is saved."""
    came: list[int] = []
    handlers: list[tuple[int, Any]] = []
    try:
        with suppress(ValueError):
            heeded = [one for one in (signal.SIGINT, *_ends()) if signal.getsignal(one) != signal.SIG_IGN]
            handlers += [(one, signal.signal(one, lambda number, _frame: came.append(number))) for one in heeded]
        yield
    finally:
        restore(handlers)
    if came:
        signal.raise_signal(came[0])


class Suspension:
    """Handles Ctrl-Z while a page is drawn: restores the terminal before the process stops, and draws again after.

    Parameters
    ----------
    leave, back
        Puts the terminal in order; takes it again. Called by `heed` in the thread that draws.
    """

    def __init__(self, leave: Callable[[], object], back: Callable[[], object]) -> None:
        self._leave, self._back = leave, back
        self._asked = self._continued = False  # written by the handlers, in the main thread
        self._before: list[tuple[int, Any]] = []

    def __enter__(self) -> Self:
        if sys.platform != "win32":
            with suppress(ValueError):
                if signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL:
                    self._before.append((signal.SIGTSTP, signal.signal(signal.SIGTSTP, self._ask)))
                    self._before.append((signal.SIGCONT, signal.signal(signal.SIGCONT, self._continue)))
        return self

    def __exit__(self, *_: object) -> None:
        restore(self._before)
        self._before.clear()

    def heed(self) -> None:
        """Stop the process if Ctrl-Z was pressed; returns when it goes on."""
        if sys.platform == "win32" or not (self._asked or self._continued):
            return
        # The shell may have changed the terminal's modes while the process was stopped.
        self._leave()
        if self._asked:
            self._asked = False
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTSTP)
            signal.signal(signal.SIGTSTP, self._ask)
        self._continued = False
        self._back()

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True

    def _continue(self, _number: int, _frame: FrameType | None) -> None:
        self._continued = True


def _ends() -> list[signal.Signals]:
    return [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def _leave(number: int, _frame: FrameType | None) -> None:
    """Raise an exit, so that the terminal is restored, the run stopped and its part reported."""
    raise Leaving(128 + number)


def _read_windows(seconds: float) -> str | None:
    if sys.platform != "win32":
        return None
    import msvcrt

    deadline = time.monotonic() + seconds
    while not msvcrt.kbhit():
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.01)
    key = msvcrt.getwch()
    return key + msvcrt.getwch() if key in ("\x00", "\xe0") else key
