"""The magics in a plain IPython: what they answer, return and refuse."""

from __future__ import annotations

import json

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

import nbbacktest as nb
from nbbacktest.data import synthetic

BUYER = """
import nbbacktest as nb
class Buyer(nb.Strategy):
    def on_bar(self, bar):
        if not self.position(bar.symbol).size:
            self.buy(bar.symbol, size=1)
"""


@pytest.fixture(scope="module")
def shell():
    made = InteractiveShell()
    made.run_line_magic("load_ext", "nbbacktest")
    yield made
    made.history_manager.end_session()
    InteractiveShell.clear_instance()


@pytest.fixture(autouse=True)
def at_rest(shell):
    shell.user_ns.setdefault("__name__", "__main__")
    yield
    nb.get_system_manager().stop()
    shell.magics_manager.registry["BacktestMagics"]._newest = None


def line(shell, text):
    return shell.run_line_magic("backtest", text)


def cell(shell, options, body):
    return shell.run_cell_magic("backtest", options, body)


def test_commands_are_those_of_the_command_line(shell, capsys):
    """Start paused, step, run until, speed, status, resume and stop: each says so and returns what Python returns."""
    system = nb.get_system_manager()
    assert line(shell, "start --paused") is True
    assert line(shell, "step 3") is True
    assert system.snapshot().cursor == 3
    assert line(shell, "until 10:30") is True
    assert line(shell, "speed 60") is None
    assert line(shell, "pause") is False
    status = line(shell, "status")
    assert status["system_manager"]["_state"] == "paused"
    assert line(shell, "speed 0") is None
    assert line(shell, "resume") is True
    system.wait()
    assert line(shell, "stop") is False
    said = capsys.readouterr().out
    for words in (
        "System started successfully",
        "Stepped 3 instants",
        "State: PAUSED",
        "System resumed",
        "'%backtest resume'",
    ):
        assert words in said


def test_status_as_json_is_the_json_status(shell, capsys):
    """`--json` prints the status, which is returned too."""
    status = line(shell, "status --json")
    assert json.loads(capsys.readouterr().out)["_metadata"]["version"] == status["_metadata"]["version"] == "1.0"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("nonsense", "Unknown command"),
        ("pause", "can't pause while STOPPED"),
        ("start missing.json", "no such file"),
        ("step x", "x"),
        ("speed -1", "speed -1.0 can't be"),
        ("until 'noon", "close the quotes"),
    ],
)
def test_a_mistake_gives_one_line(shell, options, words):
    """Whatever is mistyped: a UsageError, which IPython shows without a traceback, in a single line."""
    with pytest.raises(UsageError) as caught:
        line(shell, options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "body", "words"),
    [
        ("", "x = 1", "defines no strategy"),
        ("", "class X(nb.Strategy\n    pass", "line 1: '(' was never closed"),
        ("", "import nbbacktest as nb\nclass X(nb.Strategy):\n    a = undefined", "line 3, raised NameError"),
        ("--wibble", BUYER, "--wibble"),
        ("--name 1x", BUYER, "is no variable's name"),
        ("missing.json", BUYER, "no such file"),
        ("--data nothing", BUYER, "neither a variable nor a file"),
        ("--cash -5", BUYER, "cash"),
    ],
)
def test_a_mistake_in_a_cell_gives_one_line_and_the_next_cell_works(shell, options, body, words):
    """A bad option, config or body is one line; nothing has started, and the next cell runs."""
    with pytest.raises(UsageError) as caught:
        cell(shell, options, body)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert nb.get_system_manager().is_stopped()
    assert shell.run_cell("1 + 1").result == 2


def test_a_cell_runs_the_strategies_that_it_defines(shell):
    """With `--wait` the result comes back; cash and speed are the options'; the class is in the namespace."""
    result = cell(shell, "--no-panel --wait --cash 5000", BUYER)
    assert result.strategies == ("Buyer()",)
    assert result.record.cash == 5000
    assert shell.user_ns["Buyer"].__name__ == "Buyer"
    assert nb.get_system_manager().is_stopped()


def test_a_cell_returns_at_once_and_a_rerun_replaces_its_run(shell):
    """Without `--wait` the run goes on behind; running the cell again ends that run and starts another."""
    assert cell(shell, "--no-panel --speed 60", BUYER) is None
    first = nb.get_system_manager().run
    assert nb.get_system_manager().is_running()
    cell(shell, "--no-panel --speed 60", BUYER)
    assert first.done
    assert nb.get_system_manager().run is not first
    assert line(shell, "pause") is True


def test_a_name_keeps_a_system_of_its_own(shell):
    """`--name` binds another system, which line magics then speak to; the process's one is left alone."""
    cell(shell, "--no-panel --speed 60 --name mine", BUYER)
    mine = shell.user_ns["mine"]
    assert mine is not nb.get_system_manager()
    assert line(shell, "pause") is True
    assert mine.is_paused()
    assert line(shell, "stop") is True
    assert nb.get_system_manager().is_stopped()


def test_data_may_be_a_variable(shell):
    """`--data` names a variable of the user's."""
    import pandas as pd

    shell.user_ns["days"] = pd.DataFrame(
        {"open": [1.0, 2, 3], "high": [2.0, 3, 4], "low": [1.0, 1, 2], "close": [2.0, 3, 4]},
        index=pd.to_datetime(["2024-01-02", "2024-01-03", "2024-01-04"]),
    )
    assert cell(shell, "--no-panel --wait --data days", BUYER).stats["bars"] == 3


def test_a_strategys_error_is_a_line_that_names_it(shell):
    """With `--wait`, what a strategy raised is told in a line."""
    body = BUYER.replace("if not self.position(bar.symbol).size:", "if True:").replace("size=1", "size=1 / 0")
    with pytest.raises(UsageError, match=r"Buyer.on_bar raised .* ZeroDivisionError"):
        cell(shell, "--no-panel --wait", body)


def test_an_interrupt_while_waiting_pauses(shell, capsys, monkeypatch):
    """Interrupting a cell that waits holds the run instead of ending it."""
    system = nb.get_system_manager()
    waited = type(system).wait

    def interrupted(self, timeout=None):
        monkeypatch.setattr(type(system), "wait", waited)
        raise KeyboardInterrupt

    monkeypatch.setattr(type(system), "wait", interrupted)
    cell(shell, "--no-panel --wait --speed 60", BUYER)
    assert system.is_paused()
    assert "System paused" in capsys.readouterr().out


def test_an_interrupt_that_comes_too_late_gives_the_result(shell, monkeypatch):
    """A run that ended before it came to rest isn't called paused."""
    system = nb.get_system_manager()
    wait, waits = type(system).wait, []

    def interrupted(self, timeout=None):
        waits.append(timeout)
        if len(waits) == 1:
            raise KeyboardInterrupt
        return wait(self, timeout)

    monkeypatch.setattr(type(system), "wait", interrupted)
    monkeypatch.setattr(type(system), "pause", lambda self: not self.stop())
    assert cell(shell, "--no-panel --wait --speed 60", BUYER) is not None
    assert system.is_stopped()


CARELESS = """
import nbbacktest as nb
class Careless(nb.Strategy):
    def on_bar(self, bar):
        if len(self.bars(bar.symbol)) == 30:
            self.buy(bar.symbol, {size})
"""


def test_a_cell_mends_the_strategy_that_has_raised(shell, capsys):
    """`--retry`: paused just before that instant, with the cell's class; then as if it had always been so."""
    with pytest.raises(UsageError, match="ZeroDivisionError"):
        cell(shell, "--no-panel --wait", CARELESS.format(size="1 / 0"))
    system = nb.get_system_manager()
    assert cell(shell, "--retry", CARELESS.format(size="10")) is None
    assert "the mended class has the same past; the run is paused after" in capsys.readouterr().out
    assert system.is_paused()
    line(shell, "resume")
    ended = system.wait().fingerprint
    assert ended == cell(shell, "--no-panel --wait", CARELESS.format(size="10")).fingerprint
    with pytest.raises(UsageError, match="nothing has raised"):
        cell(shell, "--retry", CARELESS.format(size="10"))
    with pytest.raises(UsageError, match="--name other: no run was started under that name"):
        cell(shell, "--retry --name other", CARELESS.format(size="10"))


def test_start_runs_the_newest_cell_again(shell):
    """With the cell's strategies and data, whichever line or panel asks."""
    shell.user_ns["own"] = synthetic.bars("OWN", "2024-10-03", "2024-10-03", seed=3)
    first = cell(shell, "--no-panel --wait --data own --cash 5000", BUYER)
    line(shell, "start")
    assert nb.get_system_manager().wait().fingerprint == first.fingerprint
    panel = line(shell, "panel")
    panel._start()
    assert nb.get_system_manager().wait().fingerprint == first.fingerprint
    panel.close()


def test_commands_are_completed(shell):
    """The line completes commands, events and options."""
    from nbbacktest.magics import complete

    class Event:
        def __init__(self, text: str) -> None:
            self.line, self.symbol = text, text.rsplit(" ", maxsplit=1)[-1]

    assert {"start", "pause", "panel"} <= set(complete(shell, Event("%backtest st")))
    assert complete(shell, Event("%backtest until ")) == ["next fill", "next session"]
    assert "--name" in complete(shell, Event("%%backtest --"))


def test_loading_twice_changes_nothing(shell):
    """`%load_ext` and `%reload_ext` leave one set of magics."""
    before = shell.magics_manager.registry["BacktestMagics"]
    nb.load_ipython_extension(shell)
    assert shell.magics_manager.registry["BacktestMagics"] is before


def test_another_cell_takes_no_run_away(shell):
    """Without ids of cells, as in consoles, their texts tell them apart: the same one again replaces its run."""
    first, second = BUYER, BUYER.replace("class ", "class Other")
    cell(shell, "--speed 60 --no-panel", first)
    with pytest.raises(UsageError, match="the run of another cell is under way"):
        cell(shell, "--no-panel", second)
    cell(shell, "--speed 60 --no-panel", first)
    nb.get_system_manager().stop()
    cell(shell, "--no-panel --wait", second)


OTHER = BUYER.replace("Buyer", "Doubled").replace("size=1", "size=2")


def test_a_cell_forks_the_present_run_where_it_stands(shell, capsys):
    """The run stays as it is; a rerun of the cell forks it again, and stops the fork before."""
    cell(shell, "--no-panel --speed 0", BUYER)
    system = nb.get_system_manager()
    system.wait()
    system.rewind(100)
    before = system.snapshot()
    cell(shell, "--no-panel --fork other", OTHER)
    other = shell.user_ns["other"]
    assert f"other is paused at {before.time}: other.resume() lets it go on" in capsys.readouterr().out
    assert (other.is_paused(), other.snapshot().time) == (True, before.time)
    assert [type(one).__name__ for one in other.strategies] == ["Doubled"]
    assert {position.size for position in other.snapshot().positions} == {2.0}
    assert system.snapshot() == before
    assert line(shell, "step 5") is True  # the line's commands are still the run's
    assert system.snapshot().cursor == 105
    cell(shell, "--no-panel --fork other", OTHER)
    assert other.is_stopped()
    assert shell.user_ns["other"].snapshot().cursor == 105
    shell.user_ns["other"].stop()


def test_a_fork_shows_a_panel_of_its_own(shell):
    from nbbacktest.widgets.panel import ControlPanel

    cell(shell, "--no-panel", BUYER)
    nb.get_system_manager().wait()
    cell(shell, "--fork other", OTHER)
    magics = shell.magics_manager.registry["BacktestMagics"]
    panel = magics._panels[id(shell.user_ns["other"])]
    assert isinstance(panel, ControlPanel)
    panel.close()
    shell.user_ns["other"].stop()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--fork 1x", "no variable's name"),
        ("--fork other --cash 5 --wait", "leave out --cash, --wait"),
        ("--fork other --name x", "leave out --name"),
        ("x.json --fork other", "leave out CONFIG"),
    ],
)
def test_a_fork_takes_the_runs_own_bars_and_rules(shell, options, words):
    with pytest.raises(UsageError, match=words):
        cell(shell, f"--no-panel {options}", OTHER)


def test_a_fork_of_nothing_and_a_cell_without_a_strategy_are_lines(shell):
    cell(shell, "--no-panel --name held", BUYER)
    shell.user_ns["held"].wait()
    with pytest.raises(UsageError, match="holds the run that is to be forked"):
        cell(shell, "--no-panel --fork held", OTHER)
    with pytest.raises(UsageError, match="defines no strategy"):
        cell(shell, "--no-panel --fork other", "x = 1")
