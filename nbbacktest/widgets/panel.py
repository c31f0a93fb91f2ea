"""The control panel of a system: controls and charts, each frame drawn from one frozen `ViewState`."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable
from time import monotonic, thread_time
from typing import Any

import ipywidgets as iw

from nbbacktest.core.enums import SystemState
from nbbacktest.core.lifecycle import Command
from nbbacktest.core.records import Int64
from nbbacktest.system import commands
from nbbacktest.system.journal.listing import offer
from nbbacktest.system.manager import SystemManager
from nbbacktest.system.origin import ConfigSource
from nbbacktest.system.run import MovingTime, Run
from nbbacktest.widgets.charts import Charts, looked_at
from nbbacktest.widgets.controls import LIVE_BACK, Action, Controls
from nbbacktest.widgets.looking import Looking, SliderPlace
from nbbacktest.widgets.panel_threads import STALE, CommandDispatcher, FramePump, ShownPlace
from nbbacktest.widgets.static_fallback import StaticFallback, in_words
from nbbacktest.widgets.time_slider import TimeTicks
from nbbacktest.widgets.view import ViewState, allowed_in, resolve

FRAMES = 6.0
"""Frames a second, if the page keeps up."""
SHARE = 0.02
"""The share of one processor that drawing takes from an unpaced run at most."""
SLOWEST = 0.75
"""Seconds between two frames at most, if drawing takes long."""
RESTING = 0.5
"""Seconds between two frames of a paused run."""

OFFERED = ("start", "pause", "resume", "step", "until", "back", "rewind", "undo", "speed", "stop")
"""The commands that the panel has controls for."""

_ENDS = {"home": "start", "end": "end"}
"""The keys that lead to the ends of the line."""


_numbers: weakref.WeakKeyDictionary[Run, int] = weakref.WeakKeyDictionary()
_counter = itertools.count(1)
_numbering = threading.Lock()  # guards the two above


def number_of(run: Run | None) -> int:
    """The number of a run in this process, counted from 1 as panels see them; 0 for none."""
    if run is None:
        return 0
    with _numbering:
        if run not in _numbers:
            _numbers[run] = next(_counter)
        return _numbers[run]


def place_of(run: Run | None) -> ShownPlace:
    """The number of a run, and how often it was taken to another place."""
    return number_of(run), 0 if run is None else run.published()._frame.epoch  # noqa: SLF001 - hidden from users only


class ControlPanel:
    """Buttons, progress, account and live charts of one system; show it as a cell's last line, or with `display`.

    Parameters
    ----------
    system : SystemManager
        The panel shows its runs, the present one and later ones.
    config : path, mapping or SessionConfig, optional
        The config that Start runs; None: the last run again, or at first a small example.
    start : callable, optional
        Called by Start instead, for runs with strategies and data from Python; returns the message to show.

    Attributes
    ----------
    widget : ipywidgets.VBox
        The panel as a widget, to put into boxes of your own.
    controls, charts
        The parts of the panel.

    Notes
    -----
    Once shown, a panel lives until `close` or the kernel's end. One that was never shown ends with its last reference.
    Showing a closed panel shows a line that says so; `SystemManager.panel` returns an open one.
    A panel holds its system; its thread lives only while a run is under way.
    """

    def __init__(
        self,
        system: SystemManager,
        config: ConfigSource | None = None,
        *,
        start: Callable[[], str] | None = None,
    ) -> None:
        if not isinstance(system, SystemManager):
            raise TypeError(f"a panel shows a SystemManager, not {system!r}; give nbbacktest.get_system_manager()")
        self.system = system
        self._repeats = start is None and config is None
        self._start = start or (lambda: commands.start(system, config).message)
        # guards the fields of a frame, which the pump and the kernel's thread both draw
        self._guard = threading.RLock()
        self._rate, self._shown, self._watch = _Rate(), (0, 0), MovingTime()
        self._ticks, self._ticked = TimeTicks(), 0.0
        self._looking = Looking()
        self._fallback = StaticFallback()
        self._state: SystemState | None = None  # what was shown last
        me = weakref.ref(self)
        self.pump = FramePump(self)
        self.controls = Controls(lambda *asked: _passed(me, "_carry_out", *asked), lambda at: _passed(me, "_look", at))
        self.charts = Charts(self.controls, self.pump.poke)
        self._dispatcher = CommandDispatcher(
            lambda: place_of(system.run), lambda message, wrong: _passed(me, "_answered", message, wrong)
        )
        self.controls.bridge.listen(
            lambda key, shown: _passed(me, "_key", key, shown), lambda *drag: _passed(me, "_dragged", *drag)
        )
        self.widget = self._laid_out()
        poke = self.pump.poke
        self._forget = system.on_state(lambda _state: poke())
        weakref.finalize(self, _close, self.widget, self._forget, self.pump).atexit = False
        self.draw_frame()
        if not system.is_stopped():
            poke()
        if system.run is None and (cut_off := offer()) is not None:
            self._answered(cut_off, False)

    @property
    def children(self) -> tuple[Any, ...]:
        """The widget's parts."""
        return tuple(self.widget.children)

    @property
    def is_closed(self) -> bool:
        """True if it was closed."""
        return self.widget.comm is None

    def close(self) -> None:
        """Remove the panel from its pages; the run goes on."""
        _kept.discard(self)
        _close(self.widget, self._forget, self.pump)

    # -- what the user does ----------------------------------------------------------------------------------

    def _carry_out(self, action: Action, *arguments: Any, shown: ShownPlace | None = None) -> None:
        """Queue an action for the run that its page showed; `shown` is what the page sent along."""
        seen = self.controls.bridge.clicked() if shown is None else shown
        if not isinstance(action, str):
            self._dispatcher.submit_action(lambda: action(self.system), seen)
            return
        self._looking.end()
        if action == "start":
            self._dispatcher.submit("start", self._start, seen)
        elif action != "rewind" or self._goes_back:
            self._dispatcher.submit(action, self._command(action, *arguments), seen)
        self.pump.poke()

    def _command(self, word: str, *arguments: Any) -> Callable[[], str]:
        return lambda: commands.COMMANDS[word](self.system, *arguments).message

    def _key(self, key: str, shown: ShownPlace) -> None:
        state, count = self.system.get_state(), int(self.controls.count.value)
        if key == "right" and state is SystemState.PAUSED:
            self._carry_out("step", count, shown=shown)
        elif key == "space" and state is not SystemState.STOPPED:
            self._carry_out("pause" if state is SystemState.RUNNING else "resume", shown=shown)
        elif key == "left" and self._goes_back:
            self._carry_out("back", count, shown=shown)
        elif key == "undo" and self._goes_back:
            self._carry_out("undo", shown=shown)
        elif key in _ENDS and self._goes_back:
            self._carry_out("rewind", _ENDS[key], shown=shown)

    @property
    def _goes_back(self) -> bool:
        return Command.REWIND in allowed_in(self.system.get_state(), self.system.run)

    def _dragged(self, at: int, rests: bool, held: bool) -> None:  # noqa: FBT001 - as the page reports it
        self.controls.hold_timeline(held=held)
        self._look(at, rests)

    def _look(self, at: int, goes: bool = True) -> None:  # noqa: FBT001, FBT002 - as the page reports it
        """Look at the instant to which the user has moved the slider. If the user has let go of it, or holds it still, go there."""
        run, shown = self.system.run, self.controls.bridge.clicked()
        if run is None or at == run.published().cursor:
            self._looking.end()
        elif shown is not None and shown[0] != number_of(run):
            self._answered(STALE, True)
        else:
            place = self._looking.choose(at, shown)
            if goes and self._goes_back:
                self._go(place)
            elif goes and run.is_live:
                self._answered(LIVE_BACK, True)
        self.pump.poke()

    def _go(self, place: SliderPlace) -> None:
        """Take the run to the instant that the user looks at."""
        if self._looking.ask(place):
            go = self._command("rewind", str(place.at))
            self._dispatcher.submit("rewind", go, place.shown, lambda: self._gone(place))

    def _gone(self, place: SliderPlace) -> None:
        self._looking.end(place)
        self.pump.poke()

    def _answered(self, message: str, wrong: bool) -> None:  # noqa: FBT001 - as the dispatcher calls it
        with self._guard:  # a frame that was begun before isn't shown after it
            about = (number_of(self.system.run), self.system.get_state())
            self.controls.show_notice(message, about, is_error=wrong)
        self.pump.poke()

    # -- frames ---------------------------------------------------------------------------------------------

    def draw_frame(self) -> float | None:
        """Draw a frame; returns in how many seconds the next is due, None if nothing moves."""
        began, worked = monotonic(), thread_time()
        with self._guard:
            view, behind = self._draw()
        if behind:
            return 0.02
        if view.state is SystemState.STOPPED:
            self.publish_fallback()
            return None
        if view.state is SystemState.PAUSED:
            return RESTING
        if view.speed > 0:
            return max(1 / FRAMES - (monotonic() - began), 0.02)
        # Drawing must neither slow the engine down nor keep the page from handling clicks.
        dear = max((thread_time() - worked) / SHARE, 3 * self.charts.drawing_seconds)
        return min(max(1 / FRAMES, dear), SLOWEST)

    def _draw(self) -> tuple[ViewState, bool]:
        # The state is read first: if it says at rest, the published snapshot is that of the cursor.
        state, run = self.system.get_state(), self.system.run
        if self._repeats:
            self.controls.show_next_start(self.system.next_start)
        if run is None:
            view = resolve(0, state, None, None, (0, 0), 0.0, self.system.next_speed)
            self.controls.show(view)
            self.charts.answer()
            return view, False
        shot, number = run.followed(), number_of(run)
        frame = shot._frame  # noqa: SLF001 - hidden from users only; the charts and the numbers beside them show one frame
        if (number, frame.epoch) != self._shown:
            self._rate = _Rate()
            if number != self._shown[0]:
                self._looking.end()
            self._shown = number, frame.epoch
        rate = self._rate.at(sum(shot.counts.values()), monotonic())
        looked, place = None, self._looking.place
        if place is not None and place.at <= run.horizon:
            looked = run.look(place.at)
            frame = looked_at(run, frame, looked._frame)  # noqa: SLF001 - as above
        starts = self.charts.starts(run, frame)
        sessions = int(starts.searchsorted(frame.cursor, side="left")), len(starts)
        wall = self._watch.seconds(run, state)
        view = resolve(number, state, run, shot, sessions, rate, self.system.next_speed, wall, looked)
        self.charts.beat(run, frame, view)
        changed, self._state = view.state is not self._state, view.state
        self.controls.show(view)
        self._show_ticks(run, view, starts)
        # A new state is sent before the charts are drawn.
        return view, changed or self.charts.draw(run, frame, view)

    def _show_ticks(self, run: Run, view: ViewState, starts: Int64) -> None:
        now = monotonic()
        if view.state is SystemState.RUNNING and now - self._ticked < 1.0:
            return
        self._ticked = now
        self.controls.timeline.show_ticks(self._ticks.drawn(run, view.horizon, starts))

    # -- how it is shown ------------------------------------------------------------------------------------

    def _laid_out(self) -> iw.VBox:
        controls = self.controls
        choices = iw.Box([controls.symbol, controls.interval, controls.follow])
        choices.add_class("nbbt-choices")
        charts = self.charts
        lower = iw.Box([charts.equity, charts.sync])
        lower.add_class("nbbt-lower")
        panel = iw.VBox([controls.root, choices, charts.bars, lower, controls.synchronization])
        panel.add_class("nbbt-panel")
        return panel

    def _ipython_display_(self) -> None:
        """Show the panel and, once a run has ended, below it a picture that needs no kernel."""
        from IPython.display import display

        display(self._repr_mimebundle_(), raw=True)  # type: ignore[no-untyped-call]
        if not self.is_closed:
            self._fallback.place()
            self.pump.poke()

    def publish_fallback(self) -> None:
        """Draw the picture of the ended run, if there is one without a picture."""
        run = self.system.run
        if run is not None and run.done:
            self._fallback.show(run)

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, Any]:
        if self.is_closed:
            return {"text/plain": repr(self)}
        _kept.add(self)
        bundle: dict[str, Any] = dict(self.widget._repr_mimebundle_())
        self.pump.poke()
        return {**bundle, **in_words(self.system)}

    def __repr__(self) -> str:
        if self.is_closed:
            return "<ControlPanel that was closed; its system's panel() gives another>"
        return f"<ControlPanel of a system that is {self.system.get_state()}>"


_of_system: weakref.WeakKeyDictionary[SystemManager, weakref.ref[ControlPanel]] = weakref.WeakKeyDictionary()


def panel_of(system: SystemManager) -> ControlPanel:
    """The system's panel: the same at each call until it is closed, then a new one."""
    known = _of_system.get(system)
    panel = known() if known is not None else None
    if panel is None or panel.is_closed:
        panel = ControlPanel(system)
        _of_system[system] = weakref.ref(panel)
    return panel


_kept: set[ControlPanel] = set()
"""Panels that were shown: a page holds no Python reference to them."""


class _Rate:
    """Bars a second over the last 1.5 seconds."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def at(self, bars: int, now: float) -> float:
        """Add a count of processed bars at `now`; returns the rate."""
        self._seen = [*(entry for entry in self._seen if now - entry[0] < 1.5), (now, bars)]
        (then, before), (until, after) = self._seen[0], self._seen[-1]
        return (after - before) / (until - then) if until > then else 0.0


def _passed(me: weakref.ref[ControlPanel], method: str, *arguments: Any) -> None:
    panel = me()
    if panel is not None:
        getattr(panel, method)(*arguments)


def _close(widget: iw.Widget, forget: Callable[[], None], pump: FramePump) -> None:
    forget()
    pump.close()
    pending: list[Any] = [widget]
    while pending:
        one = pending.pop()
        if isinstance(one, (tuple, list)):
            pending += one
        elif isinstance(one, iw.Widget):
            # Children, layouts and styles are models too: a page keeps each model until the model is closed.
            pending += one._trait_values.values()  # noqa: SLF001 - reading a trait by its name would make its default
            one.close()
