"""The panel's controls: the table of its buttons, and the widgets that show a `ViewState` and report clicks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import get_ident
from time import monotonic
from typing import Any

import ipywidgets as iw

from nbbacktest.core.enums import SystemState
from nbbacktest.core.lifecycle import Command
from nbbacktest.system.manager import SystemManager
from nbbacktest.widgets import texts
from nbbacktest.widgets.page_bridge import PageBridge
from nbbacktest.widgets.time_slider import TimeSlider
from nbbacktest.widgets.view import ViewState, differences

DATA, CLOCK = "Data-driven", "Clock-driven"
SLOWEST, FASTEST = 0.0, 5.0
"""Powers of ten: from real time to a day in less than a second."""

Action = str | Callable[[SystemManager], str]
"""The action of a click: a command, by its word in `nbbacktest.system.commands`, or a function that returns a message."""


@dataclass(frozen=True, slots=True)
class PanelButton:
    """A button of the panel, and the action of a click on it.

    Attributes
    ----------
    name : str
        Its CSS class is ``nbbt-`` and this name.
    text, style, tooltip : str
        As ipywidgets' Button takes them.
    action : str or callable
        A command by its word, or a function: it is called with the system, outside of the kernel's thread, and the
        panel shows the message that it returns, or its error.
    needs : Command or None
        The button is enabled in states that allow this command; None: in all states.
    argument : callable, optional
        Reads the command's argument from the controls.
    """

    name: str
    text: str
    style: str
    tooltip: str
    action: Action
    needs: Command | None = None
    argument: Callable[[Controls], Any] | None = None


BACK = PanelButton(
    "back", "Back", "", "Go back by so many instants (left arrow)", "back", Command.REWIND,
    lambda controls: int(controls.count.value),
)  # fmt: skip
UNDO = PanelButton(
    "undo", "Undo", "", "Take back the last input by hand, and give up what came after it (z)", "undo", Command.REWIND
)
BUTTONS = (
    PanelButton("start", "Start", "success", "Start a run of the config", "start", Command.START),
    PanelButton("pause", "Pause", "warning", "Hold the run at the next bar (space)", "pause", Command.PAUSE),
    PanelButton("resume", "Resume", "primary", "Let the run go on (space)", "resume", Command.RESUME),
    BACK,
    PanelButton(
        "step", "Step", "", "Deliver exactly so many instants and rest again (right arrow)", "step", Command.STEP,
        lambda controls: int(controls.count.value),
    ),
    UNDO,
    PanelButton("stop", "Stop", "danger", "End the run", "stop", Command.STOP),
)  # fmt: skip
"""The row of buttons, from left to right. A new button is an entry here, and its action."""
RUN_UNTIL = PanelButton(
    "run-until", "Run until", "", "Go on until then, and rest there", "until", Command.RUN_UNTIL,
    lambda controls: controls.when.value.strip(),
)  # fmt: skip
"""The button beside the field for the time or the event."""
HOME = PanelButton(
    "home", "Home", "", "Go to the last instant that the run has completed", "rewind", None, lambda _controls: "end"
)
"""The button beside the timeline."""
HELD = 5.0
"""Seconds for which the timeline's slider is the user's after the page's last word about it."""
LIVE_BACK = "A live run can't be taken back: its arrivals aren't recorded"


class Controls:
    """All controls, and the boxes that they stand in.

    Parameters
    ----------
    ask
        Called in the kernel's thread with an action and its argument, if it has one: ``("pause",)``, ``("step", 10)``,
        ``("speed", 60.0)``.
    go
        Called in the kernel's thread with the instant at which the user has let go of the timeline's slider.

    Attributes
    ----------
    root : ipywidgets.VBox
        Stands above the charts.
    buttons : dict of str to ipywidgets.Button
        By the names of `BUTTONS`, `RUN_UNTIL` and `HOME`.
    timeline : TimeSlider
    symbol, interval, follow
        The controls that choose the bars of the bar chart.
    """

    def __init__(self, ask: Callable[..., object], go: Callable[[int], object]) -> None:
        self._ask, self._go = ask, go
        self._shown: ViewState | None = None
        self._notice_of: tuple[int, SystemState] | None = None  # the run and the state that the notice is about
        # The thread that shows the system now: a value that it sets isn't the user's choice.
        self._writer: int | None = None
        self._declared = (*BUTTONS, RUN_UNTIL, HOME)
        self.bridge = PageBridge()
        self.state = _html("nbbt-state")
        self.heading = _html("nbbt-heading")
        self.buttons = {button.name: self._button(button) for button in self._declared}
        self.count: iw.BoundedIntText = iw.BoundedIntText(
            1, min=1, max=1_000_000, tooltip="How many instants Back and Step take"
        )
        self.count.add_class("nbbt-steps")
        self.mode = iw.ToggleButtons(
            options=[DATA, CLOCK],
            tooltips=["As fast as the bars can be processed", "By the clock, at the speed of the slider"],
        )
        self.mode.add_class("nbbt-mode")
        self.speed = iw.FloatLogSlider(
            60.0, min=SLOWEST, max=FASTEST, step=0.05, base=10, readout_format=",.0f", continuous_update=False,
            tooltip="Simulated seconds a second: 60 is a simulated minute a second",
        )  # fmt: skip
        self.speed.add_class("nbbt-speed")
        self.achieved = _html("nbbt-achieved")
        self.when: iw.Combobox = iw.Combobox(
            placeholder="10:30, next fill, next session", options=["next fill", "next session"],
            continuous_update=True, tooltip="A time of the exchange's clock, or an event",
        )  # fmt: skip
        self.when.add_class("nbbt-until")
        self.bar = iw.FloatProgress(0.0, min=0.0, max=1.0)
        self.progress_text = _html("nbbt-progress-text")
        self.progress = iw.Box([self.bar, self.progress_text])
        self.progress.add_class("nbbt-progress")
        self.timeline = TimeSlider(self.buttons[HOME.name])
        self.figures = _html("nbbt-figures")
        self.holdings = _html("nbbt-holdings")
        self.notice = _html("nbbt-notices")
        self.failure = _html("nbbt-failures")
        self.synchronization = _html("nbbt-synchronization")
        self.symbol = iw.Dropdown(options=["–"], tooltip="Symbol of the chart")
        self.interval = iw.Dropdown(options=["–"], tooltip="Interval of the chart")
        self.follow = iw.ToggleButton(True, description="Follow", tooltip="Show the newest bars as they come")
        for widget, name in (
            (self.symbol, "nbbt-symbol"),
            (self.interval, "nbbt-interval"),
            (self.follow, "nbbt-follow"),
        ):
            widget.add_class(name)
        self.root = self._laid_out()
        self.mode.observe(self._mode_chosen, "value")
        self.speed.observe(self._speed_chosen, "value")
        self.timeline.slider.observe(self._place_chosen, "value")

    # -- what the user does ----------------------------------------------------------------------------------

    def _mode_chosen(self, change: Mapping[str, Any]) -> None:
        if self._writer != get_ident():
            self._ask("speed", 0.0 if change["new"] == DATA else float(self.speed.value))

    def _speed_chosen(self, change: Mapping[str, Any]) -> None:
        if self._writer != get_ident() and self.mode.value == CLOCK:
            self._ask("speed", float(change["new"]))

    def _place_chosen(self, change: Mapping[str, Any]) -> None:
        if self._writer != get_ident():
            self._go(int(change["new"]))

    def _clicked(self, button: PanelButton) -> None:
        given = () if button.argument is None else (button.argument(self),)
        self._ask(button.action, *given)

    # -- what the system does --------------------------------------------------------------------------------

    def show(self, view: ViewState) -> bool:
        """Show `view`: set only the values that differ from those shown; True if any did."""
        changed = differences(self._shown, view)
        if not changed:
            return False
        self._writer = get_ident()
        try:
            self._write(view, changed)
            self.timeline.show(view)
        finally:
            self._writer = None
        self._shown = view
        return True

    def _write(self, view: ViewState, changed: frozenset[str]) -> None:
        if self._notice_of != (view.run, view.state):
            self.notice.value = ""
        self.bridge.run, self.bridge.epoch = view.run, view.epoch
        self.bridge.total, self.bridge.cursor = view.total, view.cursor
        self.progress_text.value = texts.progress(view)
        if changed & {"state", "failure"}:
            self.state.value = texts.badge(view)  # after the counter: a page that shows "Paused" shows where
        if changed & {"allowed", "by_hand", "is_open"}:
            for button in self._declared:
                if button.needs is not None:
                    self.buttons[button.name].disabled = button.needs not in view.allowed
            self.count.disabled = not view.allowed & {Command.STEP, Command.REWIND}
            self.buttons[UNDO.name].disabled |= not view.by_hand
            self.buttons[BACK.name].tooltip = LIVE_BACK if view.is_open else BACK.tooltip
        self.bar.value = view.progress
        if "state" in changed or "failure" in changed:
            self.bar.bar_style = _bar_style(view)
        if "speed" in changed:
            self._write_speed(view.speed)
        self.heading.value = texts.heading(view)
        self.achieved.value = texts.achieved(view)
        self.figures.value = texts.figures(view)
        self.holdings.value = texts.holdings(view) if view.run else ""
        self.synchronization.value = texts.synchronization(view) if view.run else ""
        self.failure.value = texts.failure(view.failure)
        if changed & {"symbols", "intervals", "run"} and view.run:
            _choose(self.symbol, view.symbols)
            _choose(self.interval, view.intervals)

    def _write_speed(self, speed: float) -> None:
        self.mode.value = CLOCK if speed > 0 else DATA
        if speed > 0:
            power = min(max(math.log10(speed), SLOWEST), FASTEST)
            self.speed.value = speed if SLOWEST <= math.log10(speed) <= FASTEST else 10**power
        self.speed.disabled = speed <= 0

    def hold_timeline(self, *, held: bool) -> None:
        """Leave the timeline's slider alone while the user holds it; show all values anew once it is let go."""
        self.timeline.held_until = monotonic() + HELD if held else 0.0
        if not held:
            self._shown = None

    def show_notice(self, message: str, about: tuple[int, SystemState], *, is_error: bool) -> None:
        """Show a command's message, as long as the system stays in that run and state."""
        self.notice.value, self._notice_of = texts.notice(message, is_error=is_error), about
        self._shown = None  # after a refusal the page still shows the user's choice: the next view sets all values anew

    def show_next_start(self, run: str | None) -> None:
        """Say in Start's tooltip which run it repeats; None: it runs the example."""
        self.buttons["start"].tooltip = f"Run again: {run}" if run else "Run the example"

    # -- how they stand -------------------------------------------------------------------------------------

    def _button(self, declared: PanelButton) -> iw.Button:
        button = iw.Button(description=declared.text, button_style=declared.style, tooltip=declared.tooltip)
        button.add_class(f"nbbt-{declared.name}")
        button.on_click(lambda _button: self._clicked(declared))
        return button

    def _laid_out(self) -> iw.VBox:
        step = iw.Box([self.buttons["back"], self.buttons["step"], self.count])
        step.add_class("nbbt-group")
        buttons = iw.Box([step if b.name == "step" else self.buttons[b.name] for b in BUTTONS if b.name != "back"])
        pace = iw.Box([self.mode, self.speed, self.achieved])
        goal = iw.Box([self.when, self.buttons[RUN_UNTIL.name]])
        top = iw.Box([self.state, self.heading])
        for box, name in ((buttons, "nbbt-buttons"), (pace, "nbbt-pace"), (goal, "nbbt-goal"), (top, "nbbt-top")):
            box.add_class(name)
            box.add_class("nbbt-row")
        row = iw.Box([buttons, goal])
        row.add_class("nbbt-row")
        root = iw.VBox(
            [top, row, pace, self.progress, self.timeline.root, self.notice, self.failure, self.figures, self.holdings,
             self.bridge]
        )  # fmt: skip
        root.add_class("nbbt-controls")
        return root


def _bar_style(view: ViewState) -> str:
    if view.failure is not None:
        return "danger"
    if view.state is SystemState.PAUSED:
        return "warning"
    return "success" if view.progress >= 1.0 else "info"


def _choose(dropdown: iw.Dropdown, options: tuple[str, ...]) -> None:
    if tuple(dropdown.options) != options and options:
        chosen = dropdown.value
        dropdown.options = options
        dropdown.value = chosen if chosen in options else options[0]


def _html(name: str) -> iw.HTML:
    html = iw.HTML()
    html.add_class(name)
    return html
