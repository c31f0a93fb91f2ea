"""The page's side of a panel: widgets that bring JavaScript, and the one that reports keys and the run that a page shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import anywidget
import ipywidgets as iw
import traitlets

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
    """Carries messages between a panel and its pages: keys, names for screen readers, and which run a page shows.

    A click may wait behind a blocking cell until another run is under way. Before a click the page sends the number of the
    run that it shows, unless it is the number that was sent last. Messages keep their order, so the last number is that of
    the click that is being handled. Messages arrive in the kernel's thread alone.
    """

    _esm = javascript("panel.js")
    _css = (STATIC / "panel.css").read_text(encoding="utf-8")
    run = traitlets.Int(0).tag(sync=True)
    seen = traitlets.Int(-1).tag(sync=True)  # the number that a page sent last; -1: none yet
    cursor = traitlets.Int(0).tag(sync=True)
    total = traitlets.Int(0).tag(sync=True)

    def __init__(self) -> None:
        self._pressed: Callable[[str, int], object] = lambda _key, _run: None
        super().__init__()
        self.on_msg(self._message)

    def listen(self, pressed: Callable[[str, int], object]) -> None:
        """Call `pressed` with each key, and with the number of the run that its page showed."""
        self._pressed = pressed

    def clicked_run(self) -> int | None:
        """The number of the run that the page showed when it was clicked; None if no page's message is being handled."""
        return self.seen if self.seen >= 0 and _handles_a_page() else None

    def _message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if not isinstance(content, dict) or not isinstance(content.get("run"), int):
            return
        self.seen = content["run"]
        if content.get("kind") == "key":
            self._pressed(str(content.get("key")), content["run"])


def _handles_a_page() -> bool:
    """True if the kernel is handling a page's message, and not a cell."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return False
    header = kernel.get_parent().get("header") or {}
    return str(header.get("msg_type", "")).startswith("comm")
