"""What every test gets: proof that it left nothing running or open, the real bars, hypothesis's profiles."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, settings

# Tests start runs by the hundreds; those about control servers open theirs.
os.environ["NBBACKTEST_REMOTE"] = "off"
# Journals of tests, and of all that they start, lie in no folder of the user's.
STATE = os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="nbbacktest-state-")


def pytest_unconfigure() -> None:
    """Leave no journal behind."""
    shutil.rmtree(STATE, ignore_errors=True)


# What a shell starts in the background ignores these, as under nohup, and so would all that tests start and interrupt.
for _number, _usual in {
    signal.SIGINT: signal.default_int_handler,
    getattr(signal, "SIGTSTP", None): signal.SIG_DFL,
}.items():
    if _number is not None and signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

GRACE_SECONDS = 5.0
"""How long what a test started may take to end by itself."""

settings.register_profile("dev", deadline=None)
# A machine that others use too is slow at times: no deadline, and no complaint about slow generation.
settings.register_profile(
    "ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


def _children() -> set[psutil.Process]:
    # multiprocessing and loky keep one tracker process each for as long as Python runs; they belong to no test.
    modules = (sys.modules.get(name) for name in ("multiprocessing.resource_tracker", "loky.backend.resource_tracker"))
    trackers = {getattr(module._resource_tracker, "_pid", None) for module in modules if module is not None}
    return {child for child in psutil.Process().children(recursive=True) if child.pid not in trackers}


def _files_under(folder: Path) -> set[str]:
    """The files under `folder` that this process holds open, coverage's own data apart."""
    opened = (Path(file.path) for file in psutil.Process().open_files())
    return {str(path) for path in opened if path.is_relative_to(folder) and not path.name.startswith(".coverage")}


def _ours(thread: threading.Thread) -> bool:
    return not thread.daemon or thread.name.startswith("nbbacktest-")


def _leftover_threads(before: set[threading.Thread], deadline: float) -> list[str]:
    """Wait for new threads to end; describe those that go on, each with its stack."""
    for thread in set(threading.enumerate()) - before:
        if _ours(thread) and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
    frames = sys._current_frames()
    left = [t for t in threading.enumerate() if t not in before and t.is_alive() and _ours(t)]
    return [
        f"thread {t.name!r} goes on, at:\n{''.join(traceback.format_stack(frames.get(t.ident or 0)))}"
        for t in sorted(left, key=lambda t: t.name)
    ]


def _leftover_children(before: set[psutil.Process], deadline: float) -> list[str]:
    _, alive = psutil.wait_procs(_children() - before, timeout=max(0.0, deadline - time.monotonic()))
    descriptions = []
    for child in alive:
        try:
            descriptions.append(f"process {child.pid} goes on: {' '.join(child.cmdline()) or child.name()}")
        except psutil.NoSuchProcess:
            continue
        except psutil.Error as error:
            descriptions.append(f"process {child.pid} goes on: {error}")
    return descriptions


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread, a child process or an open file of the project behind."""
    folder = request.config.rootpath
    threads, children, files = set(threading.enumerate()), _children(), _files_under(folder)
    yield
    deadline = time.monotonic() + GRACE_SECONDS
    left = _leftover_threads(threads, deadline) + _leftover_children(children, deadline)
    left += [f"file {path} is still open" for path in sorted(_files_under(folder) - files)]
    shutil.rmtree(
        Path(STATE, "nbbacktest"), ignore_errors=True
    )  # another test's panel would offer what was cut off here
    if left:
        pytest.fail("this test left behind:\n" + "\n".join(left), pytrace=False)


@pytest.fixture(scope="session")
def shared_data(pytestconfig: pytest.Config) -> Path:
    """The folder of real minute bars beside the project, or a skip that says what is missing."""
    folder = pytestconfig.rootpath.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data here: the tests on real minute bars need that folder beside the project")
    return folder
