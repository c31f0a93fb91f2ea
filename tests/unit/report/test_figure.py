"""The plotly figure of a result: what it draws, and how little."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from nbbacktest.core.enums import OrderStatus, OrderType, Side
from nbbacktest.core.errors import DataError
from nbbacktest.report.result import Result
from nbbacktest.report.traces import LEVELS
from nbbacktest.trading.orders import Order
from tests.records import bars, daily_bars, minute_sessions, minutes, run

MILLISECONDS_A_DAY = 86_400_000


def clock(x):
    """Axis values as naive timestamps."""
    return pd.DatetimeIndex(np.asarray(x).astype("datetime64[ms]"))


def figure_of(columns, fills=(), **changes):
    """The figure of a hand-made run."""
    return Result(run(columns, fills, **changes)).plot()


def test_candles_and_marks_stand_in_local_time():
    """The first candle is at 09:30 of New York, the purchase at its own bar and price."""
    figure = figure_of([bars("A", minutes(3), [10, 11, 12])], [(1, "A", 2, 10.7)])
    candles, bought, sold = figure.data[:3]
    assert str(clock(candles.x)[0]) == "2024-10-03 09:30:00"
    assert candles.close.tolist() == [10, 11, 12]
    assert str(clock(bought.x)[0]) == "2024-10-03 09:31:00"
    assert bought.y.tolist() == [10.7]
    assert bought.text == ("bought 2 at 10.7",)
    assert len(sold.x) == 0


def test_equity_and_drawdown_are_under_the_prices():
    """Three panels share one time axis."""
    figure = figure_of([bars("A", minutes(3), [10, 12, 9])], [(0, "A", 100, 10.0)])
    equity, drawdown = figure.data[3:5]
    assert equity.y.tolist() == [10_000, 10_200, 9_900]
    assert drawdown.y.tolist() == pytest.approx([0, 0, 9_900 / 10_200 - 1])
    assert {trace.xaxis for trace in figure.data[:5]} <= {None, "x"}
    assert str(clock(equity.x)[-1]) == "2024-10-03 09:33:00"


def test_fills_of_one_candle_are_one_mark():
    """A busy strategy can't make the browser draw more than the candles; the mark tells the mean price."""
    days = [day.strftime("%Y-%m-%d") for day in pd.bdate_range("2024-01-02", periods=40)]
    columns = bars("A", minute_sessions(days), np.full(40 * 390, 10.0))
    fills = [(i, "A", 1.0 if i % 2 else -1.0, 10.0 + i % 3) for i in range(5_000)]
    figure = figure_of([columns], fills)
    bought = figure.data[1]
    assert len(bought.x) < 600
    assert "bought 15 at an average of 11 in 15 fills" in bought.text


def test_long_runs_are_drawn_with_few_points():
    """A million minutes are a bounded picture, without losing the highest and lowest equity."""
    count = 1_000_000
    time = 1_500_000_000_000_000_000 // 60_000_000_000 * 60_000_000_000 + np.arange(count) * 60_000_000_000
    closes = 100 + np.sin(np.arange(count) / 5_000)
    result = Result(run([bars("A", time, closes)], [(0, "A", 50, 100.0)]))
    figure = result.plot()
    assert len(figure.data[0].x) <= 600
    equity = figure.data[3]
    assert len(equity.x) <= 1_204
    assert (max(equity.y), min(equity.y)) == (result.equity.max(), result.equity.min())
    assert figure.data[0].high.max() == pytest.approx(closes.max() * 1.01, rel=1e-3)


def test_closed_hours_are_left_out():
    """Nights, weekends and a half day's afternoon take no room; the break begins where the last candle ends."""
    time = np.concatenate([minutes(390, "2024-11-27"), minutes(210, "2024-11-29"), minutes(390, "2024-12-02")])
    figure = figure_of([bars("A", time, np.ones(990))])
    bounds = [clock(np.round(b.bounds)) for b in figure.layout.xaxis.rangebreaks]
    assert [[f"{t:%m-%d %H:%M}" for t in pair] for pair in bounds] == [
        ["11-27 16:00", "11-29 09:30"],
        ["11-29 13:00", "12-02 09:30"],
    ]


def test_the_axis_spans_the_run():
    """From the first bar's start to the last one's end, with a candle's width of air."""
    figure = figure_of([bars("A", minutes(10), np.ones(10))])
    assert [f"{t:%H:%M}" for t in clock(figure.layout.xaxis.range)] == ["09:29", "09:41"]


def test_weekends_and_holidays_of_daily_bars_are_left_out():
    """Saturdays and Sundays by pattern, a holiday by its date."""
    full = daily_bars("A", np.ones(10), "2024-01-02")
    holiday = np.arange(10) != 4
    columns = type(full)(
        "A",
        full.interval,
        *(getattr(full, n)[holiday] for n in ("time", "end", "open", "high", "low", "close", "volume")),
    )
    breaks = figure_of([columns]).layout.xaxis.rangebreaks
    assert tuple(breaks[0].bounds) == ("sat", "mon")
    assert tuple(breaks[1]["values"]) == ("2024-01-08",)


def test_markets_that_never_close_have_no_breaks():
    """Bars on Saturdays and Sundays stay."""
    time = pd.date_range("2024-03-01", periods=20, tz="UTC").as_unit("ns").asi8
    assert figure_of([bars("A", time, np.ones(20), "1d")], trades_every_day=True).layout.xaxis.rangebreaks == ()


def test_sparse_days_are_left_as_they_are():
    """Where most days are missing, leaving them out would show a time that never was."""
    time = pd.date_range("2024-03-01", periods=5, freq="20D", tz="UTC").as_unit("ns").asi8
    assert figure_of([bars("A", time, np.ones(5), "1d")]).layout.xaxis.rangebreaks == ()


def test_several_symbols_have_a_menu():
    """The first is shown; each button shows its own three traces, the account's two and the months."""
    figure = figure_of([bars("A", minutes(2), [1, 1]), bars("B", minutes(2), [2, 2])])
    (menu,) = figure.layout.updatemenus
    assert [button.label for button in menu.buttons] == ["A price", "B price"]
    assert [trace.visible for trace in figure.data] == [True] * 3 + [False] * 3 + [None] * 3
    assert menu.buttons[1].args[0]["visible"] == [False] * 3 + [True] * 6


def test_one_symbol_can_be_asked_for():
    """No menu then, and the panel names the symbol."""
    result = Result(run([bars("A", minutes(2), [1, 1]), bars("B", minutes(2), [2, 2])]))
    figure = result.plot("B")
    assert figure.layout.updatemenus == ()
    assert figure.data[0].name == "B"
    assert any("B price" in note.text for note in figure.layout.annotations)


def test_an_unknown_symbol_is_named_with_its_nearest():
    """The error offers what was run."""
    with pytest.raises(DataError, match="'AAPLE' was not run; did you mean 'AAPL'"):
        Result(run([bars("AAPL", minutes(1), [1])])).plot("AAPLE")


def test_axes_say_their_zone_and_candles_their_length():
    """Nobody must guess what a candle is, nor whose clock it is."""
    minute = figure_of([bars("A", minutes(2), [1, 1])])
    daily = figure_of([daily_bars("A", [1, 1])])
    assert minute.layout.xaxis.title.text == "Time (America/New_York)"
    assert "candles of 1m" in minute.layout.title.subtitle.text
    assert daily.layout.xaxis.title.text == "Session date (America/New_York)"


def test_dates_travel_as_floats():
    """Float milliseconds are drawn in a hundredth of the time that dates or integers need."""
    for trace in figure_of([bars("A", minutes(3), [1, 2, 3])], [(1, "A", 1, 2.0)]).data:
        assert np.asarray(trace.x).dtype == np.float64


def test_daily_equity_stands_under_its_candle():
    """Both lie in the middle of their date."""
    figure = figure_of([daily_bars("A", [1, 2])])
    candles, equity = figure.data[0], figure.data[3]
    assert candles.xperiod == MILLISECONDS_A_DAY
    assert equity.x[0] - candles.x[0] == MILLISECONDS_A_DAY / 2


@pytest.mark.parametrize(("count", "period"), [(2_900, 7 * MILLISECONDS_A_DAY), (12_000, "M1"), (15_000, "M3")])
def test_calendar_candles_are_centred_in_their_time(count, period):
    """Weeks by their days, months and quarters by the calendar."""
    candles = figure_of([daily_bars("A", np.ones(count), "1960-01-04")]).data[0]
    assert candles.xperiod == period
    assert candles.xperiodalignment == "middle"
    assert len(candles.x) <= 600


def test_a_run_without_bars_has_a_figure():
    """Nothing to draw is no error, with symbols or without."""
    assert len(figure_of([]).data) == 2
    assert "no bars" in figure_of([bars("A", minutes(0), [])]).layout.title.subtitle.text


def test_a_name_is_text_and_no_markup():
    """What a user called the session is shown as written."""
    assert figure_of([], name="<b>x").layout.title.text == "&lt;b&gt;x"


def order(number, kind, submitted, closed, **terms):
    """A filled order with a level, between two instants."""
    made = Order(number, "Hand", "A", Side.BUY, 1.0, kind, submitted_ns=int(submitted), **terms)
    made.status, made.closed_ns = OrderStatus.FILLED, int(closed)
    return made


def by_name(figure):
    """The traces by their names."""
    return {trace.name: trace for trace in figure.data}


def test_levels_are_drawn_while_their_orders_were_open():
    """A line from the submission to the end, at the level; limits, stops and touches apart."""
    columns = bars("A", minutes(6), np.arange(10.0, 16.0))
    ends = columns.end
    orders = (
        order(1, OrderType.LIMIT, ends[0], ends[2], limit=9.5),
        order(2, OrderType.STOP, ends[1], ends[4], stop=14.0),
        order(3, OrderType.MARKET, ends[1], ends[2]),
        order(4, OrderType.LIMIT_IF_TOUCHED, ends[1], ends[4], touch=9.0, limit=8.5),
    )
    traces = by_name(figure_of([columns], orders=orders))
    limit, stop = traces["Limit level"], traces["Stop level"]
    assert [str(t.time()) for t in clock(limit.x[:2])] == ["09:31:00", "09:33:00"]
    assert limit.y[:2].tolist() == [9.5, 9.5]
    assert [str(t.time()) for t in clock(stop.x[:2])] == ["09:32:00", "09:35:00"]
    assert np.isnan([limit.x[2], limit.y[2]]).all()
    assert limit.y[3:5].tolist() == [8.5, 8.5]
    assert traces["Touch level"].y[:2].tolist() == [9.0, 9.0]


def test_only_the_newest_levels_are_drawn():
    """A strategy of many limits can't make the browser draw them all, and the figure says so."""
    columns = bars("A", minutes(500), np.full(500, 10.0))
    orders = tuple(order(n + 1, OrderType.LIMIT, columns.end[n], columns.end[n + 1], limit=1.0 + n) for n in range(450))
    figure = figure_of([columns], orders=orders)
    assert len(by_name(figure)["Limit level"].x) == 3 * LEVELS
    assert by_name(figure)["Limit level"].y[0] == 251
    assert "levels of the newest 200 of 450 orders" in figure.layout.title.subtitle.text


def test_a_trailing_stop_is_drawn_as_steps():
    """It follows the bars' highs, one step up at a time, and never back."""
    columns = bars("A", minutes(5), [10.0, 12.0, 11.0, 14.0, 13.0])
    trailing = order(1, OrderType.TRAILING_STOP, columns.end[0], columns.end[4], stop=8.0, trail=2.0)
    trailing.side = Side.SELL
    stop = by_name(figure_of([columns], orders=(trailing,)))["Stop level"]
    levels = stop.y[::3].tolist()
    assert levels == pytest.approx([8.0, 12 * 1.01 - 2, 14 * 1.01 - 2])


def test_trades_stand_at_their_exits_between_mae_and_mfe():
    """Net returns as marks, and a stroke for how far each trade went."""
    figure = figure_of([bars("A", minutes(4), [10, 12, 9, 11])], [(1, "A", 2, 10.0), (3, "A", -2, 9.0)])
    marks, strokes = by_name(figure)["Trade"], by_name(figure)["MAE to MFE"]
    assert marks.y.tolist() == pytest.approx([-0.1])
    assert str(clock(marks.x)[0].time()) == "09:33:00"
    assert strokes.y[:2].tolist() == pytest.approx([9 * 0.99 / 10 - 1, 12 * 1.01 / 10 - 1])
    assert "A long 2: -10.00% (-2.00)" in marks.text[0]


def test_many_trades_are_few_marks():
    """The best and the worst of each stretch stay."""
    count = 6_000
    closes = 100 + np.sin(np.arange(count))
    fills = [(n, "A", 1.0 if n % 2 else -1.0, closes[n]) for n in range(1, count)]
    result = Result(run([bars("A", minutes(count), closes)], fills))
    marks = by_name(result.plot())["Trade"]
    assert len(marks.x) < 700
    assert max(marks.y) == result.stats["best_trade"]
    assert min(marks.y) == result.stats["worst_trade"]


def test_a_benchmark_is_drawn_beside_the_equity():
    """The same cash, from the same day on."""
    result = Result(run([daily_bars("A", [10, 11, 12]), daily_bars("B", [1, 2, 3])], [(0, "A", 1_000, 10.0)]))
    traces = by_name(result.plot("A", "B"))
    assert traces["B"].y[1:].tolist() == [20_000, 30_000]
    assert traces["B"].x.tolist() == traces["Equity"].x.tolist()


def test_months_are_a_heat_map_of_returns():
    """A row a year, January to December and the year; where there was no day, nothing is said."""
    heat = by_name(figure_of([daily_bars("A", [100, 110] * 40, "2023-12-01")], [(0, "A", 100, 100.0)]))["Month"]
    assert heat.y == ("2023", "2024")
    assert len(heat.x) == 13
    assert heat.text[0][0] == ""
    assert heat.zmax == -heat.zmin > 0
    assert "Month" not in by_name(figure_of([]))


def test_a_quarter_without_trades_leaves_a_gap_in_the_rolling_sharpe():
    """No line is drawn across a time that has no Sharpe ratio."""
    closes = 100 + np.sin(np.arange(400.0))
    fills = [(0, "A", 10, 100.0), (100, "A", -10, closes[100]), (250, "A", 10, closes[250])]
    sharpe = by_name(figure_of([daily_bars("A", closes)], fills))["Rolling Sharpe"]
    gaps = np.flatnonzero(np.isnan(sharpe.y))
    assert len(gaps) >= 1
    assert sharpe.connectgaps is False


def test_panels_dont_overlap():
    """Whatever is drawn, each panel has its own height, from the top down."""
    for fills in ((), [(1, "A", 2, 100.0), (300, "A", -2, 101.0)]):
        layout = figure_of([daily_bars("A", 100 + np.sin(np.arange(400.0)))], fills).layout
        domains = [layout[f"yaxis{n}"].domain for n in ("", 2, 3, 4, 5, 6)]
        drawn = [domain for domain in domains if domain is not None]
        assert drawn[0][1] == 1
        assert all(above[0] > below[1] for above, below in pairwise(drawn))
        assert drawn[-1][0] >= 0
