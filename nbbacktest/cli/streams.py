"""Standard output and error as they are given: closed, full, without a reader, or in an encoding that lacks characters."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TextIO


def take_any_text() -> None:
    """Let both streams take whatever is written.

    A character that a stream's encoding lacks is written as Python escapes it, so that it can still be told.
    A stream that is closed leads nowhere.
    """
    if sys.stdout is None:
        sys.stdout = _nowhere()
    if sys.stderr is None:
        sys.stderr = _nowhere()
    for stream in (sys.stdout, sys.stderr):
        # A notebook's or a test's stream may be of another kind, and those take any text.
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def drop_unwritable() -> None:
    """Empty both streams; one that can't be written to any more leads nowhere, so that the exit has nothing to fail at."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")
