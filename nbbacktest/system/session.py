"""The SystemManager of the process, and the hooks by which a manager opens control servers and its panel.

The manager imports neither. `nbbacktest.SystemManager` is imported from here, so that every manager of a user has both.
"""

from __future__ import annotations

import threading
from importlib import import_module
from typing import Any

from nbbacktest.core.config import SessionConfig
from nbbacktest.system.manager import SystemManager
from nbbacktest.system.run_holder import OpenedRun
from nbbacktest.system.runner import has_threads

__all__ = ["SystemManager", "get_system_manager"]

_the_one: SystemManager | None = None
_making = threading.Lock()  # guards `_the_one`


def get_system_manager() -> SystemManager:
    """The process's one SystemManager; always the same. `SystemManager()` makes another."""
    global _the_one  # noqa: PLW0603 - the one global of the package
    with _making:
        if _the_one is None:
            _the_one = SystemManager()
        return _the_one


def _control_server(system: SystemManager, config: SessionConfig) -> OpenedRun | None:
    """The control server of a run that is about to start; None if the host, the config or the environment allows none."""
    if not has_threads():
        return None
    from nbbacktest.system.remote.server import control_server_of

    return control_server_of(system, config)


def _panel(system: SystemManager) -> Any:
    # By name, because a face stands above this floor; it is loaded when a panel is asked for.
    return import_module("nbbacktest.widgets.panel").panel_of(system)


SystemManager.run_hook = staticmethod(_control_server)
SystemManager.panel_hook = staticmethod(_panel)
