"""Google Colab shows widgets of its own only, until it is told to show others too."""

from __future__ import annotations

import sys
from types import ModuleType

import nbbacktest as nb


def test_colab_is_told_before_a_panel_is_shown(monkeypatch):
    """A panel has a part that tells it, where this is Colab, when it is made."""
    told = []
    output = ModuleType("google.colab.output")
    output.enable_custom_widget_manager = lambda: told.append(True)
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    panel = nb.SystemManager().panel()
    try:
        assert told
    finally:
        panel.close()
