"""The panel without a page: buttons to commands, states to buttons, and no thread that outlives its use."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import ipywidgets
import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import nbbacktest as nb
from nbbacktest.core.lifecycle import Command
from nbbacktest.widgets import controls
from nbbacktest.widgets.controls import PanelButton
from nbbacktest.widgets.live_figure import bring_library
from nbbacktest.widgets.panel import number_of
from nbbacktest.widgets.panel_threads import STALE, CommandDispatcher, FramePump
from tests.panels import eventually, named, panel_threads


@pytest.fixture
def panel():
    shown = nb.ControlPanel(nb.SystemManager())
    yield shown
    shown.system.stop()
    shown.close()
    assert eventually(lambda: not panel_threads())


def test_every_control_has_its_class_and_text(panel):
    """The contract's CSS classes and texts are there, each once."""
    for name, text in (
        ("start", "Start"),
        ("pause", "Pause"),
        ("resume", "Resume"),
        ("back", "Back"),
        ("step", "Step"),
        ("undo", "Undo"),
        ("stop", "Stop"),
    ):
        assert named(panel, f"nbbt-{name}").description == text
    assert named(panel, "nbbt-mode").options == ("Data-driven", "Clock-driven")
    for name in ("speed", "progress", "timeline", "state", "bars", "equity", "sync"):
        assert named(panel, f"nbbt-{name}")


def test_buttons_do_what_they_say(panel):
    """Start, pause, step by a count, resume and stop, by clicks alone; each is enabled where it is allowed."""
    system, buttons = panel.system, {n: named(panel, f"nbbt-{n}") for n in ("start", "pause", "resume", "step", "stop")}
    named(panel, "nbbt-mode").value = "Clock-driven"
    assert eventually(lambda: system.next_speed == 60)
    buttons["start"].click()
    assert eventually(lambda: system.is_running() and not buttons["pause"].disabled)
    assert buttons["start"].disabled
    buttons["pause"].click()
    assert eventually(lambda: system.is_paused() and not buttons["step"].disabled)
    before = system.snapshot().cursor
    named(panel, "nbbt-steps").value = 25
    buttons["step"].click()
    assert eventually(lambda: system.snapshot().cursor == before + 25 and system.is_paused())
    assert eventually(lambda: f"Bar {before + 25} of" in named(panel, "nbbt-progress-text").value)
    buttons["resume"].click()
    assert eventually(system.is_running)
    named(panel, "nbbt-mode").value = "Data-driven"
    assert eventually(system.is_stopped)
    assert eventually(lambda: "finished" in named(panel, "nbbt-progress-text").value)
    assert not buttons["start"].disabled


def test_a_button_that_is_no_command_is_an_entry_and_a_function(monkeypatch):
    """A button of any action: enabled in every state, called with the system, its message or its error shown, no step lost."""
    begun, go_on = threading.Event(), threading.Event()

    def count_fills(system: nb.SystemManager) -> str:
        begun.set()
        go_on.wait(10)
        return f"<{system.snapshot().n_fills} fills>"

    def fail(_system: nb.SystemManager) -> str:
        raise OSError("the disk is full")

    added = (
        PanelButton("fills", "Fills", "", "Count the fills", count_fills),
        PanelButton("broken", "Broken", "", "Fails", fail, needs=Command.RESUME),
    )
    monkeypatch.setattr(controls, "BUTTONS", (*controls.BUTTONS, *added))
    panel = nb.ControlPanel(nb.SystemManager())
    system, notice = panel.system, named(panel, "nbbt-notices")
    try:
        assert named(panel, "nbbt-fills").description == "Fills"
        assert (named(panel, "nbbt-fills").disabled, named(panel, "nbbt-broken").disabled) == (False, True)
        system.start(paused=True)
        assert eventually(lambda: not named(panel, "nbbt-broken").disabled)
        named(panel, "nbbt-fills").click()
        assert begun.wait(10)
        named(panel, "nbbt-step").click()  # a slow action holds up no command
        assert eventually(lambda: system.snapshot().cursor == 1 and notice.value)
        go_on.set()
        assert eventually(lambda: "&lt;0 fills&gt;" in notice.value)
        named(panel, "nbbt-broken").click()
        assert eventually(lambda: "the disk is full" in notice.value and "nbbt-wrong" in notice.value)
    finally:
        system.stop()
        panel.close()
    assert eventually(lambda: not panel_threads())


def test_the_last_frame_is_the_end(panel):
    """When a run has ended, what the panel shows is the result, to the cent, and its thread is gone."""
    panel.system.start()
    result = panel.system.wait()
    assert eventually(lambda: not panel_threads())
    assert f"{result.stats['final_equity']:,.2f}" in named(panel, "nbbt-figures").value
    assert panel.charts.equity.data[0].y[-1] == result.equity_values[-1]
    assert panel.charts.bars.data[0].close[-1] == result.record.bars["EXE"].close[-1]


def test_the_achieved_speed_of_a_run_that_has_ended_stands(panel, monkeypatch):
    """A panel that is looked at an hour after the end shows the speed that the run had."""
    panel.system.start()
    panel.system.wait()
    run = panel.system.run
    achieved = run.achieved_speed
    later = time.monotonic
    monkeypatch.setattr("nbbacktest.system.run.monotonic", lambda: later() + 3_600)
    monkeypatch.setattr(run.gate._clock, "now", lambda: later() + 3_600)
    assert run.achieved_speed == pytest.approx(achieved, rel=0.2)


def test_a_panel_changes_no_result(panel):
    """The fingerprint with a panel attached is that without one."""
    panel.system.start()
    other = nb.SystemManager()
    other.start()
    assert panel.system.wait().fingerprint == other.wait().fingerprint


def test_panels_of_one_system_agree_and_two_systems_do_not_mix(panel):
    """A second panel shows the same run; one of another system shows its own."""
    second, other = nb.ControlPanel(panel.system), nb.ControlPanel(nb.SystemManager())
    panel.system.start(paused=True)
    panel.system.step(9)
    for shown in (panel, second):
        assert eventually(lambda shown=shown: "Bar 9 of" in named(shown, "nbbt-progress-text").value)
    assert "Bar 0 of 0" in named(other, "nbbt-progress-text").value
    second.close()
    other.close()


def test_mistakes_are_shown_in_the_panel(panel):
    """What a command refuses is a line in the panel, escaped, and nothing else happens."""
    panel.system.start(paused=True)
    assert eventually(lambda: not named(panel, "nbbt-run-until").disabled)
    named(panel, "nbbt-until").value = "<b>noon</b>"
    named(panel, "nbbt-run-until").click()
    assert eventually(lambda: "is no time" in named(panel, "nbbt-notices").value)
    assert "<b>noon" not in named(panel, "nbbt-notices").value
    assert panel.system.is_paused()


def test_a_notice_goes_with_the_state_that_it_speaks_of(panel):
    """What was refused in one state isn't shown under the next one, nor under another run."""
    system, notice = panel.system, named(panel, "nbbt-notices")
    system.start(paused=True)
    assert eventually(lambda: not named(panel, "nbbt-run-until").disabled)
    named(panel, "nbbt-until").value = "noon"
    named(panel, "nbbt-run-until").click()
    assert eventually(lambda: "is no time" in notice.value)
    panel.draw_frame()
    assert "is no time" in notice.value
    system.set_speed(60)
    system.resume()
    assert eventually(lambda: not notice.value)
    named(panel, "nbbt-pause").click()
    assert eventually(lambda: "paused" in notice.value.lower() and "Paused" in named(panel, "nbbt-state").value)
    panel.draw_frame()
    assert "paused" in notice.value.lower()
    system.stop()
    system.start(paused=True)
    assert eventually(lambda: not notice.value)


def test_the_panels_clock_stands_while_the_run_rests(panel, monkeypatch):
    """Wall time and bars a second count while the run moves: not while it is paused, and not when it has ended."""
    system, now = panel.system, [0.0]
    panel.pump.close()
    panel.system.set_speed(60)
    system.start(paused=True)
    monkeypatch.setattr(type(system.run), "duration", property(lambda _run: now[0]))

    def shown_after(seconds: float) -> tuple[float, str]:
        now[0] += seconds
        panel.draw_frame()
        return panel.controls._shown.wall, named(panel, "nbbt-figures").value

    assert shown_after(100)[0] == 100  # as it was when the panel met the run
    rest = shown_after(50)
    assert rest == shown_after(50)
    assert rest[0] == 100
    system.resume()
    assert shown_after(7)[0] == 100  # the rest ends when it is seen to
    assert shown_after(7)[0] == 107
    system.pause()
    assert shown_after(1)[0] == 108
    rest = shown_after(50)
    assert rest == shown_after(50)
    system.stop()
    assert shown_after(0)[0] == 108


def test_a_speed_that_is_refused_is_not_shown(panel):
    """Where the speed that was chosen isn't taken, mode and slider go back to what the run does."""
    panel.system.set_speed(60)
    panel.system.start(paused=True)
    mode = named(panel, "nbbt-mode")
    assert eventually(lambda: mode.value == "Clock-driven")

    def refuse(_speed):
        raise ValueError("no speed today")

    panel.system.set_speed = refuse
    mode.value = "Data-driven"
    assert eventually(lambda: "no speed today" in named(panel, "nbbt-notices").value)
    assert eventually(lambda: mode.value == "Clock-driven")


def test_a_page_without_a_run_is_answered(panel):
    """A page that lacks a chart before any run was started is sent it."""
    sent = []
    for figure in (panel.charts.bars, panel.charts.equity, panel.charts.sync):
        figure.observe(lambda change: sent.append(change["new"]["base"]), "_py2js_update")
        figure._message(None, {"kind": "drawn", "version": -1}, None)
    assert eventually(lambda: sent == [None, None, None])


def test_run_until_an_event_by_name(panel):
    """The field takes events as well as times."""
    panel.system.start(paused=True)
    named(panel, "nbbt-until").value = "next fill"
    named(panel, "nbbt-run-until").click()
    assert eventually(lambda: panel.system.is_paused() and panel.system.snapshot().n_fills == 1)


def test_a_dropped_panel_leaves_no_thread():
    """A panel that was never shown ends with its last reference, in the middle of a run, which goes on."""
    system = nb.SystemManager()
    system.set_speed(60)
    system.start()
    shown = nb.ControlPanel(system)
    assert eventually(panel_threads)
    gone = weakref.ref(shown)
    del shown
    gc.collect()
    assert eventually(lambda: gone() is None and not panel_threads())
    assert system.is_running()
    system.stop()


def test_a_panel_of_something_else_is_refused():
    """A panel shows a system; anything else is an error that says so."""
    with pytest.raises(TypeError, match="shows a SystemManager"):
        nb.ControlPanel("system")


def test_the_systems_panel_is_the_same_until_it_is_closed():
    """`panel()` gives the one there is; after `close`, a new one."""
    system = nb.SystemManager()
    shown = system.panel()
    assert system.panel() is shown
    shown.close()
    other = system.panel()
    assert other is not shown
    other.close()


def open_models() -> set[str]:
    return {key for key, one in ipywidgets.widgets.widget._instances.items() if one.comm is not None}


@pytest.mark.parametrize("way", ["closed", "dropped"])
def test_a_panel_that_is_gone_leaves_no_model_in_the_pages(way):
    """Layouts and styles are models too; what stays open is the chart library alone, once for all panels."""
    bring_library()
    before = open_models()
    system = nb.SystemManager(reachable=False)
    for _ in range(2):
        panel = nb.ControlPanel(system)
        assert len(open_models() - before) > 90
        if way == "closed":
            panel.close()
            panel.close()  # a second time changes nothing
        del panel
        gc.collect()
        assert eventually(lambda: open_models() == before)


@pytest.fixture
def cells():
    """What cells display: an IPython whose displays are kept."""
    shell = InteractiveShell.instance()
    with capture_output(stdout=False, stderr=False) as captured:
        yield captured
    shell.history_manager.end_session()
    InteractiveShell.clear_instance()


def test_a_panel_that_is_shown_again_adds_no_picture(cells):
    """However often a cell shows a panel, an end of a run sends one picture, and to every place that shows the panel."""
    system = nb.SystemManager(reachable=False)
    panel = nb.ControlPanel(system)

    def sent() -> list[dict]:
        return [output for output in cells._outputs if "image/svg+xml" in output["data"]]

    for times in (1, 4):
        for _ in range(times):
            panel._ipython_display_()
        cells._outputs.clear()
        system.start()
        system.wait()
        panel.publish_fallback()
        (picture,) = sent()
        assert picture["update"]
    cells._outputs.clear()
    panel._ipython_display_()  # a new place has the picture at once, under the same name: the next end reaches all
    (placed,) = sent()
    assert not placed["update"]
    assert placed["transient"] == picture["transient"]
    assert placed["data"] == picture["data"]
    panel.close()


def test_a_closed_panel_that_is_shown_says_so(cells):
    """It names the cure, and places no picture for runs to come."""
    system = nb.SystemManager(reachable=False)
    panel = system.panel()
    panel.close()
    panel._ipython_display_()
    (shown,) = cells._outputs
    assert shown["data"] == {"text/plain": repr(panel)}
    assert "closed" in repr(panel)
    assert "panel()" in repr(panel)
    system.start()
    system.wait()
    panel.publish_fallback()
    assert len(cells._outputs) == 1
    with_another = system.panel()
    assert not with_another.is_closed
    with_another.close()


def test_words_stand_in_where_widgets_can_not_be_shown(panel):
    """The display bundle has the widget, plain text and HTML."""
    bundle = panel._repr_mimebundle_()
    assert {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"} <= set(bundle)
    assert isinstance(panel.widget, ipywidgets.VBox)


def test_a_wish_for_an_earlier_run_is_not_carried_out():
    """A command that was meant for a run which is over is answered with words alone."""
    told, done = [], []
    present = [(1, 0)]
    dispatcher = CommandDispatcher(lambda: present[0], lambda message, wrong: told.append((message, wrong)))
    dispatcher.submit("stop", lambda: done.append("first") or "stopped", (1, 0))
    assert eventually(lambda: told == [("stopped", False)])
    present[0] = (2, 0)
    dispatcher.submit("stop", lambda: done.append("second") or "stopped", (1, 0))
    assert eventually(lambda: told[-1] == (STALE, True))
    assert done == ["first"]


def test_a_pause_overtakes_a_step_that_takes_long():
    """What waits for a run to arrive doesn't hold up what holds it, and steps in line are forgotten."""
    began, arrived, told = threading.Event(), threading.Event(), []
    dispatcher = CommandDispatcher(lambda: (1, 0), lambda message, wrong: told.append(message))
    dispatcher.submit("step", lambda: began.set() or str(arrived.wait(10)), None)
    assert began.wait(10)
    dispatcher.submit("step", lambda: "never", None)
    dispatcher.submit("pause", lambda: "paused", None)
    assert eventually(lambda: told == ["paused"])
    arrived.set()
    assert eventually(lambda: told == ["paused", "True"])
    assert eventually(lambda: not panel_threads())


def test_a_failing_frame_is_logged_and_the_next_one_drawn(caplog):
    """What raises while drawing harms neither the run nor the frames after it."""

    class Clumsy:
        frames = 0

        def draw_frame(self):
            self.frames += 1
            if self.frames == 1:
                raise ValueError("no")

    clumsy = Clumsy()
    pump = FramePump(clumsy)
    pump.poke()
    assert eventually(lambda: clumsy.frames == 1)
    pump.poke()
    assert eventually(lambda: clumsy.frames == 2)
    assert eventually(lambda: not panel_threads())
    assert "can't be drawn" in caplog.text


def test_runs_are_numbered_once():
    """A run keeps its number, another has another, and none is 0."""
    system = nb.SystemManager()
    assert number_of(system.run) == 0
    system.start()
    system.wait()
    first = number_of(system.run)
    system.start()
    system.wait()
    assert first > 0
    assert number_of(system.run) == number_of(system.run) != first


def test_a_choice_made_while_a_frame_is_drawn_counts(panel):
    """What the user chooses while the pump is writing a frame is carried out: only the pump's own writing isn't a choice."""
    system, controls = panel.system, panel.controls
    drawing, chosen = threading.Event(), threading.Event()

    def hold(change) -> None:
        if change["new"] >= 0:
            drawing.set()
            assert chosen.wait(10)

    system.set_speed(30)  # something to write
    assert eventually(lambda: not panel_threads())
    controls.bridge.total = -1  # a frame writes it again
    frame = threading.Thread(target=panel.draw_frame)
    controls.bridge.observe(hold, "total")
    frame.start()
    assert drawing.wait(10)
    named(panel, "nbbt-mode").value = "Clock-driven"
    chosen.set()
    frame.join(10)
    assert eventually(lambda: system.next_speed == 60)


@pytest.fixture
def untraced_threads():
    """New threads without a trace function: a coverage measurement keeps objects of every thread that it has traced."""
    trace = threading.gettrace()
    threading.settrace(None)
    yield
    threading.settrace(trace)


def test_an_hour_of_watching_takes_no_memory(untraced_threads, panel):
    """Five times the frames that a simulated hour at 60 times has: what they leave behind doesn't grow with their number."""

    class Idle(nb.Strategy):
        pass

    bars = 5 * 360
    index = pd.date_range("2024-10-01", periods=bars, freq="1min")
    close = 100 + np.sin(np.arange(bars) / 50)
    data = pd.DataFrame({"open": close, "high": close, "low": close, "close": close, "volume": 1.0}, index=index)
    panel.pump.close()
    panel.system.start({"exchange": "24/7", "timezone": "UTC"}, data=data, strategies=Idle, paused=True)

    def drawn(frames: int) -> int:
        """How many objects more there are after so many frames."""
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(frames):
            panel.system.step()
            panel.draw_frame()
        gc.collect()
        return len(gc.get_objects()) - before

    drawn(360)  # fills what is bounded
    left = drawn(1440)
    assert left < 300, f"{left} objects are left of 1,440 frames"
    assert panel.controls.bridge.cursor == bars
