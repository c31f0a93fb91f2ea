"""Whether this host lets a run have threads of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from nbbacktest.core.errors import NoThreadsError
from nbbacktest.core.monitor import T, apart

VARIABLE = "NBBACKTEST_THREADS"
"""The environment variable that says "off" where no thread is to be started."""

_WITHOUT = ("emscripten", "wasi")


def has_threads() -> bool:
    """Whether threads may be started: not in a browser's Python, nor where `VARIABLE` is off."""
    return _why_none() is None


def require_threads(what: str) -> None:
    """Refuse what can't be done without them.

    Raises
    ------
    NoThreadsError
        This host has none.
    """
    reason = _why_none()
    if reason is not None:
        raise NoThreadsError(what, f"run it where Python has them: {reason}")


def whole(call: Callable[[], T]) -> T:
    """Do what no interrupt may cut in two; on a host without threads at once, where it can."""
    return apart(call) if has_threads() else call()


def _why_none() -> str | None:
    """Why no thread may be started; None where they may."""
    said = os.environ.get(VARIABLE, "").strip()
    if said.lower() in ("off", "false", "no", "0"):
        return f"{VARIABLE}={said}"
    if sys.platform in _WITHOUT:
        return f"Python on {sys.platform} has no threads"
    return None
