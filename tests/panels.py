"""Panels without a page: finding their parts, and what their charts show."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import contextmanager

import numpy as np

import nbbacktest as nb


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + seconds
    waiting = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        waiting.wait(0.01)
    return True


def named(root, name: str):
    """The one control with that CSS class."""
    pending, found = list(root.children), []
    while pending:
        one = pending.pop()
        pending += getattr(one, "children", ())
        if name in getattr(one, "_dom_classes", ()):
            found.append(one)
    assert len(found) == 1, f"{len(found)} controls have the class {name}"
    return found[0]


def panel_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("nbbacktest-panel")]


@contextmanager
def panel_of(system):
    """A panel that is closed in the end."""
    panel = nb.ControlPanel(system)
    try:
        yield panel
    finally:
        panel.close()


def drawn(panel):
    """The visible traces of the bar and the account chart, and their layouts, as of the run's newest frame."""
    for _ in range(5):  # a new state is shown first, and a run at full speed draws one chart a frame
        panel.draw_frame()
    charts = (panel.charts.bars, panel.charts.equity)
    return [
        ([shown if shown["visible"] else {"visible": False} for shown in chart._shown], chart._shown_layout)
        for chart in charts
    ]


def is_same(one, other):
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        both = isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
        return both and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return bool(one == other)
