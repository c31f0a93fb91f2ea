"""A run's control server: who comes in, what is answered, what it withstands, and that nothing of it stays."""

from __future__ import annotations

import gc
import json
import logging
import os
import pickle
import socket
import sys
import threading
from contextlib import closing, suppress
from multiprocessing import AuthenticationError
from types import SimpleNamespace

import psutil
import pytest

import nbbacktest as nb
from nbbacktest.core.errors import AmbiguousSessionError, NoSessionError, RemoteError
from nbbacktest.system.remote import client as client_module
from nbbacktest.system.remote import reach, registry, server, sessions
from nbbacktest.system.remote.connection import _place
from nbbacktest.system.remote.messages import MessageError
from nbbacktest.system.remote.registry import sessions_folder
from tests.control_servers import SLOW, held, raw, runtime_folder, said, the_entry, threads_gone, until
from tests.markets import minutes

posix = pytest.mark.skipif(sys.platform == "win32", reason="modes and socket files are of POSIX")


@pytest.fixture(autouse=True)
def runtime():
    with runtime_folder() as place:
        yield place


def files() -> list[str]:
    return sorted(path.name for path in sessions_folder().iterdir()) if sessions_folder().exists() else []


# -- commands -----------------------------------------------------------------------------------------------


def test_a_run_is_traded_by_hand_from_outside():
    """What may be left out may be null, and a number may be whole."""
    with held() as system, reach() as client:
        client.command("step", n=3)
        symbol = next(iter(system.snapshot().counts))
        assert client.command("buy", symbol=symbol, size=10, stop_loss=1.5, tag=None)["message"].startswith(
            "Order 1 buy 10"
        )
        assert client.command("change", setting="fast=7")["value"] is True
        assert client.command("inputs")["message"].splitlines()[0] == "A run with 2 inputs by hand"
        assert client.command("undo")["value"] is True
        assert client.command("redo")["value"] is True
        with pytest.raises(nb.NbBacktestError, match="'size' of 'buy' is a number, not 'many'"):
            client.command("buy", symbol=symbol, size="many")
        assert [str(one.what) for one in system.inputs] == ["buy", "change"]


def test_a_run_is_commanded_from_outside():
    """Status, step, until, look, back, rewind, speed, resume, pause, stop: each does what it does at home, and says the same."""
    with held() as system, reach() as client:
        assert client.command("status")["message"].startswith("State: PAUSED")
        assert client.command("step", n=3)["value"] is True
        assert system.snapshot().cursor == 3
        assert client.command("until", when="10:30")["value"] is True
        assert system.snapshot().cursor == 60
        seen = client.command("look", at="10:00")
        assert seen["message"].startswith("At 2024-10-03 10:00:00-04:00: 30 of ")
        assert (seen["data"]["cursor"], seen["data"]["equity"]) == (30, system.look(30).equity)
        assert client.command("back", n=10)["message"] == "System paused at 2024-10-03 10:20:00-04:00"
        assert client.command("rewind", to="last fill", before=True)["value"] is True
        assert system.snapshot().cursor == system.run.journey.farthest.desk.fills[-1].index
        assert client.command("rewind", to="end")["value"] is True
        assert client.command("back-until", when="fill")["value"] is True
        assert system.snapshot().last_fills[-1].index + 1 == system.snapshot().cursor
        assert client.command("break", when="fill", once=True)["message"] == "Set breakpoint 1 (fill)"
        assert client.command("rewind", to="start")["value"] is True
        assert client.command("step", n=1_000)["message"].endswith(": breakpoint 1 (fill)")
        assert client.command("breaks")["message"] == "No breakpoints"
        client.command("speed", x=60)
        assert system.status()["session"]["speed_multiplier"] == 60
        assert client.command("resume")["message"] == "System resumed"
        paused = client.command("pause")
        assert (paused["message"], paused["hint"]) == ("System paused", "Use 'system resume' to continue")
        assert (paused["value"], paused["state"]) == (True, "paused")
        assert client.command("pause")["value"] is False
        assert client.command("stop")["message"] == "System stopped"
        assert system.is_stopped()


def test_the_status_is_the_systems_own():
    """What `status` carries is the JSON status, whole."""
    with held() as system, reach() as client:
        client.command("step", n=7)
        there, here = client.command("status")["data"], system.status()
        assert there["session"] == here["session"] | {"achieved_speed": there["session"]["achieved_speed"]}
        assert set(there) == set(here)


def test_what_makes_no_sense_is_raised_on_this_side():
    """A time that has passed, a step of nothing, a step while running: the error of the method, here."""
    with held() as system, reach() as client:
        client.command("step", n=30)
        with pytest.raises(ValueError, match="has passed"):
            client.command("until", when="2024-10-03 09:35")
        with pytest.raises(ValueError, match="at least 1"):
            client.command("step", n=0)
        with pytest.raises(MessageError, match="no command 'start'"):
            client.command("start")
        system.set_speed(1)
        client.command("resume")
        with pytest.raises(nb.InvalidTransition, match="can't step while RUNNING"):
            client.command("step")
        assert system.is_running()


def test_one_who_waits_holds_up_nobody():
    """While one client waits for a far time, another one pauses; the first learns that it was."""
    with held(SLOW) as system:
        answers = []

        def go_far() -> None:
            with reach() as client:
                answers.append(client.command("until", when="15:00"))

        traveller = threading.Thread(target=go_far)
        traveller.start()
        until(system.is_running)
        with reach() as client:
            assert client.command("pause")["value"] is True
        traveller.join(20)
        assert answers[0]["value"] is False
        assert "another command came between" in answers[0]["message"]


def test_a_strategy_that_takes_long_holds_up_no_listing():
    """While a strategy's call goes on, sessions are listed, and the status is that of the bar before."""
    inside, go_on = threading.Event(), threading.Event()

    class Long(nb.Strategy):
        def on_bar(self, bar):
            inside.set()
            go_on.wait(20)

    system = nb.SystemManager()
    system.start({"session_name": "Long"}, data=minutes(50), strategies=Long)
    try:
        assert inside.wait(20)
        [found] = sessions()
        assert (found.name, found.state, found.sim_time) == ("Long", "running", None)
        with reach("Long") as client:
            assert client.command("status")["state"] == "running"
    finally:
        go_on.set()
        system.stop()


# -- which session ------------------------------------------------------------------------------------------


def test_sessions_tell_what_runs_now():
    """Name, state, sim time and progress are those of the moment; the process is this one."""
    with held(SLOW | {"session_name": "Mine"}) as system:
        system.step(13)
        [found] = sessions()
        assert (found.name, found.state, found.pid, found.alive) == ("Mine", "paused", os.getpid(), True)
        assert found.sim_time == system.status()["session"]["sim_time"]
        assert found.progress == system.snapshot().progress
    assert sessions() == []


def test_one_of_several_is_picked_by_id_or_name():
    """With two runs it must be said which; the id, its beginning or the name will do."""
    with held(SLOW | {"session_name": "A"}), held(SLOW | {"session_name": "B"}):
        first, second = sessions()
        assert [first.name, second.name] in (["A", "B"], ["B", "A"])
        with pytest.raises(AmbiguousSessionError, match="2 sessions are running; pick one with --session ID") as caught:
            reach()
        assert first.id in str(caught.value)
        assert second.id in str(caught.value)
        with reach("B") as client:
            assert client.entry.name == "B"
        with reach(first.id) as client:
            assert client.entry.id == first.id
        with pytest.raises(NoSessionError, match="no session 'zzz' is running"):
            reach("zzz")


def test_without_a_session_the_error_says_how_to_start_one():
    """Nothing runs: one error, which a terminal turns into status 3."""
    with pytest.raises(NoSessionError, match="no session is running; start one with"):
        reach()


# -- when it is open ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["stop", "finish", "fail", "drop", "remote stop"])
def test_at_the_end_of_a_run_nothing_stays(end):
    """However a run ends, its files are gone when its end is told, and its threads soon after."""

    class Failing(nb.Strategy):
        def on_bar(self, bar):
            if end == "fail":
                raise ValueError("no")

    system = nb.SystemManager()
    system.start({}, data=minutes(20), strategies=Failing, paused=True)
    assert len(files()) == 3
    if end == "stop":
        system.stop()
    elif end == "remote stop":
        with reach() as client:
            assert client.command("stop")["value"] is True
    elif end == "drop":
        del system
        gc.collect()
        until(lambda: not files())
    else:
        system.resume()
        try:
            system.wait(20)
        except nb.StrategyError:
            assert end == "fail"
    assert files() == []
    threads_gone()


def test_an_idle_client_is_sent_away_at_the_end():
    """A connection that waits for nothing is closed with the run; asking it then is a RemoteError."""
    with held() as system, reach() as client:
        system.stop()
        with pytest.raises(RemoteError, match="has ended, or closed the connection"):
            client.command("status")


def test_every_run_has_a_control_server_of_its_own():
    """The second run of a manager is found under another id."""
    system = nb.SystemManager()
    ids = set()
    for _ in range(2):
        system.start(SLOW, paused=True)
        ids.add(the_entry().id)
        system.stop()
    assert len(ids) == 2


@pytest.mark.parametrize("value", ["off", "0", "false", "No", " OFF "])
def test_the_environment_keeps_control_servers_shut(monkeypatch, value):
    """NBBACKTEST_REMOTE=off, in any case, and the like: no file, no thread."""
    monkeypatch.setenv("NBBACKTEST_REMOTE", value)
    with held():
        assert files() == []


def test_the_config_keeps_a_control_server_shut():
    """`remote.enabled` false: that run can't be reached."""
    with held(SLOW | {"remote": {"enabled": False}}):
        assert files() == []
        assert sessions() == []


def test_backtest_never_opens_one():
    """`backtest()` is headless: while it runs, there is nothing to be found."""
    seen = []

    class Looking(nb.Strategy):
        def on_stop(self):
            seen.append(files())

    nb.backtest(minutes(20), Looking)
    assert seen == [[]]


def test_a_folder_that_cant_be_written_costs_a_warning_and_no_run(monkeypatch, tmp_path, caplog):
    """The run goes on to its end without a control server; the log says once why."""
    server._warn.cache_clear()
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "file" / "runtime"))
    with caplog.at_level(logging.WARNING, logger="nbbacktest"):
        for _ in range(2):
            system = nb.SystemManager()
            system.start({}, data=minutes(20), strategies=nb.Strategy, paused=True)
            system.resume()
            assert system.wait(20).stats["bars"] == 20
    [record] = caplog.records
    assert "this run can't be reached from other terminals: NotADirectoryError" in record.message


def test_a_thread_that_cant_be_had_costs_a_warning_and_no_run(monkeypatch, caplog):
    """Where the system gives no thread for it, the control server stays shut, and no file and no socket is left."""
    server._warn.cache_clear()
    start, before = threading.Thread.start, open_descriptors()

    def refuse(thread):
        if thread.name == "nbbacktest-control-server":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with caplog.at_level(logging.WARNING, logger="nbbacktest"), held() as system:
        assert system.step(3) is True
        assert files() == []
    assert "can't be reached from other terminals: RuntimeError: can't start new thread" in caplog.text
    assert open_descriptors() == before


@posix
def test_a_long_path_gets_a_socket_elsewhere(monkeypatch, runtime):
    """A socket's path may have some hundred bytes; beyond that it lies in a private temporary folder, which goes too."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime / ("long" * 30)))
    with held(), reach() as client:
        place = server.Path(client.entry.address).parent
        assert len(client.entry.address) < 100
        assert place.stat().st_mode & 0o777 == 0o700
        assert client.command("status")["state"] == "paused"
    assert not place.exists()
    assert files() == []


def test_where_there_are_no_socket_files_it_is_a_port_of_this_machine(monkeypatch):
    """The way of Windows: loopback with the same key, the same answers, and the same refusals."""
    monkeypatch.setattr(server, "sys", SimpleNamespace(platform="win32"))
    with held() as system, reach() as client:
        assert client.entry.address.startswith("127.0.0.1:")
        assert client.command("step", n=2)["value"] is True
        assert system.snapshot().cursor == 2
        with pytest.raises(AuthenticationError):
            raw(bytes(32))
        with closing(raw()) as channel:
            assert "65,536" in said(channel, b"x" * 10_000_000)["error"]["message"]
        assert client.command("stop")["value"] is True
    assert files() == []


# -- what it withstands -------------------------------------------------------------------------------------


def test_a_wrong_key_is_refused_and_counted(caplog):
    """Without the key nothing is heard; the refusals are counted, and the first one is logged."""
    with caplog.at_level(logging.WARNING, logger="nbbacktest"), held() as system, reach() as client:
        for _ in range(3):
            with pytest.raises(AuthenticationError):
                raw(os.urandom(32))
        until(lambda: client.command("session")["refused"] == 3)
        assert system.is_paused()
    assert [r.message for r in caplog.records if "refused" in r.message] == [
        "a connection to this session was refused: it hasn't the session's key"
    ]


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"x" * 20, b"\0\0\0\5hello", b"\0\0\0\0",
        b"\x80\0\0\0", b"\xff" * 12, b"\0\0\0\x0b#WELCOME#\0\0",
    ],
)  # fmt: skip
def test_what_speaks_something_else_is_counted_in_a_line(sent, caplog, monkeypatch):
    """A request for a web page, or noise: counted as refused, one warning, and no thread dies of it."""
    died = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    with held(), reach() as client:
        for count in (1, 2):
            with socket.socket(socket.AF_UNIX if sys.platform != "win32" else socket.AF_INET) as stranger:
                stranger.connect(_place(the_entry().address))
                stranger.recv(100)
                stranger.sendall(sent)
                stranger.shutdown(socket.SHUT_WR)
                until(lambda count=count: client.command("session")["refused"] == count)
    assert not died
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        "a connection to this session was refused: it hasn't the session's key"
    ]


def test_ten_megabytes_get_an_error_and_harm_nothing():
    """A message that is too long isn't kept; its sender is told, and the run and other clients don't notice."""
    with held() as system, reach() as client:
        with closing(raw()) as channel:
            answered = said(channel, b"x" * 10_000_000)
            assert answered["ok"] is False
            assert "65,536" in answered["error"]["message"]
            with pytest.raises((EOFError, OSError)):
                channel.recv_bytes()
        session = client.command("session")
        assert (session["broken"], session["state"]) == (1, "paused")
        assert system.snapshot().cursor == 0


@pytest.mark.parametrize("sent", [b"", b"{", b"\x80\x04", b"[" * 60_000, b'{"version": 1, "command": "explode"}'])
def test_a_broken_message_gets_an_error_and_the_connection_goes_on(sent):
    """Broken JSON and unknown commands are answered with an error; the same connection can then ask properly."""
    with held() as system, closing(raw()) as channel:
        answered = said(channel, sent)
        assert answered["ok"] is False
        assert answered["error"]["type"] == "MessageError"
        good = said(channel, b'{"version": 1, "command": "status"}')
        assert good["answer"]["state"] == "paused"
        assert system.is_paused()


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_nothing_that_comes_is_evaluated(tmp_path):
    """Pickles, code and paths in every place of a message make nothing happen."""
    trace = tmp_path / "evaluated"
    code = f"__import__('pathlib').Path({str(trace)!r}).touch()"
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"strategies": [{"class": "never.imported:Strategy"}]}))
    tries = [
        pickle.dumps(Bomb(str(trace))),
        json.dumps({"version": 1, "command": code}).encode(),
        json.dumps({"version": 1, "command": "start", "arguments": {"config": str(config)}}).encode(),
        json.dumps({"version": 1, "command": "to_json", "arguments": {"path": str(trace)}}).encode(),
        *(
            json.dumps({"version": 1, "command": command, "arguments": {name: value}}).encode()
            for command, name in (("until", "when"), ("step", "n"), ("speed", "x"), ("status", "path"))
            for value in (code, "{trace!r}", f"%s{code}", f"${{{code}}}", str(config))
        ),
    ]
    with held() as system, closing(raw()) as channel:
        for message in tries:
            assert said(channel, message)["ok"] is False
        assert system.snapshot().cursor == 0
        assert system.is_paused()
    assert not trace.exists()
    assert not any(name.startswith("never") for name in sys.modules)


def test_a_thousand_connections_leave_nothing_open():
    """Descriptors and threads are as before, whether who came asked, hung up at once, or had a wrong key."""
    with held() as system:
        with reach() as client:
            client.command("status")
        until(lambda: not connections())
        before = open_descriptors()
        entry = the_entry()
        key = registry.read_key(sessions_folder(), entry.id)
        for number in range(1_000):
            if number % 3 == 0:
                with socket.socket(socket.AF_UNIX if entry.address.startswith("/") else socket.AF_INET) as own:
                    own.connect(entry.address)
            elif number % 3 == 1:
                with pytest.raises(AuthenticationError):
                    raw(bytes(32))
            else:
                channel = raw(key)
                assert said(channel, b'{"version": 1, "command": "session"}')["ok"] is True
                channel.close()
        until(lambda: not connections() and open_descriptors() == before)
        assert system.is_paused()


def connections() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "nbbacktest-control-connection"]


def open_descriptors() -> int:
    process = psutil.Process()
    return process.num_fds() if hasattr(process, "num_fds") else process.num_handles()


@posix
def test_who_says_nothing_holds_up_nobody_and_is_cut(monkeypatch):
    """Connections that never prove their key fill no seat for long: others are served at once, and they are cut."""
    monkeypatch.setattr(server, "PROOF_SECONDS", 0.3)
    with held():
        silent = [socket.socket(socket.AF_UNIX) for _ in range(3 * server.MOST_CONNECTIONS)]
        try:
            for own in silent:
                own.connect(the_entry().address)
                own.settimeout(20)
            with reach() as client:
                assert client.command("status")["state"] == "paused"
            for own in silent:
                with suppress(ConnectionResetError):
                    while own.recv(4096):
                        pass
        finally:
            for own in silent:
                own.close()


@posix
def test_half_a_message_is_cut(monkeypatch):
    """Who begins a message and doesn't end it is cut after a while; another is served meanwhile."""
    monkeypatch.setattr(server, "MESSAGE_SECONDS", 0.3)
    with held(), reach() as client, closing(raw()) as channel:
        os.write(channel._connection.fileno(), b"\x00\x00\x10\x00half")
        assert client.command("status")["state"] == "paused"
        with pytest.raises((EOFError, OSError)):
            channel.recv_bytes()


@posix
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_leaves_its_parents_control_server_alone():
    """A child that has a run of its own and exits removes nothing and closes nothing of its parent's."""
    with held(), reach() as client:
        before = files()
        child = os.fork()
        if child == 0:
            right = False
            try:
                with held():
                    right = len(files()) == 6
                server._close_all()
            finally:
                os._exit(0 if right else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert files() == before
        assert client.command("step", n=2)["value"] is True
        with reach() as another:
            assert another.command("status")["state"] == "paused"


def test_a_client_that_is_answered_too_late_asks_no_more(monkeypatch):
    """Without an answer in time the connection is given up: a late answer can't be taken for the next one."""
    answer_now, reply = threading.Event(), server.ControlServer._reply
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(
        server.ControlServer, "_reply", lambda one, message: answer_now.wait(20) and reply(one, message)
    )
    with held(), client_module.Client(the_entry()) as client:
        with pytest.raises(RemoteError, match="has not answered 'status' for 0.05 s"):
            client.command("status")
        answer_now.set()
        with pytest.raises(RemoteError, match="has ended, or closed the connection"):
            client.command("status")
