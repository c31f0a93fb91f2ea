"""Colab is told once that a page shows widgets which aren't its own."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import nbbacktest as nb
from nbbacktest.widgets.colab import let_colab_show


def test_a_panel_in_colab_can_be_shown(monkeypatch):
    """Before the first display the widget manager is enabled, and not again."""
    told = []
    for name in ("google", "google.colab", "google.colab.output"):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        module.__path__ = []
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["google.colab.output"].enable_custom_widget_manager = lambda: told.append(True)
    let_colab_show.cache_clear()
    panel = nb.SystemManager().panel()
    try:
        assert told == []
        panel._repr_mimebundle_()
        panel._repr_mimebundle_()
        assert told == [True]
    finally:
        panel.close()
        let_colab_show.cache_clear()
