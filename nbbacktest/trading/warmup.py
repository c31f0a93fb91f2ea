"""The warm-up of a run: counts the bars that were asked for and that there are, and loads more before the first instant."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nbbacktest.core.records import BarColumns
from nbbacktest.data.warmup import Need
from nbbacktest.engine.series import Series

Loader = Callable[[Need], Sequence[tuple[BarColumns, int]] | None]
"""Gives, for every series in order, columns that reach as far back as a need wants, and how many of them are warm-up;
None if the source has nothing more."""


class Warmup:
    """Counts warm-up bars by symbol and interval. Used by the builder, then by the analysis thread alone.

    Parameters
    ----------
    series
        All of the run.
    needs
        The warm-up that was asked for before the bars were loaded.
    more
        None if nothing more can be loaded.
    """

    def __init__(self, series: Sequence[Series], needs: Sequence[Need] = (), more: Loader | None = None) -> None:
        self._series = tuple(series)
        self._more = more
        self._asked: dict[tuple[str, str], int] = {}
        for need in needs:
            self._note(need)

    def ask(self, need: Need, before: Callable[[], None], after: Callable[[], None]) -> None:
        """Have as many bars as `need` wants, if the source has them; the columns then begin earlier.

        `before` is called before the change, and may refuse it; `after` remakes everything that was made from the old ones.
        """
        self._note(need)
        if self._more is None or all(one.first >= need.bars for one in self._meant(need)):
            return
        parts = self._more(need)
        if parts is None:
            return
        before()
        for one, (columns, first) in zip(self._series, parts, strict=True):
            one.show_earlier(columns, first)
        after()

    def lacking(self, need: Need) -> list[str]:
        """The series with fewer bars than were asked for, each as text with the numbers."""
        return [
            f"{one.symbol} {one.interval} has {one.first} of {need.bars}"
            for one in self._meant(need)
            if one.first < need.bars
        ]

    def table(self) -> dict[str, dict[str, dict[str, int]]]:
        """By symbol and interval, the numbers of bars that were asked for and that there are, unless both are 0."""
        table: dict[str, dict[str, dict[str, int]]] = {}
        for one in self._series:
            asked = self._asked.get((one.symbol, one.interval), 0)
            if asked or one.first:
                table.setdefault(one.symbol, {})[one.interval] = {"asked": asked, "got": one.first}
        return table

    def _note(self, need: Need) -> None:
        for one in self._meant(need):
            key = (one.symbol, one.interval)
            self._asked[key] = max(self._asked.get(key, 0), need.bars)

    def _meant(self, need: Need) -> list[Series]:
        return [
            one
            for one in self._series
            if (one.is_base if need.interval is None else one.interval == need.interval)
            and (need.symbols is None or one.symbol in need.symbols)
        ]
