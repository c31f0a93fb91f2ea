"""Applies `data.quality` to the bars of a run: warns of rows that were left out, and refuses or drops thin sessions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from nbbacktest.core.data_config import QualityConfig
from nbbacktest.core.errors import DataError, DataQualityWarning
from nbbacktest.core.user_code import callers_level
from nbbacktest.data.calendar import local_dates
from nbbacktest.data.coverage import Coverage, Grid, cover
from nbbacktest.data.market import MarketData


def hold_to_quality(market: MarketData, wanted: QualityConfig, notes: Mapping[str, tuple[str, ...]]) -> MarketData:
    """Apply `data.quality` to a market without faulty rows; all warnings are given as one.

    A symbol's share is the part of its expected bars that exists, over all sessions that are due, warm-up included.
    If one is below `minimum`: ``refuse`` refuses; ``warn`` warns and changes nothing; ``drop`` leaves every session
    whose own share is below it out for that symbol, and counts these bars as ``"thin"``. It is known only at
    its end if a session is thin, so that dropping it is hindsight.

    Parameters
    ----------
    notes
        The warnings about rows that were left out, by the name of a symbol's bars in errors.

    Raises
    ------
    DataError
        If a symbol has too few bars and that is refused, or no session is left.
    DataQualityWarning
        As a warning, if `data.quality` wants one.
    """
    said = [f"{label}: {'; '.join(texts)}" for label, texts in notes.items() if texts]
    if wanted.minimum:
        due = market.due()
        grid = Grid(due, market.interval)
        # Bars that are left out from here on still count as expected.
        market = replace(market, placed=True, days_asked=(due.dates[0].item(), due.dates[-1].item()))
        for symbol, columns in tuple(market.bars.items()):
            counted = cover(grid, columns.time, columns.volume, {})
            share = counted.total("present") / counted.total("expected")
            if wanted.faults == "drop":
                market = _without_thin(market, symbol, counted, wanted.minimum)
            elif share < wanted.minimum:
                text = _too_few(symbol, counted, share, wanted.minimum)
                if wanted.faults == "refuse":
                    raise DataError(
                        f"{text}; bring the missing bars, lower data.quality.minimum, or drop such sessions"
                    )
                said.append(text)
    if said:
        warnings.warn("\n".join(said), DataQualityWarning, stacklevel=callers_level())
    return market


def _too_few(symbol: str, counted: Coverage, share: float, minimum: float) -> str:
    expected, present = counted.counts["expected"], counted.counts["present"]
    own = np.where(expected > 0, present / np.maximum(expected, 1), np.inf)
    worst = int(np.argmin(own))
    return (
        f"{symbol} has {counted.total('present')} of {counted.total('expected')} expected bars, {share:.1%}, and "
        f"data.quality.minimum is {minimum:g}; the worst session is {counted.dates[worst]} with {present[worst]} of "
        f"{expected[worst]}"
    )


def _without_thin(market: MarketData, symbol: str, counted: Coverage, minimum: float) -> MarketData:
    columns = market.bars[symbol]
    expected, present = counted.counts["expected"], counted.counts["present"]
    thin = counted.dates[(present < minimum * expected) & (present > 0)]
    if not len(thin):
        return market
    table = market.due()
    row = table.session_of(columns.time)
    dates = local_dates(columns.time, table.timezone).astype("datetime64[D]")
    dates[row >= 0] = table.dates[row[row >= 0]]
    keep = ~np.isin(dates, thin)
    if not keep.any() or not (columns.end[keep] > market.start).any():
        raise DataError(
            f"{symbol} has no session with at least {minimum:g} of its expected bars; lower data.quality.minimum, or "
            "leave the symbol out"
        )
    left_out = {name: dict(kinds) for name, kinds in market.left_out.items()}
    known = left_out.setdefault(symbol, {})
    known["thin"] = np.union1d(known.get("thin", columns.time[:0]), columns.time[~keep])
    return replace(market, bars=market.bars | {symbol: columns.taken(keep)}, left_out=left_out)
