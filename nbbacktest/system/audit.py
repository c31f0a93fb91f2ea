"""`audit_lookahead`: runs a strategy on the whole data, and again on data cut short, and compares what came before the cut.

What a strategy knows at an instant can't depend on bars after it. So bars, indicators, orders and fills up to a cut have
to be the same, whether or not there is data after the cut; where they differ, something looked ahead. A bar that is told
before it is over is the same in both, and is found by its times (`delivery`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import numpy as np

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, IndicatorError, Problem, StrategyError
from nbbacktest.core.lifecycle import Lifecycle
from nbbacktest.core.monitor import Monitor
from nbbacktest.core.records import BarColumns, Float64
from nbbacktest.data.market import MarketData
from nbbacktest.data.sources import load
from nbbacktest.engine.planner import Window
from nbbacktest.system.builder import StrategySource, build, warmup_needs
from nbbacktest.system.cuts import places_of
from nbbacktest.system.delivery import early_bars
from nbbacktest.system.findings import AuditReport, Difference, Kind
from nbbacktest.system.instances import copied, twin
from nbbacktest.system.interrupted import raise_interrupt
from nbbacktest.system.origin import ConfigSource
from nbbacktest.system.run import Stages
from nbbacktest.trading.indicators import Indicator
from nbbacktest.trading.orders import Fill, Order
from nbbacktest.trading.strategy import Strategy

SEED = 7
TOLERANCE = 1e-9
"""Values this close, relative to each other, are equal: an algorithm may round differently on fewer bars."""

_ORDER = (
    "id", "strategy", "symbol", "side", "type", "size", "limit", "stop", "trail", "tif", "tag", "submitted",
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
    """Find out whether anything that a strategy uses looks ahead.

    The strategy is run on the whole data, then on data that ends at some instants. Bars, indicators (all their values, not
    just those that were read), orders and fills up to each cut are compared. Beside that, the ends of all bars are held
    against their lengths, the exchange's hours and the bars that they are made of: one that is told before its last trade
    can be known is a look-ahead too.

    Parameters
    ----------
    data, config
        As for `backtest`; None for `data` or `strategy` takes the config's.
    strategy : Strategy class, instance, or list of them
        An instance is copied for each run, and stays as it is.
    cuts : int
        How many instants to draw. Half are drawn evenly over the run, half over its logarithm, so that the first
        bars, where warm-up periods end, are probed too; one in each of as many equal parts. Half as many are taken
        where a look-ahead that acts at few bars pays: where orders were placed, at the last and first bars of days
        (weeks, months), around gaps, at the ends of coarser bars, and behind the first and before the last bar. Of all
        these, up to 300 are tried with each indicator alone, and where its values differ, the data is cut too.
    seed : int
        Of that draw: the same seed cuts at the same instants.
    **params
        Values for the strategy's parameters.

    Returns
    -------
    AuditReport
        It prints; `clear` says whether nothing was found, `first` is the earliest difference.

    Raises
    ------
    ConfigError, DataError
        Where the run can't be made, or has fewer than two instants to cut between.
    StrategyError, IndicatorError
        The strategy failed on the whole data.
    KeyboardInterrupt
        Ctrl-C ends the audit, wherever it is; nothing of it is left.

    Notes
    -----
    Only `data` is cut. What a strategy reads elsewhere (a variable of the notebook, a file) is the same in all runs, so
    that a look-ahead through it isn't seen. A strategy that draws random numbers without a seed differs by itself.
    """
    settings = SessionConfig.load(config if config is not None else {}).overlaid({"on_error": "stop"}, "audit")
    if isinstance(cuts, bool) or not isinstance(cuts, int) or cuts < 1:
        raise ConfigError(
            [Problem("cuts", cuts, "is how many instants to cut at; give a whole number above 0")], "audit"
        )
    market = load(settings, data, needs=warmup_needs(settings, strategy, params))
    players: list[Any] = list(strategy) if isinstance(strategy, (list, tuple)) else [strategy]

    def staged(bars: MarketData) -> Stages:
        fresh = [twin(one) if isinstance(one, Strategy) else one for one in players]
        given = None if strategy is None else fresh
        return build(settings, Lifecycle(), Monitor(), data=bars, strategies=given, params=copied(params))

    first = staged(market)
    _played(first, [], len(first.timeline))
    places = places_of(first, cuts, seed, _first_difference)
    whole = staged(market)
    states = _played(whole, places, len(whole.timeline))
    found: list[Difference] = []
    unfinished: list[tuple[Any, str]] = []
    for place in places:
        moment = int(whole.timeline.instants[place - 1])
        shown = market.stamps.stamp(moment)
        part = staged(_cut(market, moment))
        try:
            state = _played(part, [place], place)[place]
            found += _bars(whole, part, moment, shown)
            found += _indicators(whole, part, shown)
        except (StrategyError, IndicatorError) as error:
            unfinished.append((shown, str(error)))
            continue
        found += _orders(states[place], state, whole, shown)
        found += _fills(whole, part, place, shown)
    return AuditReport(
        strategies=whole.desk.descriptions,
        symbols=tuple(market.bars),
        instants=len(whole.timeline),
        cuts=tuple(market.stamps.stamp(int(whole.timeline.instants[place - 1])) for place in places),
        seed=seed,
        compared=(len(whole.desk.indicators), len(whole.desk.orders), len(whole.desk.fills)),
        differences=_earliest(found),
        unfinished=tuple(unfinished),
        early=early_bars(whole.timeline.series, market),
    )


# -- the runs -----------------------------------------------------------------------------------------------


def _cut(market: MarketData, moment: int) -> MarketData:
    others = {name: _kept(part, moment) for name, part in market.others.items()}
    return replace(market, bars=_kept(market.bars, moment), others=others)


def _kept(bars: dict[str, BarColumns], moment: int) -> dict[str, BarColumns]:
    return {symbol: c.slice(0, int(np.searchsorted(c.end, moment, side="right"))) for symbol, c in bars.items()}


def _played(stages: Stages, places: Sequence[int], stop: int) -> dict[int, list[_Row]]:
    """Run in this thread, for `stop` instants; the orders as they were after each of `places`.

    Raises
    ------
    StrategyError
        Where the strategy raised.
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
                    seen[place] = [_row(order) for order in stages.desk.orders]
    finally:
        # What a strategy does at the end of its data isn't compared: there the runs differ by intent.
        analysis.finish()
    if analysis.error is not None:
        raise_interrupt(analysis.error)
        raise analysis.error
    return seen


def _row(order: Order) -> _Row:
    return {name: getattr(order, f"{name}_ns" if name in _TIMES else name) for name in _ORDER}


# -- the comparisons ----------------------------------------------------------------------------------------


def _bars(whole: Stages, part: Stages, moment: int, shown: Any) -> Iterator[Difference]:
    """The first bar of each series, up to the cut, that is another one where there are no bars behind it."""
    others = {(one.symbol, one.interval): one.whole for one in part.timeline.series}
    for one in whole.timeline.series:
        if (one.symbol, one.interval) not in others:
            continue  # it joins after the cut
        full, short = one.whole, others[one.symbol, one.interval]
        n, m = (int(np.searchsorted(columns.end, moment, side="right")) for columns in (full, short))
        both, name = min(n, m), f"{one.interval} of {one.symbol}"
        for column in _COLUMNS:
            ours, theirs = getattr(full, column)[:both], getattr(short, column)[:both]
            if not np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"):  # no volume is NaN in both
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
    for one, other in zip(part.desk.indicators, whole.desk.indicators, strict=False):
        if one.key != other.key:
            # From here on the strategy made other indicators: there is nothing to compare them with.
            moment = int(part.timeline.instants[part.desk.index])
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
    # Where large terms cancel to something near zero, rounding is as large as they make it.
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
    instants = whole.timeline.instants
    kept = [fill for fill in whole.desk.fills if fill.index < place]
    for one, other in zip_longest(kept, part.desk.fills):
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
    return Difference(kind, name, field, moment, whole.market.stamps.stamp(moment), full, short, shown)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or math.isclose(one, other, rel_tol=TOLERANCE)
    return bool(one == other)


def _earliest(found: Sequence[Difference]) -> tuple[Difference, ...]:
    """Of each series, each indicator, of orders and of fills the first difference, by time: causes before what follows from them."""
    first: dict[tuple[str, str], Difference] = {}
    single = ("bar", "indicator")
    for one in sorted(found, key=lambda one: (one.moment, _CAUSES.index(one.kind))):
        first.setdefault((one.kind, one.name if one.kind in single else ""), one)
    return tuple(first.values())
