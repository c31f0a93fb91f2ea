"""Where an audit cuts the data: at drawn instants, and at those where a look-ahead that acts at few bars would pay.

Those are the instants at which orders were placed, the last and the first bars of days, weeks and months, the bars around
gaps, before large moves of a price or of an indicator, the ends of coarser bars, and the first and the last bar. There are too many of them to run a strategy up to each.
So every indicator over whole columns is computed anew on columns that end there, which is cheap, and the strategy is run
up to the instants where its values differ, and up to some of the others.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from nbbacktest.core.errors import ConfigError, IndicatorError, Problem
from nbbacktest.core.intervals import DAY
from nbbacktest.core.records import BarColumns, Float64, Int64
from nbbacktest.system.stages import Stages
from nbbacktest.trading.indicators import Indicator

PROBES = 300
"""How many times an indicator is computed anew, at most."""
PROBED_ROWS = 10_000_000
"""Over how many rows together."""
LARGEST = 30
"""How many of the largest changes of a price, and of an indicator, are looked at."""

Rows = npt.NDArray[np.intp]
Differs = Callable[[Float64, Float64], int | None]


def places_of(whole: Stages, cuts: int, seed: int, differs: Differs) -> list[int]:
    """After how many instants to cut, rising: every symbol has a bar by then, and there is data behind.

    Parameters
    ----------
    whole
        A run that was played to its end.
    cuts
        How many to draw; half as many are taken of the instants named above, and each at which `differs` says that an
        indicator's values are others.

    Raises
    ------
    ConfigError
        Where there are fewer than two instants to cut between.
    """
    instants = whole.world.timeline.instants
    begun = max(int(columns.end[0]) for columns in whole.world.market.bars.values())
    low, high = max(int(np.searchsorted(instants, begun)) + 1, 1), len(instants) - 1
    if high < low:
        raise ConfigError(
            [Problem("data", f"{len(instants)} instants", "is too short to be cut; give more bars")], "audit"
        )
    rng = np.random.default_rng(seed)
    drawn = set(_drawn(low, high, cuts, rng))
    telling = [np.unique(np.clip(kind, low, high)) for kind in _telling(whole) if len(kind)]
    chosen = list(_in_turn(telling, rng))
    probed = chosen + rng.permutation(np.arange(low, high + 1)).tolist()
    found = _where_values_differ(whole, list(dict.fromkeys(probed)), low, high, differs)
    return sorted({*drawn, *chosen[: (cuts + 1) // 2], *found})


def _drawn(low: int, high: int, cuts: int, rng: np.random.Generator) -> Iterator[int]:
    few = (cuts + 1) // 2
    early = np.geomspace(1, high - low + 2, few + 1)
    even = np.linspace(1, high - low + 2, cuts - few + 1)
    for edges in (early, even):
        for a, b in pairwise(edges):
            yield min(low + int(rng.uniform(a, b)) - 1, high)


def _telling(whole: Stages) -> Iterator[Int64]:
    """By kind, places where a look-ahead would pay."""
    instants, series = whole.world.timeline.instants, whole.world.timeline.series

    def after(*moments: Int64) -> Int64:
        return np.searchsorted(instants, np.concatenate([instants[:0], *moments]), side="right")

    base = [one.whole for one in series if one.is_base and len(one.whole) > 1]
    turns = [(columns.end, *_turns(columns, whole)) for columns in base]
    yield after(np.array([order.submitted_ns for order in whole.world.desk.orders], dtype=np.int64))
    yield np.array([1, len(instants) - 1], dtype=np.int64)
    yield after(*(end[rows] for end, rows, _ in turns))
    yield after(*(end[rows + 1] for end, rows, _ in turns))
    yield after(*(end[rows] for end, _, rows in turns))
    with np.errstate(all="ignore"):  # prices may be 0 or below
        yield after(*(columns.end[_largest(np.diff(np.log(columns.close)))] for columns in base))
    yield after(*(one.whole.end for one in series if not one.is_base))


def _turns(columns: BarColumns, whole: Stages) -> tuple[Rows, Rows]:
    """The bars before each change of the trading day or gap, and those before a change of the month.

    Of bars a day or longer, each is a date of its own: weeks, months and gaps count there.
    """
    days = whole.world.market.days.of(columns.time)
    step, months = (
        np.diff(columns.time),
        np.diff(days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)) != 0,
    )
    # 1 January 1970 was a Thursday.
    periods = days if columns.interval.ns < DAY else (days + 3) // 7
    return np.flatnonzero((step > np.median(step)) | (np.diff(periods) != 0) | months), np.flatnonzero(months)


def _largest(changes: Float64) -> Rows:
    """The rows before the largest changes: whoever knows what comes would act there."""
    size = np.nan_to_num(np.abs(changes), nan=0.0, posinf=0.0)
    rows = np.argsort(-size, kind="stable")[:LARGEST]
    return rows[size[rows] > 0]


def _in_turn(kinds: Sequence[Int64], rng: np.random.Generator) -> Iterator[int]:
    """Of each kind one after the other, in a drawn order; each place once."""
    queues = [rng.permutation(kind).tolist() for kind in kinds]
    seen: set[int] = set()
    while queues:
        queues = [queue for queue in queues if queue]
        for queue in queues:
            place = queue.pop()
            if place not in seen:
                seen.add(place)
                yield place


def _where_values_differ(whole: Stages, places: Sequence[int], low: int, high: int, differs: Differs) -> set[int]:
    """For each indicator over whole columns the first of `places` at which it differs, were the data to end there."""
    instants = whole.world.timeline.instants
    moments, found = instants[np.asarray(places) - 1], set()
    for entry in whole.world.desk.indicators:
        handle = entry.handle
        if type(handle) is not Indicator:  # streaming ones are given one bar after the other
            continue
        columns, values = handle.series.whole, handle[:]
        # The row that jumps, and the one before it.
        jumps = _largest(np.diff(values)) if len(values) > 1 else np.empty(0, np.intp)
        own = np.ravel(np.column_stack([jumps + 2, jumps + 1]))
        rows = [*own.tolist(), *np.searchsorted(columns.end, moments, side="right").tolist()]
        for n in _affordable(n for n in rows if 0 < n < len(columns)):
            place = int(np.searchsorted(instants, columns.end[n - 1], side="right"))
            short = _anew(handle, columns.slice(0, n))
            if low <= place <= high and short is not None and _differ(values[:n], short, differs):
                found.add(place)  # one place an indicator is enough
                break
    return found


def _differ(full: Float64, short: Float64, differs: Differs) -> bool:
    """`differs` asked where a glance doesn't do: it is ten times as dear."""
    same = np.array_equal(full, short, equal_nan=True)
    return not same and differs(full[:, np.newaxis], short[:, np.newaxis]) is not None


def _affordable(rows: Iterable[int]) -> Iterator[int]:
    """Each number of rows once, as many as `PROBES` and `PROBED_ROWS` let."""
    seen: set[int] = set()
    total = 0
    for n in rows:
        if n in seen:
            continue
        seen.add(n)
        total += n
        if len(seen) > PROBES or (total > PROBED_ROWS and len(seen) > 1):
            return
        yield n


def _anew(handle: Indicator, columns: BarColumns) -> Float64 | None:
    """Its values over fewer bars; None where its function can't do with so few."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of empty means and the like: the function is asked about the first bars too
            return handle.over(columns)
    except IndicatorError:
        return None
