"""The page's side of a panel: widgets that bring JavaScript, and the one that reports keys and the place that a page shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import anywidget
import ipywidgets as iw
import traitlets

from nbbacktest.widgets.panel_threads import ShownPlace

STATIC = Path(__file__).parent / "static"
"""The folder of the JavaScript and CSS files."""


def javascript(name: str) -> str:
    """The code of a `ReachableWidget`: ``reach.js`` and the widget's own file."""
    return "".join((STATIC / part).read_text(encoding="utf-8") for part in ("reach.js", name))


class ReachableWidget(iw.Widget):  # type: ignore[misc] # ipywidgets ships no types
    """A widget whose page finds the kernel again if the widget's code loads too slowly for the notebook's host.

    ``reach.js`` finds the widget's model by the name in `_me`.
    """

    _me = traitlets.Unicode().tag(sync=True)

    def open(self) -> None:
        """Open it in the pages."""
        if self.comm is None:
            self._model_id = self._me = uuid4().hex
            super().open()


class PageBridge(ReachableWidget, anywidget.AnyWidget):
    """Carries messages between a panel and its pages: keys, drags of the timeline, names for screen readers, and what a page shows.

    A click may wait behind a blocking cell until another run is under way, or the run is elsewhere. Before a click the page
    sends the number of the run that it shows and that run's epoch, unless they were sent last. Messages keep their order, so
    the last ones are those of the click that is being handled. Messages arrive in the kernel's thread alone.
    """

    _esm = javascript("panel.js")
    _css = (STATIC / "panel.css").read_text(encoding="utf-8")
    run = traitlets.Int(0).tag(sync=True)
    epoch = traitlets.Int(0).tag(sync=True)
    seen = traitlets.List([-1, -1]).tag(sync=True)  # the run and the epoch that a page sent last; -1: none yet
    cursor = traitlets.Int(0).tag(sync=True)
    total = traitlets.Int(0).tag(sync=True)

    def __init__(self) -> None:
        self._pressed: Callable[[str, ShownPlace], object] = lambda _key, _shown: None
        self._dragged: Callable[[int, bool, bool], object] = lambda _at, _rests, _held: None
        super().__init__()
        self.on_msg(self._message)

    def listen(
        self, pressed: Callable[[str, ShownPlace], object], dragged: Callable[[int, bool, bool], object]
    ) -> None:
        """Call `pressed` with each key and what the page showed.

        Call `dragged` with each instant to which the timeline's slider is dragged; with True if the slider rests there, and
        with True if the user holds it.
        """
        self._pressed, self._dragged = pressed, dragged

    def clicked(self) -> ShownPlace | None:
        """The run and epoch that the page showed when it was clicked; None if no page's message is being handled."""
        run, epoch = self.seen
        return (run, epoch) if run >= 0 and _handles_a_page() else None

    def _message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if not isinstance(content, dict):
            return
        run, epoch, kind = content.get("run"), content.get("epoch"), content.get("kind")
        if not isinstance(run, int) or not isinstance(epoch, int):
            return
        self.seen = [run, epoch]
        if kind == "key":
            self._pressed(str(content.get("key")), (run, epoch))
        elif kind == "look" and isinstance(content.get("at"), int):
            self._dragged(content["at"], content.get("rests") is True, content.get("held") is True)


def _handles_a_page() -> bool:
    """True if the kernel is handling a page's message, and not a cell."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return False
    header = kernel.get_parent().get("header") or {}
    return str(header.get("msg_type", "")).startswith("comm")
