"""What a strategy may see beside completed bars of the run: bars that are forming, and bars before the first one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbbacktest.core.records import FormingBar

if TYPE_CHECKING:
    from nbbacktest.trading.seat import Seat


class Sight:
    """A part of `Strategy`; its seat does the work."""

    _seat: Seat

    def forming(self, interval: str | None = None, symbol: str | None = None) -> FormingBar | None:
        """The bar that is not complete yet: what the base bars of the present bucket add up to so far.

        None where no base bar of it has completed yet, and where it is complete: then `bars` has it.

        Parameters
        ----------
        interval
            Any that can be derived from the base bars, such as ``"1d"`` or ``"1w"``, whether the run derives it or not;
            may be left out where the run has one.
        symbol
            Any of the run's; may be left out where the strategy has one.

        Examples
        --------
        ::

            today = self.forming("1d")
            if today is not None and bar.close > today.open:
                self.buy()
        """
        return self._seat.forming(interval, symbol)

    def warmup(self, bars: int, interval: str | None = None, symbol: str | None = None) -> int:
        """Ask in `on_start` for that many bars before the first one that is traded; returns how many there are.

        They are loaded where the source has them; where it has fewer, a warning says so. A class attribute or property
        ``warmup_bars``, a number or ``{interval: number}``, asks before anything is loaded. Once bars have been
        delivered this only counts.

        Parameters
        ----------
        interval
            Whose bars are counted; None is the base interval.
        symbol
            None: all of the strategy's; the fewest that one of them has is returned.

        Raises
        ------
        IndicatorError
            Where a streaming indicator has been read already.
        """
        return self._seat.warmup(bars, interval, symbol)
