"""The shell and the live display in a pseudo terminal, and a second terminal beside them: what a user types and reads."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

import nbbacktest as nb
from nbbacktest.cli import main

ROOT = Path(__file__).parents[2]
CONFIG = "session_configs/example_session.json"
ARGUMENTS = ["-m", "nbbacktest"]

if sys.platform == "win32":
    pytest.skip("pseudo terminals are of POSIX", allow_module_level=True)

pexpect = pytest.importorskip("pexpect")
pyte = pytest.importorskip("pyte")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A home, a history and a folder of sessions of this test alone; control servers are open."""
    loud = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "CLICOLOR_FORCE", "NBBACKTEST_REMOTE")
    return {key: value for key, value in os.environ.items() if key not in loud} | {
        "TERM": "xterm-256color", "PYTHONUTF8": "1", "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state"), "PROMPT_TOOLKIT_NO_CPR": "1",
    }  # fmt: skip


@pytest.fixture
def spawn(environment: dict[str, str]) -> Iterator[Callable[..., Any]]:
    """Start the command in a terminal of its own; what still runs at the end of the test is ended."""
    started = []

    def start(*arguments: str, width: int = 100, height: int = 30) -> Any:
        child = pexpect.spawn(
            sys.executable, [*ARGUMENTS, *arguments], cwd=str(ROOT), env=environment, encoding="utf-8", codec_errors="replace", timeout=30,
            dimensions=(height, width),
        )  # fmt: skip
        child.delaybeforesend = 0.01
        started.append(child)
        return child

    yield start
    for child in started:
        child.close(force=True)


@pytest.fixture
def second(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A second terminal in the test's own process: the command line's `main`, without the start of an interpreter."""
    for name in ("HOME", "JUPYTER_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, environment[name])
    monkeypatch.delenv("NBBACKTEST_REMOTE", raising=False)
    monkeypatch.chdir(ROOT)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        status = main(arguments)
        return subprocess.CompletedProcess(arguments, status, *capsys.readouterr())

    return run


@pytest.fixture
def command(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A second terminal: run the command in a process of its own; returns its output."""

    def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *ARGUMENTS, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True,
            timeout=50, check=False, encoding="utf-8", **options,
        )  # fmt: skip

    return run


def ended(child: Any) -> int:
    child.expect(pexpect.EOF)
    child.wait()
    return child.exitstatus


class Screen:
    """What a user sees of a child's terminal."""

    def __init__(self, child: Any, width: int, height: int) -> None:
        self.child = child
        self._screen = pyte.Screen(width, height)
        self._stream = pyte.Stream(self._screen)

    def text(self) -> str:
        return "\n".join(self._screen.display)

    def until(self, *words: str, seconds: float = 20.0) -> str:
        """Read on until all words are to be seen at once."""
        deadline = monotonic() + seconds
        while not all(word in self.text() for word in words):
            assert monotonic() < deadline, f"no {words} on:\n{self.text()}"
            try:
                self._stream.feed(self.child.read_nonblocking(65_536, 0.1))
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                break
        assert all(word in self.text() for word in words), self.text()
        return self.text()


# -- the shell ----------------------------------------------------------------------------------------------


def test_the_dialogue_in_the_shell(spawn):
    """Start, pause, status, resume, stop, typed one after the other; the prompt shows the state."""
    shell = spawn()
    shell.expect(r"\[STOPPED\]")
    shell.sendline(f"system start {CONFIG}")
    shell.expect_exact("System started successfully")
    shell.expect(r"\[RUNNING\]")
    shell.sendline("system pause")
    shell.expect_exact("System paused")
    shell.expect_exact("Use 'system resume' to continue")
    shell.expect(r"\[PAUSED\]")
    shell.sendline("system status")
    shell.expect_exact("State: PAUSED")
    shell.sendline("system resume")
    shell.expect_exact("System resumed")
    shell.expect_exact("State: running")
    shell.sendline("system stop")
    shell.expect_exact("System stopped")
    shell.sendline("exit")
    assert ended(shell) == 0


def test_the_run_goes_on_while_one_types(spawn):
    """The end of the run is told above the line that is being typed, which isn't lost."""
    shell = spawn()
    shell.expect(r"\[STOPPED\]")
    shell.sendline(f"start {CONFIG} --speed 100000")
    shell.expect_exact("System started successfully")
    shell.send("help st")
    shell.expect(r"Run ended: return -\d+\.\d\d%, \d+ trades")
    shell.sendline("ep")
    shell.expect_exact("How many instants.")
    shell.expect(r"\[STOPPED\]")
    shell.sendeof()
    assert ended(shell) == 0


def test_leaving_stops_the_run_and_keeps_the_history(spawn, second, tmp_path):
    """At the end of the shell nothing runs and nothing lies about but the history, which only its user can read."""
    shell = spawn()
    shell.expect(r"\[STOPPED\]")
    shell.sendline(f"start {CONFIG}")
    shell.expect_exact("System started successfully")
    shell.expect(r"\[RUNNING\]")
    shell.sendeof()
    shell.expect_exact("System stopped")
    assert ended(shell) == 0
    assert second("system", "status").returncode == 3
    history = tmp_path / "state" / "nbbacktest" / "history"
    assert f"+start {CONFIG}" in history.read_text(encoding="utf-8")
    assert history.stat().st_mode & 0o077 == 0
    left = [path.name for path in (tmp_path / "runtime").rglob("*") if path.is_file() or path.is_socket()]
    assert left == []


@pytest.mark.parametrize("arguments", [[], ["system", "start", CONFIG, "--speed", "60"]], ids=["shell", "display"])
def test_a_closed_terminal_ends_the_run(spawn, second, arguments):
    """Who closes the window leaves nothing behind, no entry either."""
    child = spawn(*arguments)
    if not arguments:
        child.expect(r"\[STOPPED\]")
        child.sendline(f"start {CONFIG} --speed 60")
    child.expect_exact("RUNNING")
    child.kill(signal.SIGHUP)
    child.expect(pexpect.EOF)
    child.wait()
    assert second("sessions").stdout == "no session is running\n"


def test_tab_completes_and_ctrl_c_drops_the_line(spawn):
    """Commands and configs are completed; Ctrl-C at the prompt leaves neither the shell nor the line."""
    shell = spawn()
    shell.expect(r"\[STOPPED\]")
    shell.send("system sta\t")
    shell.expect_exact("status")  # in the menu
    shell.sendintr()
    shell.expect_exact("\x1b[?2004h")
    shell.expect(r"\[STOPPED\]")  # the next prompt
    shell.send("validate session_configs/exa\t")
    shell.expect_exact("mple_session.json")
    shell.sendline("")
    shell.expect_exact("is valid: Example: two synthetic symbols")
    shell.sendline("exit")
    assert ended(shell) == 0


def test_ctrl_c_while_a_command_waits_pauses_the_run(spawn, second):
    """`until` is left by Ctrl-C, with the run at rest and the shell at its prompt."""
    shell = spawn()
    shell.expect(r"\[STOPPED\]")
    shell.sendline(f"start {CONFIG} --speed 60 --paused")
    shell.expect(r"\[PAUSED\]")
    shell.sendline("until 15:59")
    deadline = monotonic() + 30
    while "running" not in second("sessions").stdout:
        assert monotonic() < deadline
        sleep(0.02)
    shell.sendintr()
    shell.expect_exact("interrupted; the run is paused")
    shell.expect(r"\[PAUSED\]")
    shell.sendline("exit")
    shell.expect_exact("System stopped")
    assert ended(shell) == 0


def test_a_script_through_standard_input(command):
    """No prompt, no escape sequence; the status of the worst line; a run that goes on is stopped."""
    script = f"# a session\nsystem start {CONFIG} --paused\nsystem step 5\nnonsense\nsystem status\n"
    done = command(input=script)
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert lines[0] == "System started successfully"
    assert lines[2] == "Stepped 5 instants at 2024-10-03 09:35:00-04:00"
    assert lines[3] == "State: PAUSED"
    assert lines[-1] == "System stopped"
    assert "\x1b" not in done.stdout
    assert done.stderr.startswith('nbbacktest: Unknown command "nonsense"')


# -- a second terminal --------------------------------------------------------------------------------------


def test_the_dialogue_from_a_second_terminal(spawn, second, command):
    """A run in the foreground of one terminal is paused, looked at, stepped, resumed and stopped from another."""
    first = spawn("system", "start", CONFIG, "--speed", "600")
    first.expect_exact("System started successfully")
    first.expect_exact("RUNNING")

    def said(*words: str, run: Callable[..., subprocess.CompletedProcess[str]] = second) -> str:
        done = run("system", *words)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert said("pause", run=command) == "System paused\nUse 'system resume' to continue\n"
    before = json.loads(said("status", "--json"))
    assert "State: PAUSED" in said("status")
    assert "Stepped 3 instants at" in said("step", "3")
    after = json.loads(said("status", "--json"))
    assert after["performance_metrics"]["bars_processed"] == before["performance_metrics"]["bars_processed"] + 6
    assert "paused" in second("sessions").stdout
    assert said("until", "next", "fill").startswith("System paused at")
    assert said("resume") == "System resumed\nState: running\n"
    assert said("stop") == "System stopped\n"
    first.expect_exact("Final equity")
    assert ended(first) == 0
    assert second("system", "pause").returncode == 3


def test_several_sessions_are_listed_and_one_is_picked(spawn, second):
    """Without --session a status of several is their list, and any other command asks which one."""
    for _ in range(2):
        child = spawn("system", "start", CONFIG, "--speed", "60")
        child.expect_exact("RUNNING")
    listed = json.loads(second("sessions", "--json").stdout)["sessions"]
    assert len(listed) == 2
    assert second("system", "status").stdout.count("Example") == 2
    asked = second("system", "pause")
    assert asked.returncode == 2
    assert all(entry["id"] in asked.stderr for entry in listed)
    for entry in listed:
        assert second("system", "stop", "--session", entry["id"]).stdout == "System stopped\n"
    nobody = second("system", "status")
    assert (nobody.returncode, nobody.stdout) == (3, "")
    assert "no session is running" in nobody.stderr


def test_a_killed_run_is_reported_as_gone_and_swept(spawn, second):
    """A run ended by kill -9 leaves an entry; the next status says so and removes it."""
    child = spawn("system", "start", CONFIG)
    child.expect_exact("RUNNING")
    child.kill(9)
    child.wait()
    told = second("system", "status")
    assert told.returncode == 3
    assert f"process {child.pid} died" in told.stdout
    assert second("sessions").stdout == "no session is running\n"


# -- the live display ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 40)])
def test_the_display_obeys_its_keys(spawn, width, height):
    """p, s, r, space and q do what they say; the page stays whole; the report comes at the end, with status 0."""
    child = spawn("system", "start", CONFIG, "--speed", "600", width=width, height=height)
    screen = Screen(child, width, height)
    screen.until("RUNNING", "Equity", "600x", "left")
    child.send("p")
    paused = screen.until("PAUSED", "at rest", "System paused", "resume")
    assert [paused.count(corner) for corner in "╭╮╰╯"] == [4, 4, 4, 4]
    child.send("s")
    screen.until("Stepped 1 instant at")
    child.send("r")
    screen.until("RUNNING", "System resumed")
    child.send(" ")
    screen.until("PAUSED")
    child.send(" ")
    screen.until("RUNNING")
    child.send("x")
    screen.until("'x' is no key here")
    child.send("q")
    child.expect_exact("Final equity")
    assert ended(child) == 0


def test_ctrl_c_first_asks_then_stops(spawn):
    """The first one pauses and asks, the second stops and prints the report; the terminal is left as it was."""
    child = spawn("system", "start", CONFIG, width=80, height=24)
    screen = Screen(child, 80, 24)
    screen.until("RUNNING", "Equity")
    child.sendintr()
    screen.until("PAUSED", "Go on, or stop here?")
    child.send("r")
    screen.until("RUNNING")
    child.sendintr()
    screen.until("Go on, or stop here?")
    child.sendintr()
    child.expect_exact("Final equity")
    child.expect_exact("interrupted: this is what was run until then")
    rest = child.before
    assert ended(child) == 130
    assert "Traceback" not in rest


def test_without_a_terminal_there_are_plain_lines(command):
    """In a pipe: what happened, line by line, and the report; not one escape sequence."""
    done = command("system", "start", "session_configs/clock_driven.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("System started successfully\n")
    assert "Final equity" in done.stdout
    assert "\x1b" not in done.stdout


def test_events_for_programs(command):
    """With --json every line of stdout is an object; the first is the start, the last the end."""
    done = command("system", "start", "session_configs/clock_driven.json", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["start", "end"]
    assert {event["event"] for event in events[1:-1]} <= {"state", "progress"}
    assert events[-1]["stats"]["bars"] == 390


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["system", "start", "nope.json"], 2),
        (["system", "start", CONFIG, "--speed", "-1"], 2),
        (["system", "strat"], 2),
        (["system", "pause"], 3),
        (["system", "stop", "--session", "nobody"], 3),
        (["validate", CONFIG], 0),
    ],
)
def test_exit_statuses(command, second, arguments, status):
    """0 done, 2 wrong usage or config, 3 no running session; one message, no traceback. Each in a process once."""
    done = (command if len(arguments) == 2 else second)(*arguments)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert bool(done.stderr) is (status != 0)


def test_a_failing_strategy_is_status_1(command, tmp_path):
    """The report of what was run, and the error in a line."""
    (tmp_path / "bad.py").write_text(
        "import nbbacktest as nb\n\nclass Bad(nb.Strategy):\n    def on_bar(self, bar):\n        raise ValueError('no')\n",
        encoding="utf-8",
    )
    config = json.loads((ROOT / CONFIG).read_text(encoding="utf-8")) | {"strategies": [{"class": "bad:Bad"}]}
    (tmp_path / "bad.json").write_text(json.dumps(config), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *ARGUMENTS, "system", "start", "bad.json"], cwd=tmp_path, capture_output=True, text=True,
        timeout=50, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "Bad.on_bar raised" in done.stderr
    assert "Traceback" not in done.stderr


# -- completion of the terminal's own shell -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(second, name):
    """A script that names the commands, in the shell's own syntax where that shell is here to check it."""
    done = second("completion", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(word in done.stdout for word in ("nbbacktest", "system", "sessions", "pause"))
    if shutil.which(name):
        checked = subprocess.run(
            [name, "-n"], input=done.stdout, text=True, capture_output=True, check=False, timeout=30
        )
        assert checked.stderr == ""


def test_bash_completes(second):
    """In bash itself, `nbbacktest system st` has the commands that begin so."""
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    script = second("completion", "bash").stdout
    asked = "COMP_WORDS=(nbbacktest system st); COMP_CWORD=2; _nbbacktest; printf '%s\\n' \"${COMPREPLY[@]}\""
    done = subprocess.run(
        ["bash", "-c", f"complete() {{ :; }}\n{script}\n{asked}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert set(done.stdout.split()) == {"start", "step", "stop", "status"}


def test_completion_is_installed_where_the_shell_looks(command, tmp_path):
    """--install writes the script below the user's home, and says where."""
    done = command("completion", "bash", "--install")
    assert done.returncode == 0
    assert str(tmp_path) in done.stdout
    assert list(tmp_path.rglob("*completions*/nbbacktest"))


# -- how it is left -----------------------------------------------------------------------------------------


def cursor_is_shown(log: str) -> bool:
    return log.rfind("\x1b[?25l") <= log.rfind("\x1b[?25h")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("face", ["run", "system start", "shell", "feed serve"])
def test_a_signal_that_ends_a_session_leaves_all_in_order(spawn, tmp_path, face, number):
    """Status 128 and its number; what was run is reported and kept, the cursor shown, and no session's entry is left."""
    if number == signal.SIGHUP and face in ("shell", "feed serve"):
        pytest.skip("the same code as for SIGTERM; a closed terminal has its own test")
    config, kept = tmp_path / "slow.json", tmp_path / "kept.nbbt"
    slow = json.loads((ROOT / CONFIG).read_text(encoding="utf-8")) | {"session_name": "Slow one"}
    slow["backtest"]["speed_multiplier"] = 60
    config.write_text(json.dumps(slow), encoding="utf-8")
    log = io.StringIO()
    if face == "shell":
        child = spawn()
        child.logfile_read = log
        child.expect(r"\[STOPPED\]")
        child.sendline(f"start {config}")
        child.expect(r"\[RUNNING\]")
    else:
        options = {"run": ["--save", str(kept)], "feed serve": ["--port", "0"]}.get(face, [])
        child = spawn(*face.split(), str(config), *options)
        child.logfile_read = log
        child.expect({"run": "running.*09:3", "system start": "pause", "feed serve": "Ctrl-C ends it"}[face])
    child.kill(number)
    assert ended(child) == 128 + number
    assert cursor_is_shown(log.getvalue())
    assert "Traceback" not in log.getvalue()
    assert [path for path in (tmp_path / "runtime").rglob("*") if not path.is_dir()] == []
    if face != "feed serve":
        assert "Final equity" in log.getvalue()
    if face == "run":
        assert f"ended by {number.name}: this is what was run until then" in log.getvalue()
        assert nb.Result.load(kept).name == "Slow one"


@pytest.mark.parametrize("face", ["run", "system start"])
def test_ctrl_z_gives_the_shell_its_terminal_and_fg_takes_it_back(environment, tmp_path, face):
    """At the prompt the cursor is shown and lines are read; after `fg` single keys are, and the run goes on to its end."""
    config = tmp_path / "slow.json"
    slow = json.loads((ROOT / CONFIG).read_text(encoding="utf-8"))
    slow["backtest"]["speed_multiplier"] = 60
    config.write_text(json.dumps(slow), encoding="utf-8")
    child = pexpect.spawn("/bin/sh", env=environment, cwd=str(ROOT), encoding="utf-8", dimensions=(24, 80), timeout=30)
    try:
        child.sendline("PS1='P''ROMPT> '")
        child.expect("PROMPT> ")
        child.sendline(f"{sys.executable} -m nbbacktest {face} {config}")
        child.expect("running.*09:3" if face == "run" else "pause")
        child.send("\x1a")
        child.expect("PROMPT> ")
        assert cursor_is_shown(child.before)
        child.sendline("echo at the prom''pt")
        child.expect("at the prompt\r?\n")
        child.sendline("fg")
        child.expect("running.*09:3" if face == "run" else "pause")
        child.send("\x03" if face == "run" else "q")
        child.expect("Final equity")
        child.expect("PROMPT> ")
        assert cursor_is_shown(child.before)
    finally:
        child.close(force=True)
