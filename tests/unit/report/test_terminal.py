"""The report in a terminal."""

from __future__ import annotations

import io
import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import nbbacktest as nb
from nbbacktest.core.enums import OrderStatus, OrderType, Side
from nbbacktest.report.result import Result
from nbbacktest.report.terminal import columns_chart, print_report
from nbbacktest.trading.orders import Order
from tests.records import bars, daily_bars, minutes, run

METRICS = {
    "performance_metrics": {"bars_processed": 1_000, "session_duration": 2.0},
    "subscriptions": {"coordinator->processor": {"mode": "clock-driven", "overruns": 3}},
    "session": {"speed_multiplier": 60.0, "achieved_speed": 59.5},
    "error": None,
}


class Ascii(io.StringIO):
    """A pipe that takes ASCII alone."""

    encoding = "ascii"

    def write(self, text):
        text.encode("ascii")
        return super().write(text)


def report(record, width=80, *, color=False, file=None):
    """What is printed."""
    file = file or io.StringIO()
    terminal = {"force_terminal": True, "color_system": "truecolor"} if color else {}
    print_report(Result(record).analysis, Console(file=file, width=width, **terminal))
    return file.getvalue()


@pytest.fixture
def record():
    """A run with seven trades, the last one open."""
    fills = [(i, "A", 10 if i % 2 == 0 else -10, 100.0 + i) for i in range(13)]
    return run([bars("A", minutes(20), range(100, 120))], fills, cash=100_000.0, commission=0.001, metrics=METRICS)


AMOUNTS = st.floats() | st.sampled_from([float("inf"), float("-inf"), float("nan"), 1.7e308, -1.7e308, 1e301, 0.0])


@given(st.lists(AMOUNTS, min_size=1, max_size=30), st.sampled_from([40, 80, 120]), st.sampled_from([3, 6]))
def test_the_chart_of_any_equity_is_drawn(values, width, height):
    """Prices may take an account beyond any number: every line fits, and nothing raises or warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lines = [line.plain for line in columns_chart(values, width, height)]
    assert len(lines) == (height if any(map(math.isfinite, values)) else 0)
    assert max(map(len, lines), default=0) <= width


@pytest.mark.parametrize(("closes", "side"), [([1, 1, 1, 1e308, 1e308], "buy"), ([1, 1, 1, 1e308, 1e308], "sell")])
def test_a_run_beyond_any_number_is_reported(closes, side):
    """Equity that no float can hold is told in all forms: report, JSON, HTML, fingerprint."""
    close = np.asarray(closes, float)
    index = pd.date_range("2024-10-03 09:30", periods=len(close), freq="1min", tz="America/New_York")
    data = pd.DataFrame({"open": close, "high": close, "low": close, "close": close, "volume": 1.0}, index=index)

    class Once(nb.Strategy):
        def on_bar(self, bar):
            if len(self.bars()) == 1:
                getattr(self, side)(size=10)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = nb.backtest(data, Once)
        out = io.StringIO()
        print_report(result.analysis, Console(file=out, width=80))
        assert "beyond any number" in out.getvalue()
        json.loads(result.to_json(), parse_constant=pytest.fail)
        assert result._repr_html_()
        assert len(result.fingerprint) == 64


def test_names_are_shown_and_not_obeyed(record):
    """Also by a console that a user made, which would obey brackets and escape sequences."""
    hostile = "A\x1b[31m\u202e[/]"
    fills = [(0, hostile, 10, 100.0), (3, hostile, -10, 103.0)]
    data = [bars(hostile, minutes(20), range(100, 120))]
    made = run(data, fills, cash=100_000.0, metrics=METRICS | {"error": {"message": hostile}})
    text = report(made, 120)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count("A\\x1b[31m\\u202e[/]") == 3  # the heading's symbols, the trade, the error


@pytest.mark.parametrize("width", [40, 60, 80, 110, 160, 250])
def test_no_line_is_wider_than_the_terminal(record, width):
    """At any usual width, lines fit, and wide terminals aren't filled to the edge."""
    lines = report(record, width).splitlines()
    assert max(map(len, lines)) <= min(width, 120)


@pytest.mark.parametrize("width", [80, 160])
def test_every_statistic_is_there_with_its_unit(record, width):
    """Percent, thousands separators, counts."""
    text = report(record, width)
    for label in ("Final equity", "CAGR", "Sharpe", "Max drawdown", "Win rate", "SQN", "Turnover", "Exposure", "Fees"):
        assert label in text, label
    assert f"{Result(record).stats['final_equity']:,.2f}" in text
    assert "100.00%" in text


def test_what_ran_stands_first(record):
    """Name, source, symbols, period with its zone, strategies."""
    head = report(record).splitlines()
    assert head[0].startswith("By hand ")
    assert head[1].split() == ["Data", "a", "test"]
    assert head[2].split() == ["Symbols", "A"]
    assert "2024-10-03 09:30 EDT to 2024-10-03 09:50 EDT (America/New_York)" in head[3]
    assert head[4].split() == ["Strategies", "Hand()"]


def test_the_last_trades_are_shown(record):
    """Five of seven, the open one called open."""
    text = report(record)
    assert "Last 5 of 7 trades (1 open, at the last close)" in text
    rows = [line.split() for line in text.splitlines() if line.startswith("A ")]
    assert len(rows) == 5
    assert rows[0][2:7] == ["10-03", "09:34", "104.00", "10-03", "09:35"]
    assert rows[-1][2:6] == ["10-03", "09:42", "112.00", "open"]


def test_a_pipe_gets_plain_text(record):
    """No escape sequences where there is no terminal; colours where there is one."""
    assert "\x1b" not in report(record)
    assert "\x1b[" in report(record, color=True)


def test_a_narrow_code_page_gets_a_report_without_blocks(record):
    """Output that takes ASCII alone gets all but the chart."""
    text = report(record, file=Ascii())
    assert "Sharpe" in text


def test_run_facts_come_from_the_metrics(record):
    """Bars a second, mode, speed, overruns."""
    assert "1,000 bars in 2.00 s (500 bars/s), clock-driven, speed 60x, achieved 59.5x, 3 overruns" in " ".join(
        report(record, 120).split()
    )


@pytest.mark.parametrize(
    ("modes", "asked", "achieved", "said"),
    [
        (("clock-driven", "data-driven"), 20_000.0, 19_123.4, "clock-driven, speed 20,000x, achieved 19,123x"),
        (("data-driven", "data-driven"), 0.0, 19_123.4, "(500 bars/s), data-driven"),
        (("live", "live"), 0.0, 0.0, "(500 bars/s), live"),
        (("clock-driven", "data-driven"), 5e6, 4_912_345.0, "clock-driven, speed 5 million x, achieved 4.91 million x"),
        (("clock-driven", "data-driven"), 0.5, 0.49876, "clock-driven, speed 0.5x, achieved 0.499x"),
    ],
)
def test_the_last_line_says_the_mode_once_and_speeds_as_numbers(record, modes, asked, achieved, said):
    """A run has one mode, whatever its two streams wait for, and no speed is written with an exponent."""
    streams = {str(number): {"mode": mode, "overruns": 0} for number, mode in enumerate(modes)}
    session = {"speed_multiplier": asked, "achieved_speed": achieved}
    metrics = {**METRICS, "subscriptions": streams, "session": session}
    last = report(replace(record, metrics=metrics), 120).splitlines()[-1]
    assert last.endswith(said)
    assert "e+" not in last


def test_missing_metrics_are_left_out():
    """A result without a status, such as a partial one, still has a report."""
    assert "bars/s" not in report(run([bars("A", minutes(3), [1, 2, 3])]))


def test_synthetic_data_is_called_so(record):
    """Invented bars are named in the first lines."""
    invented = run(list(record.bars.values()), source="synthetic, seed 7", synthetic=True)
    assert "synthetic data, seed 7" in report(invented).splitlines()[1]


def test_no_orders_says_what_to_check():
    """The commonest first result isn't a riddle."""
    text = report(run([daily_bars("A", [1, 2, 3])]))
    assert "No trades: the strategies placed no order" in text
    assert "warmup_days" in text


def test_no_strategy_is_said():
    """Nothing could trade."""
    assert "no strategy was run" in report(run([daily_bars("A", [1, 2])], strategies=()))


def rejected(number, reason):
    """An order that was refused."""
    order = Order(number, "S", "A", Side.BUY, 1.0, OrderType.MARKET)
    order.status, order.reason = OrderStatus.REJECTED, reason
    return order


def test_rejected_orders_are_counted_by_reason():
    """Two reasons, the more frequent one first, and no trade explained by them."""
    orders = (rejected(1, "too little cash"), rejected(2, "too little cash"), rejected(3, None))
    text = report(run([daily_bars("A", [1, 2])], orders=orders))
    assert "of 3 orders 3 are rejected" in text
    assert text.index("! 2 orders rejected: too little cash") < text.index("! 1 order rejected: no reason given")


def test_many_reasons_are_summed_up():
    """The sixth and further reasons are a number."""
    orders = tuple(rejected(n, f"reason {n}") for n in range(8))
    assert "! 3 more for other reasons; see result.orders" in report(run([daily_bars("A", [1, 2])], orders=orders))


def test_ruin_is_said():
    """Equity below zero is no result to be read like others."""
    record = run([daily_bars("A", [10, 30, 40])], [(0, "A", -1_000, 10.0)])
    assert "Equity fell to zero or below" in report(record)


@pytest.mark.parametrize("error", [{"type": "StrategyError", "message": "it broke\nat a bar"}, "it broke"])
def test_an_error_is_said(error):
    """A run that failed says so, in one line."""
    assert "! The run ended by an error: it broke\n" in report(run([daily_bars("A", [1, 2])], metrics={"error": error}))


def test_a_run_without_an_instant_says_what_to_check():
    """No statistics of nothing."""
    text = report(run([]))
    assert "No instant was completed" in text
    assert "Sharpe" not in text


def test_many_symbols_are_cut_short():
    """A hundred names don't fill the screen."""
    text = report(run([bars(f"SYMBOL{n}", minutes(1), [1]) for n in range(100)]))
    assert "more" in next(line for line in text.splitlines() if line.startswith("Symbols"))


def test_markup_in_names_is_shown_as_written():
    """Square brackets are text, not colours."""
    assert "[red]x" in report(run([], name="[red]x"))


def test_it_prints_to_standard_output_by_default(record, capsys):
    """Without a console it goes where print goes."""
    print_report(Result(record).analysis)
    assert "Final equity" in capsys.readouterr().out
