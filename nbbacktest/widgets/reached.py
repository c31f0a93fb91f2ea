"""A widget with code of its own that a page can't lose, however long it takes to load that code."""

from __future__ import annotations

from uuid import uuid4

import ipywidgets as iw
import traitlets

from nbbacktest.widgets.library import STATIC


class Reached(iw.Widget):  # type: ignore[misc] # ipywidgets ships no types
    """Tells its page under which name the kernel speaks to it, for `reach` in ``reach.js``."""

    _me = traitlets.Unicode().tag(sync=True)

    def open(self) -> None:
        """Open it in the pages."""
        if self.comm is None:
            self._model_id = self._me = uuid4().hex
            super().open()


def code(name: str) -> str:
    """The widget's code, with `reach`."""
    return "".join((STATIC / part).read_text(encoding="utf-8") for part in ("reach.js", name))
