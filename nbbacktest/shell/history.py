"""Where the shell remembers what was typed: a file that only its user can read."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def history_file() -> Path | None:
    """The file, made where there is none; None where it can't be made, and nothing is remembered then."""
    path = _state_folder() / "nbbacktest" / "history"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError:
        return None
    return path


def _state_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
