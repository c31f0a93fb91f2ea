"""The keyboard of a terminal, key by key: what is pressed is read at once and not shown."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from typing import Any, Self


class Keyboard:
    """Reads single keys while it is entered, and leaves the terminal as it was.

    Parameters
    ----------
    stream
        Standard input; where that is no terminal, there are no keys.
    """

    def __init__(self, stream: Any = None) -> None:
        stream = sys.stdin if stream is None else stream
        self._present = stream is not None and stream.isatty()
        self._file = stream.fileno() if self._present else -1
        self._before: Any = None

    @property
    def present(self) -> bool:
        """Whether there are keys to be pressed."""
        return self._present

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def take(self) -> None:
        """Have keys come one by one."""
        if self._present and sys.platform != "win32":
            import termios
            import tty

            self._before = termios.tcgetattr(self._file)
            tty.setcbreak(self._file)  # Ctrl-C stays a signal

    def release(self) -> None:
        """Leave the terminal as it was."""
        if self._before is not None and sys.platform != "win32":
            import termios

            # What was typed and not read isn't left to the next program.
            with contextlib.suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(self._file, termios.TCSAFLUSH, self._before)
            self._before = None

    def read(self, seconds: float) -> str | None:
        """The next key; None where none is pressed within that time.

        What a key of several bytes sends (an arrow's) is taken as one, so that none of it is read as a letter.
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
