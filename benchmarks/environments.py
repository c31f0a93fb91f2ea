"""Each peer in an environment of its own under ``.bench/``, made once: their dependencies clash, and none is the package's."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.bars import HOUSE

PACKAGES = {
    "backtesting": ("backtesting", "TA-Lib"),
    "backtrader": ("backtrader", "pandas"),
    "bt": ("bt",),
    "vectorbt": ("vectorbt",),
    "nautilus": ("nautilus_trader",),
    "pybroker": ("lib-pybroker",),
    "zipline": ("zipline-reloaded", "numpy<2"),  # its wheels of empyrical use names that numpy 2 removed
    "plot": ("matplotlib",),
}
"""What is installed for whom, as wheels wherever there are some; a peer that can't be installed is reported as not there."""


class NotThereError(RuntimeError):
    """An environment couldn't be made; the message is the installer's last word."""


def python_of(engine: str) -> str:
    """The interpreter that runs an engine: this one where nothing has to be installed."""
    if engine not in PACKAGES:
        return sys.executable
    folder = HOUSE / "env" / engine
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "installed"
    wanted = hashlib.sha256(" ".join((sys.version, *PACKAGES[engine])).encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        _make(engine, folder, python)
        stamp.write_text(wanted)
    return str(python)


def _make(engine: str, folder: Path, python: Path) -> None:
    print(f"Making {engine}'s environment (once) ...", file=sys.stderr, flush=True)
    venv.create(folder, clear=True, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]
    done = subprocess.run([*command, "--prefer-binary", *PACKAGES[engine]], capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()]
        raise NotThereError(said[-1][:200])
