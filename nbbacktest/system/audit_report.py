"""The report of a look-ahead audit, as text and as a table in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any, Literal, NamedTuple

from nbbacktest.core.formats import counted

Kind = Literal["bar", "indicator", "order", "fill"]


class Difference(NamedTuple):
    """One difference between the run on the whole data and a run on data that was cut short.

    Attributes
    ----------
    kind, name
        A bar by its series, an indicator by its name in snapshots, an order or a fill by its terms.
    field : str or None
        The field of an order or a fill; None if the whole is there in one run alone.
    moment : int
        The time at which it should have been settled, nanoseconds UTC: the bar's end, the order's submission or end, the fill.
    time : Timestamp
        The same for people; of an indicator the bar's stamp.
    whole, cut
        The values on the whole data and on the data cut short; None for a missing value.
    cut_at : Timestamp
        The instant after which the data was cut.
    """

    kind: Kind
    name: str
    field: str | None
    moment: int
    time: Any
    whole: Any
    cut: Any
    cut_at: Any

    def __str__(self) -> str:
        field = f", {self.field}" if self.field else ""
        return (
            f"{self.kind} {self.name}{field}, at {self.time}: {_written(self.whole)} on the whole data, "
            f"{_written(self.cut)} on data that ends at {self.cut_at}"
        )


class EarlyBars(NamedTuple):
    """Bars of one series that are delivered before their last trade can be known, or whose ends can't be right.

    Attributes
    ----------
    symbol, interval : str
    time : Timestamp
        The stamp of the first of them.
    told : Timestamp
        The time at which it is delivered.
    due : Timestamp
        The time at which it is over.
    bars, total : int
        The number of such bars, and of all bars.
    reason : str
        The reason why they can't be over before.
    """

    symbol: str
    interval: str
    time: Any
    told: Any
    due: Any
    bars: int
    total: int
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.interval} bars of {self.symbol} are told at the wrong time, {self.bars:,} of {self.total:,}; the one of "
            f"{self.time} at {self.told}, due at {self.due}: {self.reason}"
        )


@dataclass(frozen=True, slots=True, repr=False)
class AuditReport:
    """The findings of a look-ahead audit; prints as text, shows as a table in a notebook.

    Attributes
    ----------
    strategies, symbols : tuple of str
        The strategies that were run, and their symbols.
    instants : int
        Of the whole data.
    cuts : tuple of Timestamp
        The instants after which data was cut, rising.
    seed : int
        That they were drawn with.
    compared : tuple of int
        The numbers of indicators, orders and fills on the whole data.
    differences : tuple of Difference
        The first one of each series of bars, of each indicator, of the orders and of the fills, by time: causes come
        before what follows.
    unfinished : tuple
        Cuts at which the strategy raised on so little data, each with the reason: nothing could be compared there.
    early : tuple of EarlyBars
        Series whose bars are delivered before they are over.
    """

    strategies: tuple[str, ...]
    symbols: tuple[str, ...]
    instants: int
    cuts: tuple[Any, ...]
    seed: int
    compared: tuple[int, int, int]
    differences: tuple[Difference, ...]
    unfinished: tuple[tuple[Any, str], ...]
    early: tuple[EarlyBars, ...] = ()

    @property
    def clear(self) -> bool:
        """True if nothing looked ahead: no difference, no bar told early, and at least one cut that could be compared."""
        return not (self.differences or self.early) and len(self.unfinished) < len(self.cuts)

    @property
    def first(self) -> Difference | None:
        """The earliest difference; None if there is none."""
        return self.differences[0] if self.differences else None

    @property
    def verdict(self) -> str:
        """The outcome in a few words."""
        if self.differences:
            return "looks ahead"
        if self.early:
            return "bars are told before they are over"
        return "no look-ahead found" if self.clear else "nothing could be compared"

    def __repr__(self) -> str:
        lines = [f"Look-ahead audit: {self.verdict}", f"  {self._scope()}"]
        if self.first is not None:
            lines += [f"  first: {self.first}", *(f"  also: {one}" for one in self.differences[1:])]
            lines.append(f"  {_meaning(self.first)}")
        lines += [f"  bars: {one}" for one in self.early]
        lines += [f"  not compared at {moment}: {reason}" for moment, reason in self.unfinished]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        heading = f'<div style="font-size:1.2em;font-weight:600">Look-ahead audit: {escape(self.verdict)}</div>'
        parts = [heading, f'<div style="opacity:0.75">{escape(self._scope())}</div>']
        if self.first is not None:
            titles = ("what", "at", "on the whole data", "on data cut short", "that ends at")
            head = "".join(f'<th style="text-align:left">{title}</th>' for title in titles)
            rows = "".join(f"<tr>{''.join(map(_cell, _cells(one)))}</tr>" for one in self.differences)
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
            parts.append(f"<div>{escape(_meaning(self.first))}</div>")
        parts += [f"<div>{escape(str(one))}</div>" for one in self.early]
        parts += [f"<div>not compared at {escape(str(at))}: {escape(reason)}</div>" for at, reason in self.unfinished]
        return f'<div class="nbbt-audit">{"".join(parts)}</div>'

    def _scope(self) -> str:
        indicators, orders, fills = self.compared
        return (
            f"{', '.join(self.strategies)} on {', '.join(self.symbols)}: {self.instants:,} instants, data cut at "
            f"{counted(len(self.cuts), 'instant')} from {self.cuts[0]} to {self.cuts[-1]} (seed {self.seed}), "
            f"{counted(indicators, 'indicator')}, {counted(orders, 'order')} and {counted(fills, 'fill')} compared"
        )


def _meaning(first: Difference) -> str:
    if first.kind == "bar":
        return "The bar is made of bars that come after it: what makes or loads it is at fault, not the strategy."
    if first.kind == "indicator":
        return (
            "The value of a bar changes with bars that come after it: compute it from the bar and those before alone."
        )
    return (
        "The indicators up to there are the same: what the strategy did depends on later bars in some other way, or on "
        "something that differs from run to run, such as random numbers without a seed."
    )


def _cells(one: Difference) -> tuple[str, ...]:
    what = f"{one.kind} {one.name}" + (f", {one.field}" if one.field else "")
    return what, str(one.time), _written(one.whole), _written(one.cut), str(one.cut_at)


def _cell(text: str) -> str:
    return f'<td style="text-align:left">{escape(text)}</td>'


def _written(value: Any) -> str:
    if value is None:
        return "nothing"
    return f"{value:.10g}" if isinstance(value, float) else str(value)
