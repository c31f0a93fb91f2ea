"""Prints a finished run, and the quality of data, to a terminal.

The functions write to a rich console, which drops colours if the output is no terminal.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nbbacktest.core.formats import brief, counted, money, percent, printed, speed, timestamp
from nbbacktest.core.intervals import MINUTE
from nbbacktest.core.records import Float64
from nbbacktest.report.console import console as plain_console
from nbbacktest.report.table import GROUPS

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from nbbacktest.data.quality import QualityReport
    from nbbacktest.report.analysis import RunAnalysis

_BLOCKS = " ▁▂▃▄▅▆▇█"
_GAIN = ("return", "cagr", "expectancy", "best_trade", "worst_trade", "average_trade")
_WIDEST = 120
_TRADES = 5
_MOST_DIGITS = 1e15  # from this on, an amount at the chart's edge is written with an exponent
_REASONS = 5


def print_report(run: RunAnalysis, console: Console | None = None) -> None:
    """Print the report of a finished run.

    Parameters
    ----------
    run
        The run.
    console
        The console to print to; None: standard output, with plain text if that isn't a terminal.
    """
    console = console or plain_console()
    width = min(console.width, _WIDEST)
    for part in _parts(run, width, blocks=_shows_blocks(console)):
        # The parts are printed one by one: each keeps the width that it needs, and a closed pipe ends between two.
        console.print(part, width=width, highlight=False)


def _shows_blocks(console: Console) -> bool:
    """True if the console can write block characters; a pipe on Windows may not."""
    return console.encoding.lower().startswith("utf")


def _parts(run: RunAnalysis, width: int, *, blocks: bool) -> Iterator[RenderableType]:
    from rich.text import Text

    yield from _heading(run, width)
    if not len(run.equity_values):
        yield Text(
            "\nNo instant was completed, so there is nothing to measure: check the dates, the symbols and the "
            "warm-up against what the source holds.",
            style="yellow",
        )
        return
    yield Text()
    if blocks:
        yield from columns_chart(run.equity_values, width)
        yield Text()
    yield _statistics(run, width)
    yield Text()
    yield from _trades(run)
    yield from _warnings(run)
    yield from _facts(run.record.metrics)


def _heading(run: RunAnalysis, width: int) -> Iterator[RenderableType]:
    from rich.rule import Rule
    from rich.text import Text

    stats = run.stats
    yield Rule(Text(printed(run.record.name), style="bold"), align="left", style="dim")
    origin_style = "bold yellow" if run.record.synthetic else ""
    period = f"{timestamp(stats['start'])} to {timestamp(stats['end'])}" if stats["bars"] else "no bars"
    rows = {
        "Data": (run.origin, origin_style),
        "Symbols": (_shortened(run.symbols, width - 12), ""),
        "Period": (f"{period} ({run.record.stamps.timezone})", ""),
        "Strategies": ("\n".join(run.record.strategies) or "none", ""),
    }
    if run.by_hand:
        rows["By hand"] = (run.by_hand.removeprefix("with ").removesuffix(" by hand"), "bold")
    yield _pairs([(label, Text(printed(text), style=style)) for label, (text, style) in rows.items()])


def _pairs(rows: list[tuple[str, Any]]) -> RenderableType:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(label, value)
    return grid


def _shortened(names: tuple[str, ...], width: int) -> str:
    """The names that fit on a line, and the number of the others."""
    for count in range(len(names), 0, -1):
        rest = f" and {len(names) - count} more" if count < len(names) else ""
        text = ", ".join(names[:count]) + rest
        if len(text) <= width or count == 1:
            return text
    return "none"


def columns_chart(values: Float64 | Sequence[float], width: int, height: int = 4) -> Iterator[RenderableType]:
    """Equity as columns of block characters: each shows the last value of its share of the run."""
    from rich.text import Text

    equity = np.asarray(values, dtype=np.float64)
    finite = equity[np.isfinite(equity)]
    if not len(finite):
        return
    low, high = float(finite.min()), float(finite.max())
    equity = np.clip(np.nan_to_num(equity, nan=low), low, high)  # prices may be beyond what an account can hold
    scale = [f"{end:,.0f}" if abs(end) < _MOST_DIGITS else f"{end:.3g}" for end in (high, low)]
    labels = {height - 1: scale[0], height - 2: "Equity", 0: scale[1]}
    left = max(map(len, labels.values()))
    columns = max(min(len(equity), width - left - 3), 1)
    ends = (np.arange(1, columns + 1) * len(equity)) // columns - 1
    # Halves, since the whole span may be beyond a float.
    span = high / 2 - low / 2
    share = (equity[ends] / 2 - low / 2) / span if span > 0 else np.full(columns, 0.5)
    eighths = 1 + np.rint(share * (8 * height - 1))
    for row in range(height - 1, -1, -1):
        label = labels.get(row, "")
        cells = "".join(_BLOCKS[int(min(max(level - 8 * row, 0), 8))] for level in eighths)
        yield Text.assemble((f"{label:>{left}} │", "dim"), (cells.rstrip(), "blue"))


def _statistics(run: RunAnalysis, width: int) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    stats = run.stats
    written_rows = stats.groups
    sheets = []
    for heading, names in GROUPS.items():
        sheet = Table.grid(padding=(0, 2), expand=False)
        sheet.add_column(no_wrap=True)
        sheet.add_column(justify="right", no_wrap=True)
        sheet.add_row(Text(heading, style="bold"), "")
        for name, (label, text) in zip(names, written_rows[heading], strict=True):
            if name in ("start", "end"):
                continue  # the heading's period
            sheet.add_row(Text(label, style="dim"), Text(text, style=_colour(name, stats[name])))
        sheets.append(sheet)
    about, risk, trades = sheets
    page = Table.grid(padding=(0, 5))
    if width >= 110:
        page.add_row(risk, trades, about)
        return page
    page.add_row(risk, trades)
    rows = Table.grid()
    rows.add_row(page)
    rows.add_row("")
    rows.add_row(about)
    return rows


def _colour(name: str, value: Any) -> str:
    if name not in _GAIN or not value or math.isnan(value):
        return ""
    return "green" if value > 0 else "red"


def _trades(run: RunAnalysis) -> Iterator[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    trades = run.trades
    if trades.empty:
        yield Text(_why_no_trade(run), style="yellow")
        return
    still_open = int(trades["exit_time"].isna().sum())
    shown = trades.tail(_TRADES)
    heading = f"Last {len(shown)} of {len(trades):,} trades" if len(trades) > len(shown) else "Trades"
    grid = Table(
        title=Text(heading + (f" ({still_open} open, at the last close)" if still_open else ""), style="bold"),
        title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="dim", show_edge=False,
    )  # fmt: skip
    for column, justify in {
        "Symbol": "left", "Size": "right", "Entry": "left", "Exit": "left", "Net": "right", "Return": "right",
    }.items():  # fmt: skip
        grid.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row in shown.to_dict("records"):
        grid.add_row(
            Text(printed(row["symbol"])), brief(row["size"]), _moment(row["entry_time"], row["entry_price"]),
            _moment(row["exit_time"], row["exit_price"]),
            Text(money(row["pnl"]), style=_colour("expectancy", row["pnl"])),
            percent(row["return"]),
        )  # fmt: skip
    yield grid


def _moment(time: Any, price: float) -> str:
    if math.isnan(price):
        return "open"
    # The zone is in the heading already, and the year is in the period.
    return f"{time:%Y-%m-%d} {money(price)}" if time == time.normalize() else f"{time:%m-%d %H:%M} {money(price)}"


def _why_no_trade(run: RunAnalysis) -> str:
    orders = run.record.orders
    if not run.record.strategies:
        return "No trades: no strategy was run."
    if not orders:
        return (
            "No trades: the strategies placed no order. Check that their conditions can come true on these bars, "
            "and that their indicators have enough of them (warmup_days loads more)."
        )
    states = Counter(str(order.status) for order in orders)
    return (
        f"No trades: of {len(orders):,} orders " + ", ".join(f"{n:,} are {state}" for state, n in states.items()) + "."
    )


def _warnings(run: RunAnalysis) -> Iterator[RenderableType]:
    from rich.text import Text

    refused = Counter(
        (str(order.status), order.reason or "no reason given")
        for order in run.record.orders
        if str(order.status) in ("rejected", "expired")
    )
    if refused:
        yield Text()
    for (status, reason), count in refused.most_common(_REASONS):
        yield Text(f"! {counted(count, 'order')} {status}: {printed(reason)}", style="yellow")
    if len(refused) > _REASONS:
        rest = sum(count for _, count in refused.most_common()[_REASONS:])
        yield Text(f"! {rest:,} more for other reasons; see result.orders", style="yellow")
    if (run.equity_values <= 0).any():
        yield Text(
            "! Equity fell to zero or below; what came after is not a result that an account can have.", style="red"
        )
    error = run.record.metrics.get("error")
    if error:
        yield Text(f"! The run ended by an error: {printed(_first_line(error))}", style="red")


def _first_line(error: Any) -> str:
    text = str(error.get("message", error)) if isinstance(error, Mapping) else str(error)
    return text.strip().splitlines()[0] if text.strip() else "unknown"


def _facts(metrics: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Bars, speed and overruns of the run, as far as its status tells them."""
    from rich.text import Text

    performance = metrics.get("performance_metrics") or {}
    session = metrics.get("session") or {}
    streams = (metrics.get("subscriptions") or {}).values()
    count, seconds = performance.get("bars_processed"), performance.get("session_duration")
    facts = []
    if count is not None and seconds:
        facts.append(f"{count:,} bars in {seconds:,.2f} s ({count / seconds:,.0f} bars/s)")
    # One stream may wait for the clock and the other for data: the run then counts as clock-driven, or as live.
    modes = {str(stream["mode"]) for stream in streams if "mode" in stream}
    facts += [mode for mode in ("live", "clock-driven", "data-driven") if mode in modes][:1]
    asked, achieved = session.get("speed_multiplier"), session.get("achieved_speed")
    if asked:
        facts.append(f"speed {speed(asked)}")
        if achieved:
            facts.append(f"achieved {speed(achieved)}")
    overruns = sum(int(stream.get("overruns") or 0) for stream in streams)
    if overruns:
        facts.append(f"{counted(overruns, 'overrun')}")
    if facts:
        yield Text("\n" + ", ".join(facts), style="dim")


# -- the quality of data ------------------------------------------------------------------------------------

_COVERAGE = {
    "expected": "Expected", "present": "Present", "missing": "Missing", "gaps": "Gaps", "longest_gap": "Longest",
    "quality": "Quality",
}  # fmt: skip
_FAULTS = {
    "duplicates": "Double", "out_of_order": "Out of order", "not_finite": "No number", "bad_ohlc": "Bad OHLC",
    "bad_volume": "Bad volume", "bad_time": "Bad time", "zero_volume": "No volume", "outside": "Outside",
}  # fmt: skip
_GOOD, _FAIR = 99.0, 90.0  # percent: green from the first on, red below the second


def show_quality(
    report: QualityReport, console: Console | None = None, *, sessions: int | None = 5, gaps: int | None = 5
) -> None:
    """Print a report of data quality: totals, faults, worst sessions and longest gaps, as far as there are some.

    Parameters
    ----------
    console
        The console to print to; None: standard output.
    sessions, gaps
        The most of each to print; 0: none; None: all.
    """
    console = console or plain_console()
    console.print(coverage_table(report))
    drawn = (faults_table(report), sessions_table(report, sessions), gaps_table(report, gaps))
    for table in drawn:
        if table.row_count:
            console.print(table)


def coverage_table(report: QualityReport) -> Table:
    """Expected and present bars by symbol."""
    title = f"{report.interval} bars of {report.source}, against the sessions of {report.exchange}"
    totals = _totals(report)
    labels = {"sessions": "Sessions"} | _COVERAGE
    return _quality_table(title, ("Symbol",), labels, (((symbol,), row) for symbol, row in totals.items()))


def faults_table(report: QualityReport) -> Table:
    """The numbers of faulty bars by symbol and kind; kinds and symbols without any are left out."""
    totals = {symbol: row for symbol, row in _totals(report).items() if any(row[name] for name in _FAULTS)}
    labels = {name: label for name, label in _FAULTS.items() if any(row[name] for row in totals.values())}
    return _quality_table("Faults", ("Symbol",), labels, (((symbol,), row) for symbol, row in totals.items()))


def sessions_table(report: QualityReport, worst: int | None = None) -> Table:
    """The sessions of less than full quality, the worst first; `worst` at most, or all."""
    whole = report.to_dict()["symbols"]
    rows = [(symbol, row) for symbol, part in whole.items() for row in part["by_session"]]
    poor = sorted((pair for pair in rows if _quality_of(pair[1]) < 100), key=lambda pair: _quality_of(pair[1]))
    labels = {name: label for name, label in _COVERAGE.items() if name != "longest_gap"}
    title = f"{len(poor)} of {len(rows)} sessions are below 100%; the worst {_number_shown(len(poor), worst)}"
    cells = (((symbol, row["session"]), row) for symbol, row in poor[:worst])
    return _quality_table(title, ("Symbol", "Session"), labels, cells)


def gaps_table(report: QualityReport, longest: int | None = None) -> Table:
    """The runs of missing bars, the longest first; `longest` of them at most, or all."""
    gaps: Any = report.gaps.sort_values("count", ascending=False, kind="stable")
    clock = "" if report.interval.is_daily else "%H:%M" if report.interval.ns >= MINUTE else "%H:%M:%S"
    title = f"{_number_shown(len(gaps), longest)} of {len(gaps)} gaps, the longest first; times in {report.timezone}"
    labels = {"first": "First missing", "last": "Last missing", "count": "Bars"}
    cells = (
        (
            (gap.symbol, str(gap.session.date())),
            {
                "first": gap.first.strftime(clock) if clock else str(gap.first.date()),
                "last": gap.last.strftime(clock) if clock else str(gap.last.date()),
                "count": gap.n,
            },
        )
        for gap in gaps.head(_number_shown(len(gaps), longest)).rename(columns={"count": "n"}).itertuples()
    )
    return _quality_table(title, ("Symbol", "Session"), labels, cells)


def _totals(report: QualityReport) -> dict[str, Mapping[str, Any]]:
    return dict(report.to_dict()["symbols"])


def _quality_table(
    title: str,
    keys: Sequence[str],
    labels: Mapping[str, str],
    rows: Iterable[tuple[Sequence[str], Mapping[str, Any]]],
) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for key in keys:
        table.add_column(key)
    for label in labels.values():
        table.add_column(label, justify="right")
    for own, row in rows:
        table.add_row(*own, *(_quality_cell(name, row[name]) for name in labels))
    return table


def _quality_cell(name: str, value: Any) -> RenderableType:
    from rich.text import Text

    if name == "quality":
        if value is None or math.isnan(value):
            return "n/a"
        color = "green" if value >= _GOOD else "yellow" if value >= _FAIR else "red"
        return Text(f"{value:.2f}%", style=color)
    return value if isinstance(value, str) else f"{value:,}"


def _quality_of(row: Mapping[str, Any]) -> float:
    return 100.0 if row["quality"] is None else float(row["quality"])


def _number_shown(there: int, most: int | None) -> int:
    return there if most is None else min(there, most)
