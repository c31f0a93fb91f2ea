"""The panel's controls: ipywidgets that say what they are, follow a `ViewState`, and tell what the user did."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from threading import get_ident
from typing import Any

import ipywidgets as iw

from nbbacktest.core.enums import SystemState
from nbbacktest.core.lifecycle import Command
from nbbacktest.widgets import texts
from nbbacktest.widgets.page_bridge import PageBridge
from nbbacktest.widgets.view import ViewState, differences

DATA, CLOCK = "Data-driven", "Clock-driven"
SLOWEST, FASTEST = 0.0, 5.0
"""Powers of ten: from real time to a day in less than a second."""
_BUTTONS = (
    (Command.START, "Start", "success", "Start a run of the config"),
    (Command.PAUSE, "Pause", "warning", "Hold the run at the next bar (space)"),
    (Command.RESUME, "Resume", "primary", "Let the run go on (space)"),
    (Command.STEP, "Step", "", "Deliver exactly so many instants and rest again (right arrow)"),
    (Command.STOP, "Stop", "danger", "End the run"),
)
Told = Callable[[str, Any], object]
"""Told what the user did: a command's name and its argument."""


class Controls:
    """All controls, and the boxes that they stand in.

    Parameters
    ----------
    told
        Called in the kernel's thread with what the user did: ``("pause", None)``, ``("step", 10)``, ``("speed", 60.0)``.

    Attributes
    ----------
    root : ipywidgets.VBox
        To be shown above the charts.
    symbol, interval, follow
        What the bar chart shows.
    """

    def __init__(self, told: Told) -> None:
        self._told = told
        self._shown: ViewState | None = None
        self._told_of: tuple[int, SystemState] | None = None  # the run and the state that the notice speaks of
        self._writer: int | None = (
            None  # the thread that shows the system just now: what it sets isn't the user's doing
        )
        self.bridge = PageBridge()
        self.state = _html("nbbt-state")
        self.heading = _html("nbbt-heading")
        self.buttons = {command: self._button(command, *rest) for command, *rest in _BUTTONS}
        self.count = iw.BoundedIntText(1, min=1, max=1_000_000, tooltip="How many instants a step takes")
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
        self.when = iw.Combobox(
            placeholder="10:30, next fill, next session", options=["next fill", "next session"],
            continuous_update=True, tooltip="A time of the exchange's clock, or an event",
        )  # fmt: skip
        self.when.add_class("nbbt-until")
        self.until = self._button(Command.UNTIL, "Run until", "", "Go on until then, and rest there")
        self.bar = iw.FloatProgress(0.0, min=0.0, max=1.0)
        self.progress_text = _html("nbbt-progress-text")
        self.progress = iw.Box([self.bar, self.progress_text])
        self.progress.add_class("nbbt-progress")
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

    # -- what the user does ----------------------------------------------------------------------------------

    def _mode_chosen(self, change: Mapping[str, Any]) -> None:
        if self._writer != get_ident():
            self._told("speed", 0.0 if change["new"] == DATA else float(self.speed.value))

    def _speed_chosen(self, change: Mapping[str, Any]) -> None:
        if self._writer != get_ident() and self.mode.value == CLOCK:
            self._told("speed", float(change["new"]))

    def _pressed(self, command: Command) -> None:
        if command is Command.STEP:
            self._told("step", int(self.count.value))
        elif command is Command.UNTIL:
            self._told("until", self.when.value.strip())
        else:
            self._told(command.value, None)

    # -- what the system does --------------------------------------------------------------------------------

    def follow_view(self, view: ViewState) -> bool:
        """Show `view`; sets only what differs from what was shown. Whether anything did."""
        changed = differences(self._shown, view)
        if not changed:
            return False
        self._writer = get_ident()
        try:
            self._write(view, changed)
        finally:
            self._writer = None
        self._shown = view
        return True

    def _write(self, view: ViewState, changed: frozenset[str]) -> None:
        if self._told_of != (view.run, view.state):
            self.notice.value = ""
        self.bridge.run = view.run
        self.bridge.total, self.bridge.cursor = view.total, view.cursor
        self.progress_text.value = texts.progress(view)
        if changed & {"state", "failure"}:
            self.state.value = texts.badge(view)  # after the counter: who reads "Paused" reads where
        if "allowed" in changed:
            for command, button in (*self.buttons.items(), (Command.UNTIL, self.until)):
                button.disabled = command not in view.allowed
            self.count.disabled = Command.STEP not in view.allowed
        self.bar.value = view.cursor / view.total if view.total else 0.0
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

    def tell(self, message: str, told_of: tuple[int, SystemState], *, is_error: bool) -> None:
        """Show what a command answered, as long as the system stays in that run and state."""
        self.notice.value, self._told_of = texts.notice(message, is_error=is_error), told_of
        self._shown = None  # where a choice was refused, the page shows it still: all is written anew

    def tell_next(self, run: str | None) -> None:
        """Say beside Start what it runs again; None where that is the example."""
        self.buttons[Command.START].tooltip = f"Run again: {run}" if run else "Run the example"

    # -- how they stand -------------------------------------------------------------------------------------

    def _button(self, command: Command, text: str, style: str, tooltip: str) -> iw.Button:
        button = iw.Button(description=text, button_style=style, tooltip=tooltip)
        button.add_class(f"nbbt-{command.value.replace('run_until', 'go')}")
        button.on_click(lambda _button: self._pressed(command))
        return button

    def _laid_out(self) -> iw.VBox:
        step = iw.Box([self.buttons[Command.STEP], self.count])
        step.add_class("nbbt-group")
        order = (Command.START, Command.PAUSE, Command.RESUME)
        buttons = iw.Box([*(self.buttons[c] for c in order), step, self.buttons[Command.STOP]])
        pace = iw.Box([self.mode, self.speed, self.achieved])
        goal = iw.Box([self.when, self.until])
        top = iw.Box([self.state, self.heading])
        for box, name in ((buttons, "nbbt-buttons"), (pace, "nbbt-pace"), (goal, "nbbt-goal"), (top, "nbbt-top")):
            box.add_class(name)
            box.add_class("nbbt-row")
        row = iw.Box([buttons, goal])
        row.add_class("nbbt-row")
        root = iw.VBox(
            [top, row, pace, self.progress, self.notice, self.failure, self.figures, self.holdings, self.bridge]
        )
        root.add_class("nbbt-controls")
        return root


def _bar_style(view: ViewState) -> str:
    if view.failure is not None:
        return "danger"
    if view.state is SystemState.PAUSED:
        return "warning"
    return "success" if view.total and view.cursor >= view.total else "info"


def _choose(dropdown: iw.Dropdown, options: tuple[str, ...]) -> None:
    if tuple(dropdown.options) != options and options:
        chosen = dropdown.value
        dropdown.options = options
        dropdown.value = chosen if chosen in options else options[0]


def _html(name: str) -> iw.HTML:
    html = iw.HTML()
    html.add_class(name)
    return html
