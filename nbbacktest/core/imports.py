"""Brings what a config names as ``module:Name`` and tells in one line why it can't."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from nbbacktest.core.errors import ConfigError, Problem, nearest
from nbbacktest.core.shown import said


def is_reference(text: str) -> bool:
    """Whether `text` has the form ``module:Name``."""
    module, colon, name = text.partition(":")
    return bool(colon and module) and name.isidentifier()


def imported(path: str, text: str, fits: Callable[[Any], bool]) -> Any:
    """What `text`, a ``module:Name``, refers to; ``__main__`` is the notebook.

    Parameters
    ----------
    path
        Where in the config it stands, for the error.
    fits
        Which of the module's names may have been meant, where it has no such name.

    Raises
    ------
    ConfigError
        Where the module can't be imported, or has no such name.
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
