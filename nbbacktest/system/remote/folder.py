"""Where sessions are written down: a folder of Jupyter's runtime folder that nobody but the user may enter."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

NAME = "nbbacktest"


def folder() -> Path:
    """The folder of the sessions' files; it need not be there."""
    return _runtime_folder() / NAME


def private(path: Path, *, make: bool = False) -> bool:
    """Make sure that a folder is the user's alone, taking away from others what they have no business with.

    Parameters
    ----------
    make
        Make it, and what is above it, where it isn't there.

    Returns
    -------
    bool
        False where there is no such folder.

    Raises
    ------
    PermissionError
        It belongs to somebody else.
    OSError
        It can't be made, or is no folder.
    """
    if make:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(f"{path} is no folder; remove it")
    if sys.platform != "win32":
        if found.st_uid != os.geteuid():
            raise PermissionError(f"{path} belongs to user {found.st_uid}, not to user {os.geteuid()}; remove it")
        if stat.S_IMODE(found.st_mode) & 0o077:
            path.chmod(0o700)
    return True


def _runtime_folder() -> Path:
    try:
        from jupyter_core.paths import jupyter_runtime_dir
    except ImportError:
        return _without_jupyter()
    return Path(jupyter_runtime_dir())


def _without_jupyter() -> Path:
    """The folder that Jupyter would say, so that a terminal without it finds a kernel that has it."""
    environment = os.environ.get
    if runtime := environment("JUPYTER_RUNTIME_DIR"):
        return Path(runtime)
    if data := environment("JUPYTER_DATA_DIR"):
        return Path(data, "runtime")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Jupyter" / "runtime"
    if sys.platform == "win32":
        appdata = environment("APPDATA")
        return Path(appdata, "jupyter", "runtime") if appdata else Path.home() / ".jupyter" / "data" / "runtime"
    return Path(environment("XDG_DATA_HOME") or Path.home() / ".local" / "share", "jupyter", "runtime")
