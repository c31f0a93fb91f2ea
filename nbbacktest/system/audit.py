"""`audit_lookahead`: runs a strategy on the whole data, and again on data cut short, and compares the runs up to the cut.

A strategy can't know anything of the bars after an instant. So bars, indicators, orders and fills up to a cut have
to be the same, with data after the cut and without; a difference is a look-ahead. A bar that is delivered before it is
over is the same in both runs, and is found by its times (`early_bars`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, IndicatorError, Problem, StrategyError
from nbbacktest.core.intervals import DAY
from nbbacktest.core.lifecycle import Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.core.records import BarColumns, Float64, Int64
from nbbacktest.data.market import MarketData
from nbbacktest.data.sources import load
from nbbacktest.engine.timeline import Window
from nbbacktest.system.audit_report import AuditReport, Difference, Kind
from nbbacktest.system.builder import build, warmup_needs
from nbbacktest.system.early_bars import early_bars
from nbbacktest.system.origin import ConfigSource, StrategySource, copied, fresh_instance
from nbbacktest.system.runner import raise_interrupt
from nbbacktest.system.stages import Stages
from nbbacktest.trading.indicators import Indicator
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.strategy import Strategy

SEED = 7
TOLERANCE = 1e-9
"""Values this close, relative to each other, are equal: an algorithm may round differently on fewer bars."""

_ORDER = (
    "id", "strategy", "symbol", "side", "type", "size", "limit", "stop", "touch", "trail", "tif", "tag", "submitted",
    "status", "reason", "closed", "filled", "fill_price",
)  # fmt: skip
_OUTCOME = ("status", "reason", "closed", "filled", "fill_price")
_TIMES = ("submitted", "closed")
_CAUSES = ("bar", "indicator", "order", "fill")
_COLUMNS = ("time", "end", "open", "high", "low", "close", "volume")

_Row = dict[str, Any]


def audit_lookahead(
    data: Any,
    strategy: StrategySource | Sequence[StrategySource] | None,
    *,
    cuts: int = 12,
    seed: int = SEED,
    config: ConfigSource | None = None,
    **params: Any,
) -> AuditReport:
    """Find look-ahead in everything that a strategy uses.

    The strategy is run on the whole data, then on data that ends at some instants. Bars, indicators (all their values, not
    just those that were read), orders and fills up to each cut are compared. Beside that, the ends of all bars are held
    against their lengths, the exchange's hours and the bars that they are made of: one that is delivered before its last trade
    can be known is a look-ahead too.

    Parameters
    ----------
    data, config
        As for `backtest`; None for `data` or `strategy` takes the config's.
    strategy : Strategy class, instance, or list of them
        An instance is copied for each run, and stays as it is.
    cuts : int
        The number of instants to draw. Half are drawn evenly over the run, half over its logarithm, so that the first
        bars, where warm-up periods end, are probed too; one in each of as many equal parts. Half as many are taken
        where a look-ahead that acts at few bars pays: where orders were placed, at the last and first bars of days
        (weeks, months), around gaps, at the ends of coarser bars, and behind the first and before the last bar. Of all
        these, up to 300 are tried with each indicator alone, and if its values differ, the data is cut too.
    seed : int
        Of that draw: the same seed cuts at the same instants.
    **params
        Values for the strategy's parameters.

    Returns
    -------
    AuditReport
        It prints; `clear` is True if nothing was found, `first` is the earliest difference.

    Raises
    ------
    ConfigError, DataError
        The run can't be made, or has fewer than two instants to cut between.
    StrategyError, IndicatorError
        The strategy failed on the whole data.
    KeyboardInterrupt
        Ctrl-C ends the audit, wherever it is; nothing of it is left.

    Notes
    -----
    Only `data` is cut. Other data of a strategy (a variable of the notebook, a file) is the same in all runs, so
    that a look-ahead through it isn't seen. A strategy that draws random numbers without a seed differs by itself.
    """
    settings = SessionConfig.load(config if config is not None else {}).overlaid({"on_error": "stop"}, "audit")
    if isinstance(cuts, bool) or not isinstance(cuts, int) or cuts < 1:
        raise ConfigError(
            [Problem("cuts", cuts, "is how many instants to cut at; give a whole number above 0")], "audit"
        )
    market = load(settings, data, needs=warmup_needs(settings, strategy, params))
    originals: list[Any] = list(strategy) if isinstance(strategy, (list, tuple)) else [strategy]

    def staged(bars: MarketData) -> Stages:
        fresh = [fresh_instance(one) if isinstance(one, Strategy) else one for one in originals]
        given = None if strategy is None else fresh
        return build(settings, Lifecycle(), Monitor(), data=bars, strategies=given, params=copied(params))

    first = staged(market)
    _run_up_to(first, [], len(first.world.timeline))
    places = places_of(first, cuts, seed, _first_difference)
    whole = staged(market)
    states = _run_up_to(whole, places, len(whole.world.timeline))
    found: list[Difference] = []
    unfinished: list[tuple[Any, str]] = []
    for place in places:
        moment = int(whole.world.timeline.instants[place - 1])
        shown = market.stamps.stamp(moment)
        part = staged(_cut(market, moment))
        try:
            state = _run_up_to(part, [place], place)[place]
            found += _bars(whole, part, moment, shown)
            found += _indicators(whole, part, shown)
        except (StrategyError, IndicatorError) as error:
            unfinished.append((shown, str(error)))
            continue
        found += _orders(states[place], state, whole, shown)
        found += _fills(whole, part, place, shown)
    return AuditReport(
        strategies=whole.world.desk.descriptions,
        symbols=tuple(market.bars),
        instants=len(whole.world.timeline),
        cuts=tuple(market.stamps.stamp(int(whole.world.timeline.instants[place - 1])) for place in places),
        seed=seed,
        compared=(len(whole.world.desk.indicators), len(whole.world.desk.orders), len(whole.world.desk.fills)),
        differences=_earliest(found),
        unfinished=tuple(unfinished),
        early=early_bars(whole.world.timeline.series, market),
    )


# -- the runs -----------------------------------------------------------------------------------------------


def _cut(market: MarketData, moment: int) -> MarketData:
    others = {name: _kept(part, moment) for name, part in market.others.items()}
    return replace(market, bars=_kept(market.bars, moment), others=others)


def _kept(bars: dict[str, BarColumns], moment: int) -> dict[str, BarColumns]:
    return {symbol: c.slice(0, int(np.searchsorted(c.end, moment, side="right"))) for symbol, c in bars.items()}


def _run_up_to(stages: Stages, places: Sequence[int], stop: int) -> dict[int, list[_Row]]:
    """Run in this thread, for `stop` instants; the orders as they were after each of `places`.

    Raises
    ------
    StrategyError
        The strategy raised.
    """
    analysis, gate = stages.analysis, stages.gate
    seen: dict[int, list[_Row]] = {}
    try:
        if analysis.begin():
            for place in [*places, stop]:
                while not gate.closed and (start := analysis.frame.cursor) < place:
                    end = min(start + stages.quantum.length, place)
                    analysis.process(stages.processor.prepare(Window(start, end, gate.generation, None)))
                if not gate.closed and place in places:
                    seen[place] = [_row(order) for order in stages.world.desk.orders]
    finally:
        # The strategy's `on_stop` isn't compared: the runs end at different instants by intent.
        analysis.finish()
    if analysis.error is not None:
        raise_interrupt(analysis.error)
        raise analysis.error
    return seen


def _row(order: Order) -> _Row:
    return {name: getattr(order, f"{name}_ns" if name in _TIMES else name) for name in _ORDER}


# -- the comparisons ----------------------------------------------------------------------------------------


def _bars(whole: Stages, part: Stages, moment: int, shown: Any) -> Iterator[Difference]:
    """The first bar of each series up to the cut that differs once there are no bars after it."""
    others = {(one.symbol, one.interval): one.whole for one in part.world.timeline.series}
    for one in whole.world.timeline.series:
        if (one.symbol, one.interval) not in others:
            continue  # the symbol joins after the cut
        full, short = one.whole, others[one.symbol, one.interval]
        n, m = (int(np.searchsorted(columns.end, moment, side="right")) for columns in (full, short))
        both, name = min(n, m), f"{one.interval} of {one.symbol}"
        for column in _COLUMNS:
            ours, theirs = getattr(full, column)[:both], getattr(short, column)[:both]
            if not np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"):  # a missing volume is NaN in both
                row = int(np.flatnonzero((ours != theirs) & ~(np.isnan(ours) & np.isnan(theirs)))[0])
                one_value, other = ours[row].item(), theirs[row].item()
                yield _difference("bar", name, column, int(full.end[row]), one_value, other, whole, shown)
                break
        else:
            if n != m:
                at = int((full if n > m else short).end[both])
                in_full, in_short = ("delivered", None) if n > m else (None, "delivered")
                yield _difference("bar", name, None, at, in_full, in_short, whole, shown)


def _indicators(whole: Stages, part: Stages, shown: Any) -> Iterator[Difference]:
    """The first row of each indicator at which the runs differ, up to the cut."""
    for one, other in zip(part.world.desk.indicators, whole.world.desk.indicators, strict=False):
        if one.key != other.key:
            # From this indicator on, the strategy has made other ones, which can't be compared.
            moment = int(part.world.timeline.instants[part.world.desk.index])
            yield Difference("indicator", one.key, None, moment, shown, other.key, one.key, shown)
            return
        series = one.handle._series  # noqa: SLF001 - hidden from strategies only
        short = _values(one.handle)
        full = _values(other.handle)[: len(short)]
        row = _first_difference(full, short)
        if row is not None:
            moment = int(series.columns.end[row])
            stamp = series.stamps.begin(int(series.columns.time[row]))
            yield Difference("indicator", one.key, None, moment, stamp, _plain(full[row]), _plain(short[row]), shown)


def _values(handle: Indicator) -> Float64:
    values = np.asarray(handle[:], dtype=np.float64)
    return values if values.ndim == 2 else values[:, np.newaxis]


def _first_difference(full: Float64, short: Float64) -> int | None:
    if not len(short):
        return None
    if full.shape != short.shape:
        return 0
    finite = np.abs(full[np.isfinite(full)])
    # If large terms cancel to something near zero, the rounding is that of the large terms.
    near_zero = TOLERANCE * 1e-3 * float(finite.max()) if finite.size else 0.0
    rows = np.flatnonzero(~np.isclose(full, short, TOLERANCE, near_zero, equal_nan=True).all(axis=1))
    return int(rows[0]) if len(rows) else None


def _plain(value: Float64) -> Any:
    numbers = value.tolist()
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def _orders(full: list[_Row], short: list[_Row], whole: Stages, shown: Any) -> Iterator[Difference]:
    for one, other in zip_longest(full, short):
        known = one or other
        name = " ".join(
            str(known[part]) for part in ("id", "side", "size", "symbol", "type") if known[part] is not None
        )
        if one is None or other is None:
            at = int(known["submitted"])
            yield _difference("order", name, None, at, one and "placed", other and "placed", whole, shown)
            return
        for field in _ORDER:
            if not _equal(one[field], other[field]):
                ends = [row["closed"] for row in (one, other) if row["closed"]]
                at = int(min(ends, default=one["submitted"]) if field in _OUTCOME else one["submitted"])
                yield _difference("order", name, field, at, one[field], other[field], whole, shown)
                return


def _fills(whole: Stages, part: Stages, place: int, shown: Any) -> Iterator[Difference]:
    instants = whole.world.timeline.instants
    kept = [fill for fill in whole.world.desk.fills if fill.index < place]
    for one, other in zip_longest(kept, part.world.desk.fills):
        known = one or other
        at = int(instants[known.index])
        name = f"of order {known.order_id}, {known.side} {known.size:g} {known.symbol}"
        if one is None or other is None:
            yield _difference("fill", name, None, at, one and "filled", other and "filled", whole, shown)
            return
        for field in Fill.__struct_fields__:
            if not _equal(getattr(one, field), getattr(other, field)):
                yield _difference("fill", name, field, at, getattr(one, field), getattr(other, field), whole, shown)
                return


def _difference(
    kind: Kind, name: str, field: str | None, moment: int, full: Any, short: Any, whole: Stages, shown: Any
) -> Difference:
    return Difference(kind, name, field, moment, whole.world.market.stamps.stamp(moment), full, short, shown)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or math.isclose(one, other, rel_tol=TOLERANCE)
    return bool(one == other)


def _earliest(found: Sequence[Difference]) -> tuple[Difference, ...]:
    """The first difference of each series, each indicator, the orders and the fills, by time: causes before effects."""
    first: dict[tuple[str, str], Difference] = {}
    single = ("bar", "indicator")
    for one in sorted(found, key=lambda one: (one.moment, _CAUSES.index(one.kind))):
        first.setdefault((one.kind, one.name if one.kind in single else ""), one)
    return tuple(first.values())


PROBES = 300
"""The most times that an indicator is computed anew."""
PROBED_ROWS = 10_000_000
"""The most rows over which it is computed, all times together."""
LARGEST = 30
"""The number of the largest changes of a price, and of an indicator, that are looked at."""

Rows = npt.NDArray[np.intp]
Differs = Callable[[Float64, Float64], int | None]


def places_of(whole: Stages, cuts: int, seed: int, differs: Differs) -> list[int]:
    """The numbers of instants after which to cut, rising: every symbol has a bar by then, and data follows.

    Parameters
    ----------
    whole
        A run that has come to its end.
    cuts
        The number to draw; half as many are taken of the telling instants, and each at which `differs` finds other values
        of an indicator.

    Raises
    ------
    ConfigError
        There are fewer than two instants to cut between.
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
    """The places at which a look-ahead would pay most, by kind."""
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
    """The rows before the largest changes: a strategy that knows the next bar would act there."""
    size = np.nan_to_num(np.abs(changes), nan=0.0, posinf=0.0)
    rows = np.argsort(-size, kind="stable")[:LARGEST]
    return rows[size[rows] > 0]


def _in_turn(kinds: Sequence[Int64], rng: np.random.Generator) -> Iterator[int]:
    """One place of each kind in turn, in a drawn order; each place once."""
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
    """For each indicator over whole columns, the first of `places` at which it differs if the data ends there."""
    instants = whole.world.timeline.instants
    moments, found = instants[np.asarray(places) - 1], set()
    for entry in whole.world.desk.indicators:
        handle = entry.handle
        if (
            type(handle) is not Indicator
        ):  # a streaming indicator is given one bar after the other, and can't look ahead
            continue
        columns, values = handle.series.whole, handle[:]
        # The row that jumps, and the one before it.
        jumps = _largest(np.diff(values)) if len(values) > 1 else np.empty(0, np.intp)
        own = np.ravel(np.column_stack([jumps + 2, jumps + 1]))
        rows = [*own.tolist(), *np.searchsorted(columns.end, moments, side="right").tolist()]
        for n in _affordable(n for n in rows if 0 < n < len(columns)):
            place = int(np.searchsorted(instants, columns.end[n - 1], side="right"))
            short = _recomputed(handle, columns.slice(0, n))
            if low <= place <= high and short is not None and _differ(values[:n], short, differs):
                found.add(place)  # one place for each indicator is enough
                break
    return found


def _differ(full: Float64, short: Float64, differs: Differs) -> bool:
    """Call `differs`, which is ten times as slow, only if the values aren't equal bit for bit."""
    same = np.array_equal(full, short, equal_nan=True)
    return not same and differs(full[:, np.newaxis], short[:, np.newaxis]) is not None


def _affordable(rows: Iterable[int]) -> Iterator[int]:
    """Each number of rows once, as many as `PROBES` and `PROBED_ROWS` allow."""
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


def _recomputed(handle: Indicator, columns: BarColumns) -> Float64 | None:
    """The indicator's values over fewer bars; None if its function fails on so few."""
    try:
        with warnings.catch_warnings():
            # warnings of empty means and the like: the function gets the first bars too
            warnings.simplefilter("ignore")
            return handle.over(columns)
    except IndicatorError:
        return None
