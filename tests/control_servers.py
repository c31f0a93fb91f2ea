"""Runs with their control servers open, in a runtime folder of the test's own, and connections that don't behave."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbbacktest as nb
from nbbacktest.core.config import EXAMPLE
from nbbacktest.system.remote import SessionEntry, registry
from nbbacktest.system.remote.connection import SocketConnection, connect
from nbbacktest.system.remote.registry import sessions_folder

ROOT = Path(__file__).parents[1]
SLOW: dict[str, Any] = EXAMPLE | {
    "session_name": "Slow",
    "backtest": EXAMPLE["backtest"] | {"speed_multiplier": 1},
}
"""A session whose next instant is a minute away."""


@contextmanager
def runtime_folder() -> Iterator[Path]:
    """A new runtime folder with a short path that others may enter, and no variable that keeps control servers shut."""
    place = Path(tempfile.mkdtemp(prefix="nb"))
    place.chmod(0o755)
    kept = {name: os.environ.pop(name, None) for name in ("NBBACKTEST_REMOTE", "JUPYTER_RUNTIME_DIR")}
    os.environ["JUPYTER_RUNTIME_DIR"] = str(place)
    try:
        yield place
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        shutil.rmtree(place)


@contextmanager
def held(config: Any = None) -> Iterator[nb.SystemManager]:
    """A run that rests before its first bar, its control server open; stopped at the end."""
    system = nb.SystemManager()
    system.start(config, paused=True)
    try:
        yield system
    finally:
        system.stop()


def the_entry() -> SessionEntry:
    """The one entry that is written down."""
    [entry] = registry.entries(sessions_folder())
    return entry


def raw(key: bytes | None = None) -> SocketConnection:
    """A connection to the one run, proven with its key or another, to say anything on."""
    entry = the_entry()
    channel = connect(entry.address, 10)
    try:
        channel.prove_second(registry.read_key(sessions_folder(), entry.id) if key is None else key)
    except BaseException:
        channel.close()
        raise
    return channel


def said(channel: SocketConnection, message: bytes) -> dict[str, Any]:
    """What is answered to these bytes."""
    channel.send_bytes(message)
    return dict(json.loads(channel.recv_bytes()))


def threads_gone() -> None:
    """Wait for the threads of closed connections and control servers to end."""
    until(
        lambda: (
            not [
                t
                for t in threading.enumerate()
                if t.name in ("nbbacktest-control-connection", "nbbacktest-control-server")
            ]
        )
    )


def until(condition: Any, seconds: float = 20.0) -> None:
    """Ask again and again until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it never came to hold")
        time.sleep(0.005)


def program(code: str, **options: Any) -> subprocess.Popen[str]:
    """Another Python of this project, in the test's environment."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code], text=True, stdout=subprocess.PIPE, env=environment, cwd=ROOT, **options
    )
