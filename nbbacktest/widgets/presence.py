"""What pages say of their users: keys pressed, and which run was shown when something was clicked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nbbacktest.widgets.controls import Front


class Presence:
    """Listens to a `Front`. Called in the kernel's thread alone.

    A click may wait behind a blocking cell until another run is under way. The page sends the number of the run that it
    shows before a click, unless it is what was heard last; messages keep their order, so that is the number of the click
    being served.
    """

    def __init__(self, front: Front, key: Callable[[str, int], object]) -> None:
        self._key = key
        self._front = front
        front.on_msg(self._heard)

    def seen(self) -> int | None:
        """The run that the user saw who caused what is served now; None where no user's click did."""
        return self._front.seen if self._front.seen >= 0 and _serves_a_page() else None

    def _heard(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if not isinstance(content, dict) or not isinstance(content.get("run"), int):
            return
        self._front.seen = content["run"]
        if content.get("kind") == "key":
            self._key(str(content.get("key")), content["run"])


def _serves_a_page() -> bool:
    """Whether the kernel handles a page's message just now, and not a cell."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return False
    header = kernel.get_parent().get("header") or {}
    return str(header.get("msg_type", "")).startswith("comm")
