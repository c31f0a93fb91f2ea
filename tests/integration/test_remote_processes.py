"""Runs and those who reach for them in processes of their own: other users, killed ones, ended ones, a kernel."""

from __future__ import annotations

import json
import os
import queue
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from nbbacktest.system.remote import reach, sessions
from nbbacktest.system.remote.registry import sessions_folder
from tests.control_servers import ROOT, SLOW, held, program, runtime_folder, the_entry, until

posix = pytest.mark.skipif(sys.platform == "win32", reason="users, signals and socket files are of POSIX")
root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else")
NOBODY = 65_534

HELD = """
import sys
import nbbacktest as nb
system = nb.SystemManager()
system.start(paused=True)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def runtime():
    with runtime_folder() as place:
        yield place


@contextmanager
def held_elsewhere():
    """A process with a run at rest; what it is told on stdin ends it."""
    with program(HELD, stdin=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


# -- other users --------------------------------------------------------------------------------------------

INTRUDER = """
import json, os, socket, sys
key, address, folder = sys.argv[1:]
os.setgroups([]); os.setgid(65534); os.setuid(65534)

def tried(act):
    try:
        act()
    except OSError as error:
        return type(error).__name__
    return "came in"

def knock():
    with socket.socket(socket.AF_UNIX) as own:
        own.connect(address)

print(json.dumps([tried(lambda: os.listdir(folder)), tried(lambda: open(key).read()), tried(knock)]))
"""


@posix
@root
@pytest.mark.parametrize("opened", [False, True], ids=["as it is", "with the folder opened"])
def test_another_user_comes_to_nothing(opened):
    """Another user's process can't list the folder, read the key, or connect, even where the folder lets it in."""
    with held():
        entry = the_entry()
        if opened:
            sessions_folder().chmod(0o755)
        arguments = [str(sessions_folder() / f"{entry.id}.key"), entry.address, str(sessions_folder())]
        done = subprocess.run(
            [sys.executable, "-c", INTRUDER, *arguments], capture_output=True, text=True, timeout=50, check=False
        )
        assert json.loads(done.stdout or done.stderr) == [
            "came in" if opened else "PermissionError", "PermissionError", "PermissionError",
        ]  # fmt: skip
        assert stat.S_IMODE(Path(entry.address).stat().st_mode) == 0o600
        with reach() as client:
            assert client.command("session")["refused"] == 0


# -- ends ---------------------------------------------------------------------------------------------------


@posix
def test_a_killed_run_is_told_as_gone_and_removed():
    """After kill -9 the entry stays; the next look says that it is gone, removes it, and the one after finds nothing."""
    with held_elsewhere() as process:
        [found] = sessions()
        assert (found.pid, found.state) == (process.pid, "paused")
        process.send_signal(signal.SIGKILL)
        until(lambda: process.poll() is not None)
        assert len(list(sessions_folder().iterdir())) == 3
        [found] = sessions()
        assert (found.pid, found.state) == (process.pid, "gone")
        assert list(sessions_folder().iterdir()) == []
        assert sessions() == []


@posix
def test_a_stopped_process_is_silent_and_kept(monkeypatch):
    """A process that is suspended doesn't answer; its entry stays, and it answers again when it goes on."""
    monkeypatch.setattr("nbbacktest.system.remote.client.CONNECT_SECONDS", 0.3)
    with held_elsewhere() as process:
        process.send_signal(signal.SIGSTOP)
        assert [found.state for found in sessions()] == ["silent"]
        process.send_signal(signal.SIGCONT)
        until(lambda: [found.state for found in sessions()] == ["paused"])


def test_a_process_that_ends_in_the_middle_of_a_run_removes_its_files():
    """A script that comes to its end with a run under way leaves nothing, and ends quickly."""
    with held_elsewhere() as process:
        assert len(sessions()) == 1
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
        assert list(sessions_folder().iterdir()) == []


def test_a_run_is_stopped_from_another_process():
    """`stop` from outside ends the wait of a script, whose answer comes before its process ends."""
    code = HELD.replace("sys.stdin.read()", "print(len(system.wait().equity))")
    with program(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with reach() as client:
            assert client.command("step", n=5)["value"] is True
            assert client.command("stop")["value"] is True
        assert process.wait(20) == 0
        assert int(process.stdout.read()) == 5
    assert sessions() == []


# -- a kernel -----------------------------------------------------------------------------------------------

CELL = f"""
import nbbacktest as nb
system = nb.get_system_manager()
system.start({SLOW | {"backtest": SLOW["backtest"] | {"speed_multiplier": 600}}!r})
print("started", flush=True)
system.wait().stats["bars"]
"""

REMOTE = """
import json, time
from nbbacktest.system.remote import reach

def timed(act, times):
    began = time.perf_counter()
    answer = act()
    times.append(time.perf_counter() - began)
    return answer

def anew(command, **arguments):
    with reach() as client:
        return client.command(command, **arguments)

report = {"looks": [], "kept": [], "anew": []}
looks, kept, fresh = report["looks"], report["kept"], report["anew"]
with reach() as client:
    before = client.command("status")["state"]
    report["pause"] = [before, timed(lambda: client.command("pause"), kept)["state"]]
    seen, until = [], time.monotonic() + 0.5
    while time.monotonic() < until:
        seen.append(timed(lambda: client.command("status"), looks)["data"]["session"]["sim_time"])
    report["sim_times"] = sorted(set(seen))
    report["reads"] = len(seen)
    report["step"] = timed(lambda: client.command("step", n=3), kept)["value"]
    report["after"] = client.command("status")["data"]["session"]["sim_time"]
    for _ in range(15):
        assert timed(lambda: client.command("resume"), kept)["value"] is True
        assert timed(lambda: client.command("pause"), kept)["value"] is True
for _ in range(15):
    assert timed(lambda: anew("resume"), fresh)["value"] is True
    assert timed(lambda: anew("pause"), fresh)["value"] is True
report["resume"] = anew("resume")["state"]
report["stop"] = anew("stop")["message"]
print(json.dumps(report))
"""


@pytest.mark.timeout(120)
def test_a_run_in_a_blocking_cell_is_commanded_from_another_process(capsys):
    """While a cell waits for the end of a clock-driven run, another process pauses it, looks, steps, resumes, stops."""
    from jupyter_client.manager import start_new_kernel

    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    manager, client = start_new_kernel(kernel_name="python3", env=environment, cwd=str(ROOT))
    try:
        asked = client.execute(CELL)
        heard(client, "started")
        with program(REMOTE) as process:
            out, _ = process.communicate(timeout=60)
        report = json.loads(out)
        reply = client.get_shell_msg(timeout=30)
        while reply["parent_header"]["msg_id"] != asked:  # the answer to what start_new_kernel asked may come late
            reply = client.get_shell_msg(timeout=30)
        assert reply["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
    assert report["pause"] == ["running", "paused"]
    [stood] = report["sim_times"]
    assert report["reads"] >= 2
    assert report["step"] is True
    assert minutes_between(stood, report["after"]) == 3
    assert (report["resume"], report["stop"]) == ("running", "System stopped")
    assert sessions() == []
    with capsys.disabled():
        for what, how in (("status, connection kept", "looks"), ("commands, kept", "kept"), ("commands, anew", "anew")):
            times = sorted(report[how])
            p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
            print(f"\n{len(times)} times {what}: p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms", end=" ")
            assert p50 < 0.5


def heard(client, word: str) -> None:
    """Read what the kernel tells until it prints `word`."""
    while True:
        try:
            told = client.get_iopub_msg(timeout=60)
        except queue.Empty:
            raise AssertionError(f"the kernel never said {word!r}") from None
        assert told["msg_type"] != "error", told["content"]
        if told["msg_type"] == "stream" and word in told["content"]["text"]:
            return


def minutes_between(first: str, second: str) -> float:
    from datetime import datetime

    return (datetime.fromisoformat(second) - datetime.fromisoformat(first)).total_seconds() / 60
