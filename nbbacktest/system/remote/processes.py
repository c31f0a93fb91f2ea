"""Which process it is, and whether it lives: a number alone is given again to others."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path


def birth(pid: int) -> str | None:
    """When that process began, in some unit that tells two of one number apart; None where there is none, or no way."""
    if sys.platform == "linux":
        try:
            # The name, in parentheses, may hold anything; the fields behind it don't.
            fields = (
                Path("/proc", str(pid), "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            )
        except OSError:
            return None
        # A killed process stays in the table until its parent has asked for it.
        return None if fields[0] in "ZX" else fields[19]
    try:
        psutil = import_module("psutil")  # comes with ipykernel, where there is one
    except ImportError:
        return None
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return None


def lives(pid: int, born: str | None) -> bool:
    """Whether the process `pid` that began at `born` goes on; True where there is no way to know."""
    now = birth(pid)
    if now is not None and born is not None:
        return now == born
    if sys.platform == "linux":
        return now is not None
    if sys.platform == "win32":  # signal 0 would be Ctrl-C there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
