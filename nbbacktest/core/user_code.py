"""A user's code: a class brought by its name, and calls between it and the package."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

from nbbacktest.core.errors import ConfigError, Problem, nearest
from nbbacktest.core.formats import said


def is_reference(text: str) -> bool:
    """True if `text` has the form ``module:Name``."""
    module, colon, name = text.partition(":")
    return bool(colon and module) and name.isidentifier()


def imported(path: str, text: str, fits: Callable[[Any], bool]) -> Any:
    """The object that `text`, a ``module:Name``, refers to; ``__main__`` is the notebook.

    Parameters
    ----------
    path
        Its place in the config, for the error.
    fits
        True for an object that may have been meant; an error suggests names of such objects.

    Raises
    ------
    ConfigError
        If the module can't be imported, or has no such name.
    """
    module_name, _, name = text.partition(":")
    try:
        module = sys.modules.get(module_name) or importlib.import_module(module_name)
    except Exception as error:
        cure = f"module {module_name!r} can't be imported: {said(error)}"
        raise ConfigError([Problem(path, text, cure)]) from error
    found = getattr(module, name, None)
    if found is None:
        members = ((other, getattr(module, other, None)) for other in dir(module))
        meant = nearest(name, [other for other, value in members if fits(value)])
        raise ConfigError([Problem(path, text, f"module {module_name!r} has no {name!r}; {meant}")])
    return found


def unrun(function: Any) -> str | None:
    """The reason why a call of `function` runs nothing of it, and the cure; None if a call runs it."""
    # An object that is called like a function runs the method of its class.
    for one in (function, inspect.getattr_static(type(function), "__call__", None)):
        if inspect.isasyncgenfunction(one) or inspect.isgeneratorfunction(one):
            return "is a generator function, and a call of it runs nothing; write it without yield"
        if inspect.iscoroutinefunction(one):
            return "is a coroutine function, and a call of it runs nothing; write def in place of async def"
    return None


def callers_level() -> int:
    """The stack level of the first call from outside of this package, as `warnings.warn` counts it from the calling function."""
    package, level = __name__.partition(".")[0], 1
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        level, frame = level + 1, frame.f_back
    return level - 1
