"""Output and exit status of commands: prints answers and errors, and makes standard output and error take any text."""

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
    JournalError,
    MissingExtraError,
    NbBacktestError,
    NoSessionError,
)
from nbbacktest.report.console import console

DONE, FAILED, MISUSED, UNREACHED, INTERRUPTED = 0, 1, 2, 3, 130
"""Done; the run failed; wrong usage or config; no running session; ended by Ctrl-C."""

_MISUSES = (ConfigError, DataError, JournalError, MissingExtraError, AmbiguousSessionError)
_REFUSALS = (ValueError, TypeError, RuntimeError)
"""The classes of the errors by which commands refuse an argument; not their subclasses, which other libraries raise."""


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
    """Print an error to standard error; returns `status`, for the caller to pass on."""
    with contextlib.suppress(OSError):  # the terminal is gone
        console(stderr=True).print(f"nbbacktest: {message}", style="red", markup=False, soft_wrap=True)
    return status


def ending(error: BaseException) -> tuple[str, int] | None:
    """The message of an error and the exit status; None for a bug, which is shown with its traceback."""
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
    """Make both streams take any text.

    A character that a stream's encoding lacks is written as Python's escape of it. Text for a closed stream is dropped.
    """
    if sys.stdout is None:
        sys.stdout = _nowhere()
    if sys.stderr is None:
        sys.stderr = _nowhere()
    for stream in (sys.stdout, sys.stderr):
        # The stream of a notebook or a test is of another class, which takes any text.
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def drop_unwritable() -> None:
    """Flush both streams; a stream that fails is replaced by the null device, so that Python's exit doesn't fail at it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")
