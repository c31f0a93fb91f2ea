"""The forming bars of a run, by symbol and interval: found when they are first asked for, then kept up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from nbbacktest.core.errors import DataError
from nbbacktest.core.intervals import Interval
from nbbacktest.core.records import FormingBar, Stamps
from nbbacktest.data.resample import Forming
from nbbacktest.engine.series import Series

if TYPE_CHECKING:
    from nbbacktest.data.calendar import SessionTable


class FormingBars:
    """The forming bars of a desk.

    Parameters
    ----------
    series
        The run's, by symbol and interval; those of symbols that join are put into it.
    periods
        The sessions of whole weeks and months, called for each symbol and interval; None: nothing can be told.
    """

    def __init__(
        self,
        series: Mapping[tuple[str, str], Series],
        periods: Callable[[], SessionTable] | None,
        stamps: Stamps,
    ) -> None:
        self._series = series
        self._periods = periods
        self._stamps = stamps
        self._found: dict[tuple[str, str], Forming] = {}

    def at(self, base: Series, interval: str | None, now: int) -> FormingBar | None:
        """The bar of `interval` that the newest base bars are part of; None if it is complete by `now`.

        Raises
        ------
        DataError
            If no such bar can be built from the base bars, or the interval isn't named and can't be known.
        """
        if interval is None:
            interval = self._only(base)
        found = self._found.get((base.symbol, interval))
        if found is None:
            length = Interval.parse(interval)
            why = length.misfit(base.columns.interval)
            if why is not None or self._periods is None:
                raise DataError(f"forming({interval!r}) {why or 'needs the sessions of an exchange'}")
            found = self._found[base.symbol, interval] = Forming(length, self._periods(), self._stamps)
        bar = found.at(base.columns, base.n)
        return None if bar is None or bar.closes_ns <= now else bar

    def clear(self) -> None:
        """Find them again: the columns begin earlier, and so may the weeks and months."""
        self._found.clear()

    def _only(self, base: Series) -> str:
        derived = [name for (symbol, name), one in self._series.items() if symbol == base.symbol and one is not base]
        if len(derived) == 1:
            return derived[0]
        known = f"the run has {', '.join(derived)}" if derived else "the run has no derived ones"
        raise DataError(f"forming() needs an interval, such as forming('1d'): {known}")
