"""The process's one SystemManager: the package's only global state."""

from __future__ import annotations

import threading

from nbbacktest.system.manager import SystemManager

_the_one: SystemManager | None = None
_making = threading.Lock()  # guards `_the_one`


def get_system_manager() -> SystemManager:
    """The process's one SystemManager; always the same. `SystemManager()` makes another."""
    global _the_one  # noqa: PLW0603 - the one global of the package
    with _making:
        if _the_one is None:
            _the_one = SystemManager()
        return _the_one
