"""What a command prints and its exit status: answers, the one line of an error, and the state of standard output and error."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from cyclopts import CycloptsError

from nbbacktest.core.errors import (
    AmbiguousSessionError,
    ConfigError,
    DataError,
    InvalidTransition,
    MissingExtraError,
    NbBacktestError,
    NoSessionError,
)
from nbbacktest.report.console import console

DONE, FAILED, MISUSED, UNREACHED, INTERRUPTED = 0, 1, 2, 3, 130
"""Done; the run failed; wrong usage or config; no running session; ended by Ctrl-C."""

_MISUSES = (ConfigError, DataError, MissingExtraError, AmbiguousSessionError)
_REFUSALS = (ValueError, TypeError, RuntimeError)
"""How commands refuse an argument; of these classes themselves, as other libraries' errors are mostly of others."""


def show_answer(answer: dict[str, Any], *, as_json: bool = False) -> None:
    """Print an answer (as of `Answer.to_dict`); the JSON of `status` is the JSON status itself."""
    if as_json:
        whole = answer["data"] if answer["command"] == "status" else answer
        sys.stdout.write(json.dumps(whole, indent=2) + "\n")
        return
    out = console()
    out.print(answer["message"], markup=False, soft_wrap=True)
    if answer["hint"] is not None:
        out.print(answer["hint"], markup=False, soft_wrap=True, style="dim")


def complain(message: str, status: int) -> int:
    """Say it where complaints go; returns the exit status, for the caller to pass on."""
    with contextlib.suppress(OSError):  # the terminal is gone, and nobody to be told
        console(stderr=True).print(f"nbbacktest: {message}", style="red", markup=False, soft_wrap=True)
    return status


def ending(error: BaseException) -> tuple[str, int] | None:
    """What to say of an error, and the exit status; None where it is a bug, whose traceback is what helps."""
    if isinstance(error, NoSessionError):
        return str(error), UNREACHED
    if isinstance(error, InvalidTransition):
        return str(error).partition(" Last events:")[0], MISUSED
    if isinstance(error, (CycloptsError, *_MISUSES)):
        return str(error), MISUSED
    if isinstance(error, NbBacktestError):
        return str(error), FAILED
    if type(error) in _REFUSALS:
        return str(error), MISUSED
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", INTERRUPTED
    if isinstance(error, OSError):
        return f"{error}; check the path and the disk", FAILED
    return None


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
