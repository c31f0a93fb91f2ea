"""What a panel shows, as values."""

from __future__ import annotations

from dataclasses import replace

from nbbacktest.core.enums import SystemState
from nbbacktest.core.lifecycle import Command
from nbbacktest.system.manager import SystemManager
from nbbacktest.widgets import texts
from nbbacktest.widgets.view import RunFailure, ViewState, allowed_in, differences, resolve


def test_only_what_differs_is_named():
    """Two equal views differ in nothing, two others in just the fields that changed; nothing old means all."""
    view = ViewState(run=1, cursor=5, total=10)
    assert differences(view, replace(view)) == frozenset()
    assert differences(view, replace(view, cursor=6, cash=1.0)) == {"cursor", "cash"}
    assert {"run", "state", "streams"} <= differences(None, view)


def test_buttons_are_allowed_where_the_state_table_says_so():
    """What can be pressed follows from the lifecycle's one table."""
    assert allowed_in(SystemState.STOPPED) == {Command.START}
    assert allowed_in(SystemState.RUNNING) == {Command.PAUSE, Command.RUN_UNTIL, Command.STOP}
    assert allowed_in(SystemState.PAUSED) == {Command.RESUME, Command.STEP, Command.RUN_UNTIL, Command.STOP}


def test_a_view_is_as_of_the_cursor():
    """A paused run's view has the snapshot's cursor, account and time."""
    system = SystemManager()
    system.start(paused=True)
    system.step(45)
    shot = system.snapshot()
    view = resolve(3, system.get_state(), system.run, shot, (1, 6), 100.0)
    system.stop()
    assert (view.run, view.state, view.cursor, view.total) == (3, SystemState.PAUSED, 45, 2340)
    assert (view.cash, view.equity) == (shot.cash, shot.equity)
    assert view.time == "2024-10-03 10:15"
    assert view.bars == 90
    assert view.left is None
    assert [stream.name for stream in view.streams] == ["coordinator->processor", "processor->analysis"]


def test_what_strategies_and_files_say_is_escaped():
    """No name, message or traceback becomes HTML."""
    evil = "<script>alert(1)</script>"
    assert evil not in texts.failure(RunFailure(evil, evil))
    assert evil not in texts.heading(ViewState(run=1, name=evil, source=evil))
    assert evil not in texts.notice(evil, is_error=True)
