"""The command line: what each command prints where, and the status it ends with."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

import nbbacktest as nb
from nbbacktest import cli
from nbbacktest.core.config import EXAMPLE
from tests.markets import minutes

CONFIGS = Path(__file__).parents[2] / "session_configs"


class Boom(nb.Strategy):
    """Trades, then raises at the tenth bar."""

    def on_bar(self, bar):
        print("a strategy speaks")
        self.buy(bar.symbol, 1)
        if len(self.bars(bar.symbol)) == 10:
            raise ValueError("the tenth bar")


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Write a changed example config to a file, as the only one in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    # As a strategy's own module would be.
    monkeypatch.setitem(sys.modules, "boom_strategies", sys.modules[__name__])

    def write(name="run.json", **changes):
        Path(name).write_text(json.dumps(EXAMPLE | changes), encoding="utf-8")
        return name

    return write


def test_run_prints_a_report(config, capsys):
    """The report goes to stdout, nothing to stderr, and the status is 0."""
    assert cli.main(["run", config()]) == 0
    out, err = capsys.readouterr()
    assert "Example: two synthetic symbols" in out
    assert "synthetic data" in out
    assert "Final equity" in out
    assert err == ""
    assert "\x1b" not in out


def test_run_prints_json_and_nothing_else(config, capsys):
    """With --json stdout is one JSON document; what a strategy prints goes to stderr."""
    assert cli.main(["run", config(strategies=[{"class": "boom_strategies:Boom"}]), "--json"]) == 1
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["name"] == "Example: two synthetic symbols"
    assert document["metrics"]["error"]["callback"] == "on_bar"
    assert "a strategy speaks" in err


def test_run_saves_the_result(config, capsys):
    """--save writes a file that Result.load reads back; stderr says where."""
    assert cli.main(["run", config(), "--save", "run [1].nbbt"]) == 0
    assert capsys.readouterr().err == "saved to run [1].nbbt\n"
    expected = nb.SystemManager()
    expected.start(EXAMPLE)
    assert nb.Result.load("run [1].nbbt").fingerprint == expected.wait(30).fingerprint


@pytest.mark.parametrize(
    ("place", "words"), [("nowhere/x", "there is no folder"), (".", "is a folder; name a file in it")]
)
def test_a_bad_place_to_save_is_refused_before_the_run(config, capsys, place, words):
    """Where the result can't go, nothing is run at all."""
    assert cli.main(["run", config(), "--save", place]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"--save = '{place}': {words}" in err


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and modes are of POSIX")
@pytest.mark.parametrize(("kind", "words"), [("pipe", "is a pipe and stays as it is"), ("read-only", "is read-only")])
def test_a_place_that_is_no_file_is_refused_before_the_run(config, capsys, monkeypatch, kind, words):
    """A pipe or a read-only file stays as it is, and no run starts."""
    monkeypatch.setattr(nb.SystemManager, "start", lambda *args, **options: pytest.fail("a run has started"))
    if kind == "pipe":
        os.mkfifo("x")
    else:
        Path("x").write_bytes(b"keep")
        Path("x").chmod(0o444)
    before = os.lstat("x")
    assert cli.main(["run", config(), "--save", "x"]) == 2
    assert f"--save = 'x': {words}" in capsys.readouterr().err
    assert os.lstat("x") == before


def test_a_disk_that_fails_is_one_line(config, capsys, monkeypatch):
    """The report is printed all the same; what the disk said comes after it, and the status is 1."""

    def full(self, path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(nb.Result, "save", full)
    assert cli.main(["run", config(), "--save", "x"]) == 1
    out, err = capsys.readouterr()
    assert "Final equity" in out
    assert err == "nbbacktest: [Errno 28] No space left on device: 'x'; check the path and the disk\n"


@pytest.mark.parametrize("on_error", ["stop", "pause"])
def test_a_failing_strategy_is_reported_with_what_was_done(config, capsys, on_error):
    """The error goes to stderr, the report of the part that was run to stdout; nobody is left waiting at a pause."""
    name = config(strategies=[{"class": "boom_strategies:Boom"}], on_error=on_error)
    assert cli.main(["run", name]) == 1
    out, err = capsys.readouterr()
    assert "Boom.on_bar raised at the 1m bar of EXE stamped 2024-10-03 09:39:00-04:00: ValueError: the tenth bar" in err
    assert "Traceback" not in err
    assert "Final equity" in out
    assert "The run ended by an error" in out


def test_an_engine_that_fails_is_one_line(config, capsys, monkeypatch):
    """A crash of the engine itself is status 1 and one line."""

    def crash(self):
        raise nb.NbBacktestError("the engine failed: by order")

    monkeypatch.setattr(nb.SystemManager, "wait", crash)
    assert cli.main(["run", config()]) == 1
    assert capsys.readouterr().err == "nbbacktest: the engine failed: by order\n"


def test_an_interrupted_run_reports_its_part(config, capsys, monkeypatch):
    """Ctrl-C ends the run, not the report: status 130, no traceback."""

    def interrupt(system):
        raise KeyboardInterrupt

    monkeypatch.setattr("nbbacktest.cli.run._follow", interrupt)
    assert cli.main(["run", config(backtest=EXAMPLE["backtest"] | {"speed_multiplier": 0.001})]) == 130
    out, err = capsys.readouterr()
    assert err == "nbbacktest: interrupted: this is what was run until then\n"
    assert "Example" in out


def test_an_interrupt_elsewhere_is_one_line(config, capsys, monkeypatch):
    """Ctrl-C while bars are read: status 130 and one line."""

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(nb.SystemManager, "start", interrupt)
    assert cli.main(["run", config()]) == 130
    assert capsys.readouterr() == ("", "nbbacktest: interrupted\n")


def test_validate_says_yes(config, capsys):
    """A valid config is named with its session, status 0."""
    assert cli.main(["validate", config()]) == 0
    assert capsys.readouterr() == ("run.json is valid: Example: two synthetic symbols\n", "")


def test_validate_prints_every_problem(config, capsys):
    """All problems of a config, one line each, status 2."""
    assert cli.main(["validate", config(sesion="x", mode="livee", broker={"cash": -1})]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "nbbacktest: run.json has 3 problems:",
        "  mode = 'livee': must be 'backtest' or 'live'; did you mean 'live'?",
        "  broker.cash = -1: must be greater than 0 (starting cash)",
        "  sesion = 'x': is not a known key; did you mean 'session_name'?",
    ]


@pytest.mark.parametrize(("arguments", "name"), [([], "config"), (["config"], "config"), (["status"], "status")])
def test_schema_prints_json(capsys, arguments, name):
    """The schema by that name; the config's where none is given."""
    assert cli.main(["schema", *arguments]) == 0
    assert json.loads(capsys.readouterr().out) == nb.schema(name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu"], 'Unknown command "rnu". Did you mean "run"?'),
        (["run", "x.json", "--jsno"], "Unknown option: --jsno. Did you mean --json?"),
        (["run", "x.json", "y.json"], "Unused Tokens: ['y.json']"),
        (["run"], 'Command "run" parameter CONFIG requires an argument.'),
        (["schema", "stauts"], 'Did you mean "status"?'),
        (["run", "x.json", "--save"], "--save requires an argument"),
        (["run", "nope.json"], "no such file; there is no JSON file in"),
        (["validate", "nope.json"], "no such file; there is no JSON file in"),
    ],
)
def test_wrong_usage_is_one_line_that_helps(tmp_path, monkeypatch, capsys, arguments, words):
    """A mistake on the command line is status 2, a line on stderr, and nothing on stdout."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("nbbacktest: ")
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
def test_help_lists_the_commands(capsys, arguments):
    """Asked for help, it lists its commands and ends with 0."""
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert all(
        command in out for command in ("system", "sessions", "run", "validate", "schema", "completion", "--version")
    )


def test_version(capsys):
    """--version prints the version alone."""
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == nb.__version__ + "\n"


def test_arguments_come_from_the_command_line(monkeypatch, capsys):
    """Without arguments, main takes those that the process was given."""
    monkeypatch.setattr(sys, "argv", ["nbbacktest", "--version"])
    assert cli.main() == 0
    assert capsys.readouterr().out == nb.__version__ + "\n"


def test_strategies_of_the_current_folder_can_be_named(config, capsys, monkeypatch):
    """A config names a strategy in a module that lies in the folder that the command is given in."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    Path("my_own_rules.py").write_text(
        "import nbbacktest as nb\n\n\nclass Mine(nb.Strategy):\n    depth: int = 3\n", encoding="utf-8"
    )
    name = config(strategies=[{"class": "my_own_rules:Mine", "params": {"depth": 4}}])
    try:
        assert cli.main(["run", name]) == 0
        assert cli.main(["run", name]) == 0
    finally:
        sys.modules.pop("my_own_rules", None)
    assert "Mine(depth=4)" in capsys.readouterr().out
    assert sys.path.count("") == 1


HOSTILE = "\x1b[31m\x07\x9b2J\u202e[/]"


class Hostile(nb.Strategy):
    """Raises what a terminal would obey."""

    def on_bar(self, bar):
        if len(self.bars(bar.symbol)) == 3:
            self.buy(bar.symbol, 1)
        if len(self.bars(bar.symbol)) == 10:
            raise ValueError(HOSTILE)


@pytest.mark.parametrize(
    "command",
    [["run", "run.json"], ["system", "start", "run.json"], ["validate", "run.json"], ["run", "run.json", "--json"],
     ["system", "start", "run.json", "--json"], ["data", "quality", "run.json"], ["run", HOSTILE], ["system", HOSTILE],
     ["system", "status", "--session", HOSTILE]],
)  # fmt: skip
def test_no_name_or_error_commands_the_terminal(config, capsys, monkeypatch, command):
    """Escape sequences in a session's name, a symbol, an exception's text or an argument are written escaped."""
    system = nb.SystemManager()
    monkeypatch.setattr(nb, "get_system_manager", lambda: system)  # the process's own would start this again
    data = EXAMPLE["data"] | {"symbols": [f"A{HOSTILE}", "B"]}
    config(session_name=f"Mine {HOSTILE}", data=data, strategies=[{"class": "boom_strategies:Hostile"}])
    cli.main(command)
    out, err = capsys.readouterr()
    assert not [sign for sign in "\x1b\x07\x9b\u202e" if sign in out + err]
    if command[0] != "data" and "--session" not in command:  # a narrow column folds it; without a run it isn't repeated
        assert "\\u202e" in out + err


def test_a_file_of_the_folder_takes_no_installed_modules_place(config, capsys, monkeypatch):
    """The current folder is searched last, however often the command is given."""
    monkeypatch.setattr(sys, "path", ["", *(entry for entry in sys.path if entry)])
    for _ in range(2):
        assert cli.main(["run", config()]) == 0
        assert sys.path[-1] == ""
        assert sys.path.count("") == 1
    capsys.readouterr()


# -- feed serve -------------------------------------------------------------------------------------------------


def test_feed_serve_says_where_it_listens_and_ends_with_ctrl_c(config, capsys, monkeypatch):
    """The session's bars are served until Ctrl-C, which is the usual end: status 0. The token is never shown."""
    from nbbacktest.system.feeds.server import FeedServer

    monkeypatch.setenv("NBBACKTEST_FEED_TOKEN", "s3cret")
    monkeypatch.setattr(FeedServer, "wait", raising_interrupt)
    assert cli.main(["feed", "serve", config(), "--port", "0", "--speed", "60"]) == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(r"serving run\.json at ws://127\.0\.0\.1:\d+, with a token; Ctrl-C ends it\n", out)
    assert err == ""


def raising_interrupt(server):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "others could reach that, and there is no token"),
        (["--token-file", "none.txt"], "can't be read: No such file"),
        (["--speed", "-1"], "speed = -1"),
    ],
)
def test_feed_serve_refuses_what_it_cant(config, capsys, monkeypatch, arguments, message):
    """Wrong options are one clear line, status 2."""
    monkeypatch.delenv("NBBACKTEST_FEED_TOKEN", raising=False)
    assert cli.main(["feed", "serve", config(), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_data_quality_is_told_of_a_file(tmp_path, capsys):
    """Counts against the exchange's sessions, as tables or as JSON."""
    frame = minutes(390).drop(minutes(390).index[5:8])
    path = tmp_path / "EXE.csv"
    frame.to_csv(path, index_label="time")
    assert cli.main(["data", "quality", str(path), "--stamp", "open"]) == 0
    assert "99.23%" in capsys.readouterr().out
    assert cli.main(["data", "quality", str(path), "--stamp", "open", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["symbols"]["EXE"]["missing"] == 3
    assert cli.main(["data", "quality", str(tmp_path / "nothing.csv")]) == 2
