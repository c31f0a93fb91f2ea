"""How a command ends: its exit status, and the one line that a mistake or a failure gets."""

from __future__ import annotations

import contextlib

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
