"""The instant to which a user has moved the slider of a panel: shown without the run being there, until it is. For any thread."""

from __future__ import annotations

import threading
from typing import NamedTuple

from nbbacktest.widgets.panel_threads import ShownPlace


class SliderPlace(NamedTuple):
    """An instant that the user has chosen.

    Attributes
    ----------
    at : int
        The cursor.
    shown : tuple of int or None
        The run and epoch that the page showed then.
    """

    at: int
    shown: ShownPlace | None


class Looking:
    """The instant that a panel's user looks at, if it isn't the one at which the run stands."""

    def __init__(self) -> None:
        self._guard = threading.Lock()  # guards the fields
        self._place: SliderPlace | None = None
        self._asked: SliderPlace | None = None  # the place to which the run was sent last

    @property
    def place(self) -> SliderPlace | None:
        """The instant to show; None: the one at which the run stands."""
        return self._place

    def choose(self, at: int, shown: ShownPlace | None) -> SliderPlace:
        """Look at an instant from now on."""
        with self._guard:
            if self._place is None or self._place.at != at:
                self._place = SliderPlace(at, shown)
            return self._place

    def end(self, place: SliderPlace | None = None) -> None:
        """Look at the run again; if a `place` is given, only if it is the newest."""
        with self._guard:
            if place is None or self._place is place:
                self._place = None

    def ask(self, place: SliderPlace) -> bool:
        """True if the run wasn't sent to this place yet; it is now."""
        with self._guard:
            is_new, self._asked = self._asked is not place, place
            return is_new
