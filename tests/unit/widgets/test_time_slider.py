"""The panel's timeline: a look while the slider moves, the run itself when it rests, and the way home."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.widgets.controls import LIVE_BACK
from nbbacktest.widgets.looking import Looking
from nbbacktest.widgets.panel_threads import ELSEWHERE, STALE, CommandDispatcher
from nbbacktest.widgets.time_slider import TimeTicks
from tests.erratic import brokers, markets, random_market
from tests.integration.test_rewind import Restless
from tests.live import fields, live_of, push_all
from tests.markets import minutes
from tests.panels import drawn, eventually, is_same, named, panel_of, panel_threads

ALWAYS = {"exchange": "24/7"}


class Fresh(nb.Strategy):
    """Trades by a number that isn't repeated."""

    count = 0

    def on_bar(self, bar):
        type(self).count += 1
        if bar.time.minute == 5:
            self.buy(size=type(self).count)


class Buying(nb.Strategy):
    """Buys a unit every tenth bar."""

    def on_bar(self, bar):
        if bar.time.minute % 10 == 0:
            self.buy(size=1)


def slider_of(panel):
    return named(panel, "nbbt-timeline")


def drag(panel, at, *, rests=False, held=False):
    """As a page reports a slider that is dragged, held still, or let go."""
    run, epoch = panel._dispatcher._present()
    message = {"kind": "look", "at": at, "rests": rests, "held": held, "run": run, "epoch": epoch}
    panel.controls.bridge._message(None, message, [])


def button(panel, name):
    return named(panel, f"nbbt-{name}")


@pytest.fixture
def panel():
    """A panel of a run that has completed 60 of 100 instants."""
    system = nb.SystemManager(reachable=False)
    system.start(ALWAYS, data={"A": minutes(100, seed=1)}, strategies=Buying, paused=True)
    system.step(60)
    with panel_of(system) as panel:
        panel.draw_frame()
        assert eventually(lambda: slider_of(panel).value == 60)
        yield panel
    system.stop()
    assert eventually(lambda: not panel_threads())


def says(panel, text):
    return eventually(lambda: text in named(panel, "nbbt-past").value)


def test_back_goes_back_by_as_many_instants_as_step_takes(panel):
    """Back and Step are inverse; the badge says where the run stands, and Home leads to the horizon."""
    system = panel.system
    named(panel, "nbbt-steps").value = 7
    assert not button(panel, "back").disabled
    assert (named(panel, "nbbt-past").value, button(panel, "home").disabled) == ("", True)
    button(panel, "back").click()
    assert says(panel, "in the past: 53 of 60")
    assert (system.snapshot().cursor, system.in_past) == (53, True)
    assert (slider_of(panel).value, slider_of(panel).max) == (53, 60)
    button(panel, "step").click()
    assert eventually(lambda: system.snapshot().cursor == 60 and not named(panel, "nbbt-past").value)
    button(panel, "back").click()
    assert eventually(lambda: not button(panel, "home").disabled)
    button(panel, "home").click()
    assert eventually(lambda: system.snapshot().cursor == 60 and button(panel, "home").disabled)


def test_several_clicks_on_back_are_all_carried_out(panel):
    """Each was made before the page has shown what the one before did."""
    for _ in range(4):
        button(panel, "back").click()
    assert says(panel, "in the past: 56 of 60")


def test_a_slider_that_moves_looks_and_a_slider_that_is_let_go_goes(panel):
    """While it moves the run stays, and the panel shows the instant; when it is let go the run is there."""
    system, slider = panel.system, slider_of(panel)
    drag(panel, 25)
    assert says(panel, "looking at 25 of 60")
    assert eventually(lambda: "Bar 25 of 100" in named(panel, "nbbt-progress-text").value)
    close = system.run.world.desk.series["A", "1m"].columns.close[24]
    assert eventually(lambda: panel.charts.bars.data[0].close[-1] == close)
    assert (system.snapshot().cursor, system.horizon) == (60, 60)
    slider.value = 25
    assert says(panel, "in the past: 25 of 60")
    assert (system.snapshot().cursor, slider.value) == (25, 25)


def test_a_slider_that_is_held_still_goes(panel):
    """As if it had been let go."""
    drag(panel, 30)
    assert says(panel, "looking at 30 of 60")
    drag(panel, 30, rests=True)
    assert says(panel, "in the past: 30 of 60")


def test_a_slider_that_is_held_is_the_users(panel):
    """The run comes to where it was held before, and the handle stays under the mouse, until it is let go."""
    drag(panel, 30, rests=True, held=True)
    assert says(panel, "in the past: 30 of 60")
    assert slider_of(panel).value == 60
    drag(panel, 20, held=True)
    assert says(panel, "looking at 20 of 60")
    drag(panel, 20, rests=True, held=False)
    assert says(panel, "in the past: 20 of 60")
    assert eventually(lambda: slider_of(panel).value == 20)


def test_a_slider_that_is_moved_back_to_the_run_does_nothing(panel):
    """The user has looked, and thought better of it."""
    drag(panel, 30)
    assert says(panel, "looking at 30 of 60")
    drag(panel, 60)
    assert eventually(lambda: not named(panel, "nbbt-past").value)
    panel.draw_frame()
    assert panel.system.run.analysis.frame.epoch == 0


def test_a_command_ends_a_look(panel):
    """Step goes on from where the run stands."""
    drag(panel, 30)
    assert says(panel, "looking at 30 of 60")
    button(panel, "step").click()
    assert eventually(lambda: "Bar 61 of 100" in named(panel, "nbbt-progress-text").value)
    assert (named(panel, "nbbt-past").value, slider_of(panel).value) == ("", 61)


def test_a_running_run_is_looked_at_and_taken_back():
    """It goes on while it is looked at, and rests at the place where the slider is let go."""
    system = nb.SystemManager(reachable=False)
    with panel_of(system) as panel:
        system.start(ALWAYS, data={"A": minutes(50_000, seed=1)}, strategies=Buying, paused=True)
        system.step(1000)
        system.set_speed(600)
        system.resume()
        assert eventually(lambda: slider_of(panel).value > 1000)
        drag(panel, 700)
        assert says(panel, "looking at 700 of")
        drag(panel, 700, rests=True)
        assert eventually(lambda: system.is_paused() and system.snapshot().cursor == 700)
        assert says(panel, "in the past: 700 of")
        assert not button(panel, "step").disabled
        system.stop()
    assert eventually(lambda: not panel_threads())


def test_a_run_that_is_not_repeated_says_so_and_stays():
    """The error stands in the panel as any other does; the slider is where the run is."""
    system = nb.SystemManager(reachable=False)
    system.start(ALWAYS, data={"A": minutes(100, seed=1)}, strategies=Fresh, paused=True)
    system.step(60)
    with panel_of(system) as panel:
        assert eventually(lambda: slider_of(panel).value == 60)
        slider_of(panel).value = 50
        assert eventually(lambda: "repeat itself" in named(panel, "nbbt-notices").value)
        assert "nbbt-wrong" in named(panel, "nbbt-notices").value
        assert eventually(lambda: slider_of(panel).value == 60 and not named(panel, "nbbt-past").value)
        assert system.snapshot().cursor == 60
        system.stop()


def test_a_live_run_is_looked_at_and_says_why_it_is_not_taken_back():
    """Back is off, and says why; a look stays until Home, also after the slider was let go."""
    system, feed = nb.SystemManager(reachable=False), nb.PushFeed()
    config = live_of({"exchange": "XNYS", "data": {"symbols": ["A"]}})
    system.start(config, feed=feed, strategies=Buying)
    with panel_of(system) as panel:
        push_all(feed, [fields("A", minute, 100.0 + minute) for minute in range(30)])
        assert eventually(lambda: system.snapshot().cursor == 30)
        panel.pump.poke()
        assert eventually(lambda: slider_of(panel).max == 30)
        assert button(panel, "back").disabled
        assert button(panel, "back").tooltip == LIVE_BACK
        drag(panel, 10)
        assert says(panel, "looking at 10 of 30")
        slider_of(panel).value = 10
        assert eventually(lambda: "can&#x27;t be taken back" in named(panel, "nbbt-notices").value)
        assert panel.charts.bars.data[0].close[-1] == 109.0
        push_all(feed, [fields("A", 30)])
        assert says(panel, "looking at 10 of 31")
        button(panel, "home").click()
        assert eventually(lambda: slider_of(panel).value == 31 and not named(panel, "nbbt-past").value)
        system.stop()


def test_without_a_run_there_is_no_way_back():
    """The state alone allows nothing: there has to be a run."""
    with panel_of(nb.SystemManager(reachable=False)) as panel:
        assert button(panel, "back").disabled
        assert slider_of(panel).disabled
        panel._key("left", (0, 0))
        panel._key("home", (0, 0))
        assert named(panel, "nbbt-notices").value == ""


def test_keys_go_back_and_to_both_ends(panel):
    """The left arrow is Back, Home is the start and End the horizon."""
    for key, cursor in (("left", 59), ("home", 0), ("end", 60)):
        panel._key(key, panel._dispatcher._present())
        assert eventually(lambda cursor=cursor: panel.system.snapshot().cursor == cursor), key
    assert eventually(lambda: not panel_threads() or panel.system.is_paused())


def test_undo_takes_back_what_was_done_by_hand(panel):
    """It is on if there is something to undo; the run then rests just before it, and what lay ahead is given up."""
    system, fills = panel.system, panel.system.snapshot().n_fills
    assert button(panel, "undo").disabled
    system.buy(size=3)
    system.step(1)
    assert eventually(lambda: not button(panel, "undo").disabled)
    assert system.snapshot().n_fills == fills + 1
    button(panel, "undo").click()
    assert eventually(lambda: button(panel, "undo").disabled and slider_of(panel).value == 60)
    assert (system.inputs, system.snapshot().n_fills, system.horizon) == ((), fills, 60)
    assert named(panel, "nbbt-past").value == ""


def test_a_click_on_a_place_that_was_left_is_not_carried_out():
    """The run was taken elsewhere by another face: refused. By clicks of this panel: carried out, one after the other."""
    told, present = [], [(1, 0)]
    dispatcher = CommandDispatcher(lambda: present[0], lambda message, wrong: told.append((message, wrong)))

    def jump():
        present[0] = (1, present[0][1] + 1)
        return f"at {present[0][1]}"

    for _ in range(3):
        dispatcher.submit("back", jump, (1, 0))
    assert eventually(lambda: told == [("at 1", False), ("at 2", False), ("at 3", False)])
    present[0] = (1, 4)
    over = threading.Event()
    dispatcher.submit("back", jump, (1, 0), over.set)
    assert over.wait(10)
    assert told[-1] == (ELSEWHERE, True)
    present[0] = (2, 0)
    dispatcher.submit("stop", jump, (1, 4))
    assert eventually(lambda: told[-1] == (STALE, True))
    assert eventually(lambda: not panel_threads())


def test_the_newest_place_counts_and_is_gone_to_once():
    """However often the slider moves before it is let go."""
    state = Looking()
    places = [state.choose(number, None) for number in range(100)]
    assert state.place is places[-1] is state.choose(99, None)
    assert [state.ask(state.place), state.ask(state.place)] == [True, False]
    state.end(places[0])
    assert state.place is places[-1]
    state.end(places[-1])
    assert state.place is None


def test_ticks_stand_at_fills_sessions_inputs_and_errors():
    """Each kind once a place, also ahead of a run that was taken back."""

    class Failing(Buying):
        def on_bar(self, bar):
            super().on_bar(bar)
            if bar.time.minute == 15:
                raise KeyError("15")

    system = nb.SystemManager(reachable=False)
    system.start(ALWAYS | {"on_error": "pause"}, data={"A": minutes(100, seed=1)}, strategies=Failing, paused=True)
    system.step(60)
    system.step(14)
    system.buy(size=2)
    with panel_of(system) as panel:
        run, ticks = system.run, TimeTicks()
        horizon, places = system.horizon, [fill.index + 1 for fill in run.world.desk.fills]
        assert len(places) >= 4

        def drawn_now():
            return ticks.drawn(run, horizon, panel.charts.starts(run, run.analysis.frame))

        before = drawn_now()
        for place in places:
            assert f"M{place * 500 // horizon} 2V8" in before
        [failed] = [place for place, bar in enumerate(minutes(100, seed=1).index, 1) if bar.minute == 15]
        assert f'class="nbbt-tick-error" d="M{failed * 500 // horizon} 0V14"' in before
        assert 'class="nbbt-tick-input" d="M500 0V14"' in before
        system.back(40)
        assert drawn_now() == before
        assert ticks.drawn(run, 0, panel.charts.starts(run, run.analysis.frame)) == ""
        system.stop()


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    market=markets, broker=brokers, seed=st.integers(0, 10_000),
    places=st.lists(st.integers(0, 100), min_size=1, max_size=5),
)  # fmt: skip
def test_a_look_draws_what_is_drawn_there(market, broker, seed, places):
    """Charts, numbers and tables of a look, back or ahead, are those of the run when it stands at that instant."""
    config, data, late = random_market(market, broker, [], seed)
    system = nb.SystemManager(reachable=False)
    strategy = type(
        "Erratic", (Restless,), {"seed": seed, "pace": 0.5, "late": late, "joining": True, "leaving": False}
    )
    system.start(config, data=data, strategies=strategy, paused=True)
    try:
        system.step(len(system.run.world.timeline) * 3 // 4)
        with panel_of(system) as panel:
            for place in places:
                drawn(panel)
                at = system.horizon * place // 100
                if system.is_stopped():
                    break
                panel._looking.choose(at, None)
                looked = seen(panel)
                panel._looking.end()
                try:
                    system.rewind(at)
                except nb.ReplayError:
                    break
                assert_equal(looked, seen(panel))
    finally:
        system.stop()


def seen(panel):
    """What a panel shows: its charts, and its words about the account."""
    for _ in range(5):
        panel.draw_frame()
    charts = drawn(panel)
    words = [named(panel, f"nbbt-{name}").value for name in ("figures", "holdings", "progress-text")]
    figures, holdings, progress = words
    return charts, [
        figures[: figures.index("Wall time")],
        figures[figures.index("Cash") :],
        holdings,
        progress.split(" · ")[0],
    ]


def assert_equal(looked, there):
    assert looked[1] == there[1]
    for (traces, layout), (meant, meant_layout) in zip(looked[0], there[0], strict=True):
        for number, (one, other) in enumerate(zip(traces, meant, strict=True)):
            # An indicator that hasn't answered yet has a line without a point; later it may turn out to give several numbers.
            is_bare = "y" in other and np.isnan(other["y"]).all()
            for name in () if is_bare else other:
                assert is_same(one.get(name), other[name]), (number, name, one, other)
        hidden = {name.removesuffix(".visible") for name, value in meant_layout.items() if value is False}
        for name, value in meant_layout.items():
            assert name.partition(".")[0] in hidden or layout.get(name) == value, name
