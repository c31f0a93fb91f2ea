"""The result of a finished run for users: numbers, frames, figure, text, HTML, JSON and file.

A `Result` gives out the values that its `RunAnalysis` computes. Modules that few runs need are imported when they are needed.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from nbbacktest.core.formats import money
from nbbacktest.core.records import Float64
from nbbacktest.report.analysis import RunAnalysis
from nbbacktest.report.table import Stats, written
from nbbacktest.trading.record import RunRecord
from nbbacktest.trading.trades import Trades

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from nbbacktest.report.benchmark import BenchmarkSource, Comparison
    from nbbacktest.report.explain import Explanation
    from nbbacktest.trading.places import Place
    from nbbacktest.trading.snapshot import Snapshot


class Result:
    """The result of a backtest. It can't be changed: frames and mappings are copies, and yours to change.

    Attributes
    ----------
    name, source : str
        The session's name, and the source of its bars.
    synthetic : bool
        True if the bars were invented.
    strategies : tuple of str
        The strategies that ran, as ``Name(param=value, ...)``.

    Examples
    --------
    A result is what `nbbacktest.backtest` returns::

        result = nb.backtest(frame, MyStrategy)
        result.stats["sharpe"]
        result.save("run.nbbt")
        nb.Result.load("run.nbbt").fingerprint == result.fingerprint
    """

    analysis: RunAnalysis

    def __init__(self, record: RunRecord) -> None:
        self.__dict__["analysis"] = RunAnalysis(record)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a Result can't be changed; {name!r} can't be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Result can't be changed; {name!r} can't be deleted")

    @property
    def record(self) -> RunRecord:
        """The run as plain data."""
        return self.analysis.record

    @property
    def name(self) -> str:
        """The session's name."""
        return self.record.name

    @property
    def source(self) -> str:
        """The source of the bars."""
        return self.record.source

    @property
    def synthetic(self) -> bool:
        """True if the bars were invented."""
        return self.record.synthetic

    @property
    def strategies(self) -> tuple[str, ...]:
        """The strategies that ran, as ``Name(param=value, ...)``."""
        return self.record.strategies

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that were run, in the session's order."""
        return self.analysis.symbols

    @property
    def stats(self) -> Stats:
        """Statistics by name, as fractions; prints as a table. `nbbacktest.trading.stats` defines each."""
        return self.analysis.stats

    @property
    def equity_values(self) -> Float64:
        """Equity as a read-only float64 array, one value an instant, in the account's currency."""
        return self.analysis.equity_values

    @property
    def round_trips(self) -> Trades:
        """The trades as records, in the order of `trades`."""
        return self.analysis.round_trips

    @property
    def equity(self) -> pd.Series[float]:
        """Equity, one value an instant, in the account's currency, net of all costs.

        The index holds the times at which the instants' bars closed, or the session's dates of a daily run.
        """
        return self.analysis.equity.copy()

    @property
    def fills(self) -> pd.DataFrame:
        """Executions, in order.

        Columns: `time` (the stamp of the bar it happened in), `symbol`, `side` (buy/sell), `size` (positive), `price`,
        `commission`, `order_id`, `tag`, `strategy`.
        """
        return self.analysis.fills.copy()

    @property
    def orders(self) -> pd.DataFrame:
        """Orders, in order of submission, with `status` and, if rejected or cancelled, the `reason`."""
        return self.analysis.orders.copy()

    @property
    def order_events(self) -> pd.DataFrame:
        """The life of each order: submitted, accepted, triggered, filled and so on, each with its instant and reason."""
        return self.analysis.order_events.copy()

    @property
    def trades(self) -> pd.DataFrame:
        """Round trips, FIFO by strategy and symbol: closed ones by exit, then the open ones.

        Columns: `symbol`, `size` (signed), `entry_time`, `exit_time`, `entry_price`, `exit_price`, `pnl` (net), `return`
        (of the entry's notional), `commission`, `tag`, `strategy`, `mae` and `mfe` (how far it went against and in
        favour of its holder, of the entry's price; `nbbacktest.trading.excursions` says what counts), `mae_value` and
        `mfe_value` (in the account's currency). A trade that is still open has no exit; its `pnl` and `return` are at the last
        close, and it counts in no trade statistic. All `pnl` and all `flows` together are the run's whole change of
        equity.
        """
        return self.analysis.trades.copy()

    @property
    def by_symbol(self) -> pd.DataFrame:
        """Trade statistics by symbol, in the session's order; `nbbacktest.trading.stats` defines the columns."""
        return self.analysis.by_symbol.copy()

    @property
    def by_strategy(self) -> pd.DataFrame:
        """Trade statistics by strategy, those that placed an order; columns as of `by_symbol`."""
        return self.analysis.by_strategy.copy()

    @property
    def monthly(self) -> pd.DataFrame:
        """Net returns as fractions, a row a year: columns Jan to Dec and Year. NaN for a month without a day."""
        return self.analysis.monthly.copy()

    def rolling(self, days: int = 63) -> pd.DataFrame:
        """Statistics of the last `days` daily returns, a row a date: `return`, `volatility`, `sharpe`, `drawdown`.

        NaN until there are as many days; `nbbacktest.trading.returns` defines each.

        Raises
        ------
        DataError
            For a window that isn't a whole number of at least two days.
        """
        return self.analysis.rolling(days)

    def against(self, benchmark: BenchmarkSource) -> Comparison:
        """Alpha, beta, information ratio, tracking error and correlation: a mapping that prints as a table.

        `nbbacktest.trading.returns` defines each. Daily returns are taken between the dates that both have; if
        the benchmark has no price in the ten days before the run's first one, that day is the level to start from.

        Parameters
        ----------
        benchmark : str, Series or DataFrame
            A symbol of the run, prices by date or time, or a frame with a column ``close``.

        Raises
        ------
        DataError
            For a benchmark that can't be lined up with the run.
        """
        return self.analysis.against(benchmark)

    @property
    def flows(self) -> pd.DataFrame:
        """Cash that came or went without a fill: `time`, `kind` (dividend, borrow, interest), `symbol`, `strategy`, `amount`.

        `time` is the instant; `amount` is negative if it was paid; interest belongs to no symbol or strategy.
        """
        return self.analysis.flows.copy()

    @property
    def log(self) -> pd.DataFrame:
        """The strategies' messages: `time` (the instant), `strategy`, `message`."""
        return self.analysis.log.copy()

    @property
    def metrics(self) -> dict[str, Any]:
        """The JSON status at the end of the run."""
        return copy.deepcopy(self.record.metrics)

    @property
    def config(self) -> dict[str, Any]:
        """The session config that was run."""
        return copy.deepcopy(self.record.config)

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 over fills, equity and inputs by hand: equal for equal results, however often the run was paused or rewound."""
        return self.analysis.fingerprint

    @property
    def inputs(self) -> pd.DataFrame:
        """The inputs by hand: `cursor`, `time` (the instant), `what`, `strategy`, `arguments`, `by`; a row an input."""
        return self.analysis.inputs.copy()

    @property
    def recipe(self) -> str:
        """Hex SHA-256 over all that decides the result: config, bars, the strategies' code and parameters, inputs by hand.

        Runs of equal recipes have equal fingerprints, with the same versions of the packages that compute them.
        """
        return self.analysis.recipe

    def to_json(self) -> str:
        """The result as a JSON document: statistics, daily equity, trades, fills, orders, log, metrics, config.

        Times are ISO 8601, durations seconds, fractions not percent; undefined values are null.
        """
        from nbbacktest.report.document import document

        return document(self.analysis)

    def save(self, path: str | Path) -> Path:
        """Write the result to one file, bars included; `load` gives it back whole.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        DataNotFoundError
            If the folder doesn't exist.
        OSError
            If the file can't be written; a file that was there before stays as it was.
        """
        from nbbacktest.report.storage import save_record

        save_record(self.record, Path(path))
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read a saved result.

        Raises
        ------
        DataNotFoundError
            If there is no such file.
        DataError
            If it isn't a saved result, is damaged, or was saved by a newer version.
        """
        from nbbacktest.report.storage import load_record

        return cls(load_record(Path(path)))

    def plot(self, symbol: str | None = None, benchmark: BenchmarkSource | None = None) -> go.Figure:
        """Prices with fills and orders' levels, equity, drawdown, trades and months, without closed hours.

        However long the run was, a bounded number of points is drawn: joined candles, curves by their highs and lows,
        the newest orders' levels.

        Parameters
        ----------
        symbol
            The symbol whose prices are drawn; None shows the first symbol's, with a menu of all.
        benchmark
            The benchmark to draw beside the equity, as `against` takes it.

        Raises
        ------
        DataError
            For a symbol that wasn't run, and for a benchmark that can't be lined up with the run.
        """
        from nbbacktest.report.figure import draw

        return draw(self.analysis, symbol, benchmark)

    def explain(self, time: Any, symbol: str | None = None) -> Explanation:
        """Explain one bar: the orders that filled or missed, by how much and why; the account; the indicators.

        It prints as text and shows as tables; ``.orders`` is a DataFrame.

        Parameters
        ----------
        time
            A bar's stamp or any time inside it, or the instant at which bars closed; of a daily run, its date. A naive
            one is in the exchange's time zone.
        symbol
            The only symbol to explain; None: all.

        Raises
        ------
        DataError
            For an unknown symbol, a value that is no time, and a time without a bar.
        """
        from nbbacktest.report.explain import explain

        return explain(self.analysis, time, symbol)

    def look(self, at: Place) -> Snapshot:
        """The run as it was at a place of its past: bars, indicators, positions, open orders, cash and equity, frozen.

        Parameters
        ----------
        at : int, str, datetime or Timestamp
            A cursor, which is a number of completed instants, from 0 on. Or a time: the last instant at or before it. A naive
            one is in the exchange's time zone; a text such as ``"10:30"`` is the last time that its clock showed it.

        Raises
        ------
        ValueError
            If `at` is no place, or lies before the start or after the end.
        """
        return self.analysis.past.look(at)

    def report(self, path: str | Path, benchmark: BenchmarkSource | None = None) -> Path:
        """Write the result as one HTML file that opens in any browser without a network, about 5 MB.

        Nearly all of that is the chart library, which the file holds itself. Tables of trades and of rejected orders
        show the newest ones alone if they are long, and say so.

        Parameters
        ----------
        path
            The file; its folder must exist.
        benchmark
            The benchmark to compare with, as `against` takes it.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        DataNotFoundError
            If the folder doesn't exist.
        DataError
            For a benchmark that can't be lined up with the run.
        OSError
            If the file can't be written; a file that was there before stays as it was.
        """
        from nbbacktest.report.tearsheet import write

        return write(self.analysis, Path(path), benchmark)

    def __repr__(self) -> str:
        stats = self.stats
        known = {name: written(name, value) for name, value in stats.items()}
        period = f"{known['start']} to {known['end']}, {known['bars']} bars" if stats["bars"] else "no bars"
        by_hand = f", {self.analysis.by_hand}" if self.analysis.by_hand else ""
        return (
            f"Result {self.name!r}: {', '.join(self.strategies) or 'no strategy'}{by_hand}\n"
            f"  {', '.join(self.symbols) or 'no symbol'} from {self.analysis.origin}\n"
            f"  {period}\n"
            f"  equity {money(self.record.cash)} -> {known['final_equity']} ({stats['return']:+.2%}), "
            f"max drawdown {known['max_drawdown']}, Sharpe {known['sharpe']}\n"
            f"  {known['trades']} closed {'trade' if stats['trades'] == 1 else 'trades'}, win rate {known['win_rate']}, fees {known['fees']}"
        )

    def _repr_html_(self) -> str:
        from nbbacktest.report.tearsheet import notebook_page

        return notebook_page(self.analysis)
