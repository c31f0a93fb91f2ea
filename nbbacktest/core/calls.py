"""Calls between the package and a user's code: functions that a plain call doesn't run, and how far up the caller is."""

from __future__ import annotations

import inspect
from typing import Any


def unrun(function: Any) -> str | None:
    """Why a call of `function` runs nothing of it, and the cure; None where a call runs it."""
    # An object that is called like a function runs the method of its class.
    for one in (function, inspect.getattr_static(type(function), "__call__", None)):
        if inspect.isasyncgenfunction(one) or inspect.isgeneratorfunction(one):
            return "is a generator function, and a call of it runs nothing; write it without yield"
        if inspect.iscoroutinefunction(one):
            return "is a coroutine function, and a call of it runs nothing; write def in place of async def"
    return None


def callers_level() -> int:
    """How far up the stack the first call from outside of this package is, as `warnings.warn` counts from the calling function."""
    package, level = __name__.partition(".")[0], 1
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        level, frame = level + 1, frame.f_back
    return level - 1
