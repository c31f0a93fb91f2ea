"""Compares two runs by what happened in them: finds the first fill, order, cash flow or logged line of which only one of them has the like.

Order ids don't count, nor reasons that name one: one order more shifts all later ids. Pure functions of two records.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nbbacktest.core.enums import InputKind, OrderEventKind
from nbbacktest.core.formats import number
from nbbacktest.core.inputs import Fork, Input
from nbbacktest.trading.orders import Fill, Order, OrderEvent
from nbbacktest.trading.record import CashFlow, RunRecord

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("flow", "fill", "order", "log")
"""The kinds of what is compared, in the order in which they happen at one instant."""
_FILLED = (OrderEventKind.FILLED, OrderEventKind.PARTIALLY_FILLED)
_IDS = re.compile(r"\border \d+")


@dataclass(frozen=True, slots=True, eq=False)
class ComparedRun:
    """One of two compared runs.

    Attributes
    ----------
    name : str
        As texts call it.
    record : RunRecord
        As far as the run has come.
    is_over : bool
        True if it has ended.
    fork : Fork or None
        The place at which it was forked off another run.
    """

    name: str
    record: RunRecord
    is_over: bool = True
    fork: Fork | None = None

    @property
    def called(self) -> str:
        """The run with its article, in a sentence."""
        return f"the {self.name} run" if self.name in ("left", "right") else f"the {self.name}"

    @property
    def end(self) -> int:
        """The last completed instant, nanoseconds UTC; 0 before the first."""
        instants = self.record.instants
        return int(instants[-1]) if len(instants) else 0


class Parting(NamedTuple):
    """The first thing in which two runs differ.

    Attributes
    ----------
    time : Timestamp
        The instant.
    kind : str
        ``"fill"``, ``"order"``, ``"flow"`` or ``"log"``.
    left, right : str or None
        The event of that time in either run, in words; None if that run has none like it.
    """

    time: pd.Timestamp
    kind: str
    left: str | None
    right: str | None


class Happening(NamedTuple):
    """One thing that happened in a run: the instant, what is compared, whose it is, and the words for it."""

    instant: int
    key: tuple[Any, ...]
    whose: tuple[Any, ...]
    words: str
    details: str


def happenings(run: ComparedRun) -> dict[str, list[Happening]]:
    """By kind all that happened in a run, by time."""
    record = run.record
    several = len({order.strategy for order in record.orders}) > 1
    orders = [
        _of_event(order, event, several=several)
        for order in record.orders
        for event in order.events
        if event.kind not in _FILLED
    ]
    said = _said_by_inputs(record)
    lines = [
        Happening(at, (name, text), (name,), f"{name} logged {text!r}", "")
        for at, name, text in record.log
        if (at, name, text) not in said
    ]
    return {
        "flow": [_of_flow(flow) for flow in record.flows],
        "fill": [_of_fill(record, fill, several=several) for fill in record.fills],
        "order": sorted(orders, key=lambda one: one.instant),
        "log": lines,
    }


def _of_fill(record: RunRecord, fill: Fill, *, several: bool) -> Happening:
    key = (fill.strategy, fill.symbol, fill.side, fill.size, fill.price, fill.commission, fill.tag, fill.phase)
    words = f"{str(fill.side).upper()} {number(fill.size)} {fill.symbol} at {number(fill.price)}"
    by = f" by {fill.strategy}" if several else ""
    details = f", commission {number(fill.commission)}" + _tag(fill.tag)
    return Happening(int(record.instants[fill.index]), key, key[:3], words + by, details)


def _of_event(order: Order, event: OrderEvent, *, several: bool) -> Happening:
    reason = None if event.reason is None else _IDS.sub("another order", event.reason)
    whose = (order.strategy, order.symbol, order.side)
    key = (*whose, order.type, order.tag, event.kind, reason, event.terms)
    size = "all" if event.terms.size is None else number(event.terms.size)
    levels = {name: f"{name} {number(level)}" for name, level in event.terms._asdict().items() if level is not None}
    levels.pop("size", None)
    kind = str(order.type).replace("_", " ")
    kind = ", ".join([*([] if kind in levels else [kind]), *levels.values()])
    by = f" of {order.strategy}" if several else ""
    words = f"order to {order.side} {size} {order.symbol} ({kind}){by} {event.kind}"
    return Happening(event.time_ns, key, whose, words + (f": {reason}" if reason else ""), _tag(order.tag))


def _tag(tag: str | None) -> str:
    return "" if tag is None else f", tag {tag!r}"


def _of_flow(flow: CashFlow) -> Happening:
    of = "" if flow.symbol is None else f" of {flow.symbol}"
    whose = (flow.kind, flow.symbol, flow.strategy)
    return Happening(flow.time, (*whose, flow.amount), whose, f"{flow.kind}{of} {flow.amount:+,.2f}", "")


def _said_by_inputs(record: RunRecord) -> set[tuple[int, str, str]]:
    """The lines that tell of parameters and costs that were changed by hand, those of `on_change` included: no difference of what followed."""
    cursors = {one.place.cursor for one in record.inputs if one.what in (InputKind.CHANGE, InputKind.COSTS)}
    opens = record.notes.opens if record.notes is not None else 0
    moments = {int(record.instants[cursor - 1]) if 0 < cursor <= len(record.instants) else opens for cursor in cursors}
    found: set[tuple[int, str, str]] = set()
    changed: set[tuple[int, str]] = set()
    for at, name, text in record.log if moments else ():
        if at in moments and " by hand" in text:
            changed.add((at, name))
        if (at, name) in changed:
            found.add((at, name, text))
    return found


def told_by_hand(run: ComparedRun) -> list[str]:
    """The lines of the log about changes by hand that may not have reached all of a strategy."""
    return [text.partition("by hand; ")[2] for _, _, text in sorted(_said_by_inputs(run.record)) if "by hand; " in text]


# -- the comparison -------------------------------------------------------------------------------------------


class FoundDifference(NamedTuple):
    """The first difference, its instant, and by kind the numbers of what both runs have, only the left one, and only the right one."""

    parting: Parting | None
    instant: int
    counts: Mapping[str, tuple[int, int, int]]


def compare(left: ComparedRun, right: ComparedRun) -> FoundDifference:
    """Compare two runs up to the last instant that both have completed."""
    until = min(left.end, right.end)
    ours, theirs = happenings(left), happenings(right)
    found: list[tuple[int, int, Happening | None, Happening | None]] = []
    counts = {}
    for rank, kind in enumerate(KINDS):
        a, b = (_until(parts[kind], until) for parts in (ours, theirs))
        counts[kind] = _counts(a, b)
        pair = _first(a, b)
        if pair is not None and not _is_still_to_come(pair, until, left, right):
            found.append((min(one.instant for one in pair if one is not None), rank, *pair))
    if not found:
        return FoundDifference(None, 0, counts)
    instant, rank, one, other = min(found, key=lambda row: row[:2])
    words = [None if part is None else part.words for part in (one, other)]
    if one is not None and other is not None and words[0] == words[1]:
        words = [one.words + one.details, other.words + other.details]
    time = left.record.stamps.instant(instant)
    return FoundDifference(Parting(time, KINDS[rank], words[0], words[1]), instant, counts)


def _until(parts: Sequence[Happening], until: int) -> list[Happening]:
    return [one for one in parts if one.instant <= until]


def _counts(left: Iterable[Happening], right: Iterable[Happening]) -> tuple[int, int, int]:
    ours, theirs = (Counter((one.instant, one.key) for one in parts) for parts in (left, right))
    same = (ours & theirs).total()
    return same, ours.total() - same, theirs.total() - same


def _first(left: Sequence[Happening], right: Sequence[Happening]) -> tuple[Happening | None, Happening | None] | None:
    """The first pair that differs; None in place of one that the other run has alone."""
    for row, (one, other) in enumerate(zip(left, right, strict=False)):
        if (one.instant, one.key) != (other.instant, other.key):
            return _pair(left[row:], right[row:])
    if len(left) == len(right):
        return None
    both = min(len(left), len(right))
    return (left[both], None) if len(left) > both else (None, right[both])


def _pair(left: Sequence[Happening], right: Sequence[Happening]) -> tuple[Happening | None, Happening | None]:
    one, other = left[0], right[0]
    if one.instant != other.instant:
        return (one, None) if one.instant < other.instant else (None, other)
    if any(one.key == later.key for later in _same_instant(right)):
        return None, other
    if any(other.key == later.key for later in _same_instant(left)):
        return one, None
    return one, other


def _same_instant(parts: Sequence[Happening]) -> Iterator[Happening]:
    for one in parts:
        if one.instant != parts[0].instant:
            return
        yield one


def _is_still_to_come(
    pair: tuple[Happening | None, Happening | None], until: int, left: ComparedRun, right: ComparedRun
) -> bool:
    """True if what only one run has happened at the other's last instant, and may follow there.

    A session's start has the time of the instant before it, and so has what happens in `on_stop`.
    """
    if (left.end, left.is_over) == (right.end, right.is_over) or None not in pair:
        return False
    lacks = left if pair[0] is None else right
    return all(one is None or one.instant == until for one in pair) and lacks.end == until


# -- why ------------------------------------------------------------------------------------------------------


def causes(left: ComparedRun, right: ComparedRun) -> list[str]:
    """The differences of two runs' origins and inputs, in words."""
    forks = [run for run in (left, right) if run.fork is not None]
    found = [_forked(run) for run in forks]
    if not any(run.fork.changes for run in forks if run.fork is not None):
        others = _other_inputs(left, right)
        found = [", and ".join([*found, *others])] if found or others else []
    if left.record.strategies != right.record.strategies and not any(run.fork for run in (left, right)):
        names = [" and ".join(run.record.strategies) for run in (left, right)]
        found.append(f"{names[0]} against {names[1]}")
    found += [
        f"{path} is {was!r} and {now!r}"
        for path, was, now in _unlike("", left.record.config, right.record.config)
        if not path.startswith(("session_name", "strategies", "journal", "metadata", "backtest.speed_multiplier"))
    ]
    return found


def _forked(run: ComparedRun) -> str:
    fork = run.fork
    if fork is None:
        return ""
    where = "before the first bar" if fork.time is None else f"at {_short(fork.time)}"
    if not fork.changes:
        return f"forked {where}"
    return f"forked {where} with {fork.changes}" + (" from the start of the run on" if fork.is_whole else "")


def _other_inputs(left: ComparedRun, right: ComparedRun) -> list[str]:
    for one, other in zip(left.record.inputs, right.record.inputs, strict=False):
        if _done(one) != _done(other):
            return [f"{_input_words(one)} by hand in {left.called}, and {_input_words(other)} in {right.called}"]
    both = min(len(left.record.inputs), len(right.record.inputs))
    return [
        f"{_input_words(run.record.inputs[both])} by hand only in {run.called}"
        for run in (left, right)
        if len(run.record.inputs) > both
    ]


def _done(one: Input) -> tuple[Any, ...]:
    return one.place.cursor, one.what, one.strategy, dict(one.arguments)


def _input_words(one: Input) -> str:
    terms = ", ".join(f"{name}={value!r}" for name, value in one.arguments.items())
    return f"{one.what}({terms}) at {_short(one.time) if one.time is not None else 'the start'}"


def _unlike(path: str, left: Any, right: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for name in [*left, *(name for name in right if name not in left)]:
            yield from _unlike(f"{path}.{name}".lstrip("."), left.get(name), right.get(name))
    elif left != right:
        yield path, left, right


def other_bars(left: ComparedRun, right: ComparedRun) -> list[str]:
    """The reasons why two runs can be compared only in part: other symbols, other bars, other instants."""
    notes = []
    ours, theirs = left.record.bars, right.record.bars
    for run, own, others in ((left, ours, theirs), (right, theirs, ours)):
        alone = [symbol for symbol in own if symbol not in others]
        if alone:
            notes.append(f"only {run.called} has {', '.join(alone)}")
    until = min(left.end, right.end)
    counts = [int(np.searchsorted(run.record.instants, until, side="right")) for run in (left, right)]
    instants = [run.record.instants[:count] for run, count in zip((left, right), counts, strict=True)]
    if not np.array_equal(instants[0], instants[1]):
        notes.append(f"{left.called} has {counts[0]:,} instants up to there, and {right.called} {counts[1]:,}")
    unlike = [symbol for symbol in ours if symbol in theirs and not _are_alike(ours[symbol], theirs[symbol], until)]
    if unlike:
        notes.append(f"the bars of {', '.join(unlike)} aren't the same")
    return notes


def _are_alike(one: Any, other: Any, until: int) -> bool:
    rows = [slice(0, int(np.searchsorted(columns.end, until, side="right"))) for columns in (one, other)]
    count = min(part.stop for part in rows)  # warm-up may reach further back in one of them
    return all(
        np.array_equal(getattr(one, name)[: rows[0].stop][-count:], getattr(other, name)[: rows[1].stop][-count:])
        for name in ("end", "open", "high", "low", "close")
        if count
    )


def _short(time: pd.Timestamp) -> str:
    return (
        f"{time:%Y-%m-%d}"
        if time == time.normalize()
        else f"{time:%Y-%m-%d %H:%M}"
        if not time.second
        else f"{time:%Y-%m-%d %H:%M:%S}"
    )
