"""The shell without a terminal: lines in, words out, a status for each."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

import nbbacktest as nb
from nbbacktest import shell
from nbbacktest.core.config import EXAMPLE
from nbbacktest.shell.interpreter import Interpreter


@pytest.fixture
def interpreter(tmp_path, monkeypatch):
    """An interpreter in a folder with two configs: one as fast as it goes, one that no test outlasts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("fast.json").write_text(json.dumps(EXAMPLE), encoding="utf-8")
    paced = EXAMPLE | {"backtest": EXAMPLE["backtest"] | {"speed_multiplier": 60}}
    Path("paced.json").write_text(json.dumps(paced), encoding="utf-8")
    interpreter = Interpreter(nb.SystemManager())
    yield interpreter
    interpreter.system.stop()


def test_the_dialogue_of_a_session(interpreter, capsys):
    """What a user types, and what is answered."""
    said = []
    for line in ("start paced.json", "pause", "status", "resume", "stop"):
        assert interpreter.execute(f"system {line}\n") == 0
        said.append(capsys.readouterr().out.splitlines())
    assert said[0] == ["System started successfully"]
    assert said[1] == ["System paused", "Use 'system resume' to continue"]
    assert said[2][0] == "State: PAUSED"
    assert said[3] == ["System resumed", "State: running"]
    assert said[4] == ["System stopped"]
    assert interpreter.worst == 0


def test_system_may_be_left_out(interpreter, capsys):
    """A command of the system is known without the word before it."""
    assert interpreter.execute("start fast.json --paused") == 0
    assert interpreter.execute("until next fill") == 0
    assert "System paused at 2024-10-03" in capsys.readouterr().out


def test_a_run_goes_back_and_rests_at_breakpoints(interpreter, capsys):
    """The words of the past and of breakpoints, with and without quotes; what can't be is told in a line."""
    for line in (
        "start fast.json --paused",
        "break fill --once",
        "break 12:00",
        "step 400",
        "step 400",
        "back 5",
        "breaks",
    ):
        interpreter.execute(line)
    told = capsys.readouterr().out
    assert "Set breakpoint 1 (fill)\n" in told
    assert ": breakpoint 1 (fill)\n" in told
    assert "System paused at 2024-10-03 12:00:00-04:00: breakpoint 2 (12:00)\n" in told
    assert "System paused at 2024-10-03 11:55:00-04:00\n5 instants lie ahead" in told
    assert told.endswith("Breakpoint 2: 12:00, hit 1 time\n")
    for line in (
        "rewind end",
        "back-until last fill",
        "rewind fill 0 --before",
        'rewind "fill -1"',
        "until last session",
    ):
        assert interpreter.execute(line) == 0, line
    capsys.readouterr()
    assert interpreter.execute("break lunch") != 0
    assert "'lunch' is no place; write a time such as 10:30" in " ".join("".join(capsys.readouterr()).split())


def test_wait_and_report(interpreter, capsys):
    """`wait` tells the outcome in a line, `report` shows the page; of a run that goes on there is no report yet."""
    interpreter.execute("start fast.json")
    assert interpreter.execute("wait") == 0
    assert "Run ended: return -" in capsys.readouterr().out
    assert interpreter.execute("report") == 0
    assert "Final equity" in capsys.readouterr().out
    interpreter.execute("start paced.json")
    assert interpreter.execute("report") == 2
    assert "the run is running: 'wait' for its end, or stop it" in capsys.readouterr().err


def test_json_answers(interpreter, capsys):
    """--json gives the answer as JSON, of `status` the JSON status."""
    interpreter.execute("start fast.json --paused")
    capsys.readouterr()
    interpreter.execute("step 2 --json")
    assert json.loads(capsys.readouterr().out)["value"] is True
    interpreter.execute("status --json")
    assert json.loads(capsys.readouterr().out)["performance_metrics"]["bars_processed"] == 4


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("system bogus", 2, 'Unknown command "bogus"'),
        ("system puase", 2, 'Did you mean "pause"?'),
        ("start nope.json", 2, "no such file"),
        ("resume", 2, "can't resume while STOPPED; allowed here: start"),
        ("speed -1", 2, "speed -1.0 can't be"),
        ("start 'half", 2, "no closing quotation in: start 'half"),
        ("wait", 2, "nothing was started yet"),
        ("validate nope.json", 2, "no such file"),
    ],
)
def test_a_mistake_is_told_and_harms_no_other_line(interpreter, capsys, line, status, words):
    """One message on stderr, no traceback, and the next line is carried out."""
    assert interpreter.execute(line) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("nbbacktest: ")
    assert words in err
    assert "Traceback" not in err
    assert interpreter.execute("status") == 0
    assert interpreter.worst == status


def test_a_bug_is_told_and_the_shell_goes_on(interpreter, capsys, monkeypatch):
    """Whatever a command raises, the next line is read."""

    def fail(system):
        raise ZeroDivisionError("by order")

    monkeypatch.setattr("nbbacktest.shell.interpreter.COMMANDS", {"status": fail})
    assert interpreter.execute("system status") == 1
    assert "ZeroDivisionError: by order" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["", "   \n", "# a remark", "\t# system start nope.json"])
def test_empty_lines_and_remarks_do_nothing(interpreter, capsys, line):
    """As in other shells."""
    assert interpreter.execute(line) == 0
    assert capsys.readouterr() == ("", "")


def test_help_lists_and_explains(interpreter, capsys):
    """All commands with a line each; of one, its parameters."""
    assert interpreter.execute("help") == 0
    out = capsys.readouterr().out
    words = ("system start [CONFIG]", "system step [N]", "system until WHEN", "wait", "report", "exit", "sessions")
    assert all(word in out for word in words)
    assert interpreter.execute("help step") == 0
    assert "How many instants." in capsys.readouterr().out


def test_an_interrupted_step_pauses(interpreter, capsys, monkeypatch):
    """Ctrl-C while a command waits for the run holds the run; while one only waits, the run goes on."""
    interpreter.execute("start paced.json")
    capsys.readouterr()

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(nb.SystemManager, "run_until", interrupt)
    assert interpreter.execute("until 15:00") == 130
    assert "interrupted; the run is paused" in capsys.readouterr().err
    interpreter.execute("resume")
    monkeypatch.setattr(nb.SystemManager, "wait", interrupt)
    assert interpreter.execute("wait") == 130
    assert "interrupted; the run is running" in capsys.readouterr().err


def test_closing_stops_what_goes_on(interpreter, capsys):
    """Nothing is left behind, and it is told."""
    interpreter.execute("start paced.json")
    interpreter.close()
    assert interpreter.system.is_stopped()
    assert capsys.readouterr().out.endswith("System stopped\n")
    interpreter.close()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("last", ["exit", "quit"])
def test_a_script_ends_with_its_worst_status(interpreter, capsys, monkeypatch, last):
    """Lines of standard input are carried out until `exit`; no prompt is shown."""
    monkeypatch.setattr("nbbacktest.system.session._the_one", None)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"start fast.json --paused\nbogus\nstep 3\n{last}\nstep 100\n"))
    assert shell.interact() == 2
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "System started successfully", "Use 'system step' or 'system resume' to set it in motion",
        "Stepped 3 instants at 2024-10-03 09:33:00-04:00", "System stopped",
    ]  # fmt: skip
    assert len(err.splitlines()) <= 2
