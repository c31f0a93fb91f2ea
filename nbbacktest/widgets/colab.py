"""Google Colab shows widgets of its own only, until it is told to show others too."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec


@cache
def let_colab_show() -> None:
    """Tell Colab, where this is Colab, once in a process."""
    try:
        if find_spec("google.colab") is None:
            return
    except ModuleNotFoundError:  # not even a package `google`
        return
    import_module("google.colab.output").enable_custom_widget_manager()
