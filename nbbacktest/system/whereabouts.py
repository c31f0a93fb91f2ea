"""Names the line of a user's code that a thread is in."""

from __future__ import annotations

import sys
import sysconfig
import threading
import traceback
from pathlib import Path

_NOT_USERS = (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"), "<frozen")
"""Where code lies that isn't a strategy's."""


def users_line(thread: threading.Thread) -> str:
    """The innermost call there, as ``on_bar() at file.py:12``."""
    frame = sys._current_frames().get(thread.ident or 0)
    for line in reversed(traceback.extract_stack(frame) if frame else []):
        if not line.filename.startswith(_NOT_USERS):
            return f"{line.name}() at {line.filename}:{line.lineno}"
    return "a strategy's call"
