"""The timeline of a panel: a slider over all instants of a run so far, with ticks where something happened."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

import ipywidgets as iw
import numpy as np

from nbbacktest.core.records import Int64
from nbbacktest.system.run import Run
from nbbacktest.trading.orders import Fill
from nbbacktest.widgets import texts
from nbbacktest.widgets.view import ViewState

_WIDTH = 500
"""The number of places along the timeline that ticks can be told apart at."""
_SESSIONS = 60
"""The most sessions that get ticks; of more, every second, third, ... one."""
_SPAN = {"session": (9, 14), "fill": (2, 8), "input": (0, 14), "error": (0, 14)}
"""The kinds of ticks, and the height of each: from and to, downwards in pixels."""


class TimeSlider:
    """The slider, its ticks, and the badge that says that the run stands in its past.

    Attributes
    ----------
    root : ipywidgets.Box
    slider : ipywidgets.IntSlider
        From 0 to the run's horizon. Its value is sent when the user lets go of it: a slider that sends each value sends also
        those that the kernel has set. While it is dragged, the page reports where it is to the panel's `PageBridge`.
    held_until : float
        Until then the user holds the slider, on the monotonic clock.
    """

    def __init__(self, home: iw.Button) -> None:
        self.slider = iw.IntSlider(
            0, min=0, max=1, readout=False, continuous_update=False, behavior="snap", disabled=True,
            tooltip="Drag to look at an earlier instant; let go to be there",
        )  # fmt: skip
        self.slider.add_class("nbbt-timeline")
        self.held_until = 0.0
        self._ticks, self._badge, self._home = iw.HTML(), iw.HTML(), home
        self._ticks.add_class("nbbt-ticks")
        self._badge.add_class("nbbt-past")
        track = iw.Box([self.slider, self._ticks])
        track.add_class("nbbt-track")
        self.root = iw.Box([track, self._badge, home])
        self.root.add_class("nbbt-time")

    def show(self, view: ViewState) -> None:
        """Show where the run stands. While the user holds the slider, or looks at another instant, it stays where it is."""
        if not view.is_looking and monotonic() >= self.held_until:
            with self.slider.hold_sync():
                self.slider.disabled = not view.horizon
                self.slider.max = max(view.horizon, 1)
                self.slider.value = view.cursor
        self._badge.value = texts.past(view)
        self._home.disabled = not (view.in_past or view.is_looking)

    def show_ticks(self, drawn: str) -> None:
        """Show ticks that `TimeTicks` has drawn."""
        self._ticks.value = drawn


class TimeTicks:
    """Draws the ticks of one run. For one thread."""

    def __init__(self) -> None:
        self._fills: Sequence[Fill] = ()
        self._places: Int64 = np.empty(0, dtype=np.int64)  # of the fills
        self._drawn_of: tuple[object, ...] | None = None
        self._drawn = ""

    def drawn(self, run: Run, horizon: int, sessions: Int64) -> str:
        """The ticks as SVG, which is stretched to the slider's width.

        Parameters
        ----------
        horizon
            The place at the right end.
        sessions
            The places at which trading days begin.
        """
        desk, inputs = run.journey.farthest.desk, run.inputs
        key = (id(desk), horizon, len(desk.fills), len(desk.failures), len(sessions), inputs)
        if key != self._drawn_of:
            self._drawn_of = key
            failed = np.array([time for time, *_ in desk.failures], dtype=np.int64)
            self._drawn = _svg(horizon, {
                "session": sessions[1 :: len(sessions) // _SESSIONS + 1],
                "fill": self._places_of(desk.fills),
                "input": np.array([one.place.cursor for one in inputs], dtype=np.int64),
                "error": np.minimum(desk.instants.searchsorted(failed) + 1, horizon),
            })  # fmt: skip
        return self._drawn

    def _places_of(self, fills: Sequence[Fill]) -> Int64:
        if fills is not self._fills or len(self._places) > len(fills):
            self._fills, self._places = fills, np.empty(0, dtype=np.int64)
        fresh = np.array([fill.index + 1 for fill in fills[len(self._places) :]], dtype=np.int64)
        self._places = np.append(self._places, fresh)
        return self._places


def _svg(horizon: int, places: dict[str, Int64]) -> str:
    if not horizon:
        return ""
    paths = []
    for kind, found in places.items():
        columns = np.unique(found[found <= horizon] * _WIDTH // horizon)
        top, bottom = _SPAN[kind]
        if len(columns):
            lines = "".join(f"M{x} {top}V{bottom}" for x in columns.tolist())
            paths.append(f'<path class="nbbt-tick-{kind}" d="{lines}"/>')
    return (
        f'<svg viewBox="0 0 {_WIDTH} 14" preserveAspectRatio="none" aria-hidden="true">'
        f"<title>fills, sessions, inputs by hand, errors</title>{''.join(paths)}</svg>"
    )
