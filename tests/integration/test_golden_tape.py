"""The golden tape: bars and orders whose fills backtesting.py and backtrader agree on, each row a run of its own.

Read it beside the table of fill rules in docs/assumptions.md. All orders are decided after bar 2.

    bar        0      1      2  |     3      4
    open     100    100    100  |   102     95
    high     101    101    101  |   104     97
    low       99     99     99  |    96     94
    close    100    100    100  |   103     96
"""

from __future__ import annotations

import pandas as pd
import pytest

import nbbacktest as nb

BARS = pd.DataFrame(
    {
        "open": [100.0, 100, 100, 102, 95],
        "high": [101.0, 101, 101, 104, 97],
        "low": [99.0, 99, 99, 96, 94],
        "close": [100.0, 100, 100, 103, 96],
        "volume": [1000.0] * 5,
    },
    index=pd.bdate_range("2024-01-01", periods=5),
)

# what is asked for after bar 2                                   its fills as (bar, side, price)
TAPE = [
    ("market",                   {},                                    [(3, "buy", 102.0)]),
    ("limit under the open",     {"limit": 101},                        [(3, "buy", 101.0)]),
    ("limit over the open",      {"limit": 103},                        [(3, "buy", 102.0)]),
    ("limit after a gap",        {"limit": 95.5},                       [(4, "buy", 95.0)]),
    ("limit out of reach",       {"limit": 93},                         []),
    ("stop over the open",       {"stop": 103},                         [(3, "buy", 103.0)]),
    ("stop under the market",    {"stop": 101},                         [(3, "buy", 102.0)]),
    ("stop out of reach",        {"stop": 105},                         []),
    ("sell stop",                {"side": "sell", "stop": 98},          [(3, "sell", 98.0)]),
    ("sell stop, gap",           {"side": "sell", "stop": 95.5},        [(4, "sell", 95.0)]),
    ("sell stop over the open",  {"side": "sell", "stop": 103},         [(3, "sell", 102.0)]),
    ("sell limit",               {"side": "sell", "limit": 103.5},      [(3, "sell", 103.5)]),
    ("sell limit under it",      {"side": "sell", "limit": 101},        [(3, "sell", 102.0)]),
    ("market if touched",        {"touch": 98},                         [(3, "buy", 98.0)]),
    ("limit if touched",         {"touch": 98, "limit": 97},            [(3, "buy", 97.0)]),
    ("limit if touched, later",  {"touch": 98, "limit": 95.5},          [(4, "buy", 95.0)]),
    ("stop-limit",               {"stop": 103, "limit": 102},           [(4, "buy", 95.0)]),
    ("stop-limit, marketable",   {"stop": 103, "limit": 103.5},         [(3, "buy", 103.0)]),
    ("stop-limit at the open",   {"stop": 101, "limit": 101.5},         [(3, "buy", 101.5)]),
    ("bracket",                  {"stop_loss": 98, "take_profit": 103.5}, [(3, "buy", 102.0), (3, "sell", 98.0)]),
    ("bracket, target alone",    {"take_profit": 103.5},                [(3, "buy", 102.0), (3, "sell", 103.5)]),
    ("bracket, entry inside",    {"limit": 101, "stop_loss": 98},       [(3, "buy", 101.0), (4, "sell", 95.0)]),
    ("trailing stop",            {"side": "sell", "trail": 3},          [(3, "sell", 97.0)]),
    ("trailing stop, raised",    {"side": "sell", "trail": 5},          [(4, "sell", 95.0)]),
    ("trailing stop, percent",   {"side": "sell", "trail": "3%"},       [(3, "sell", 97.0)]),
    ("on open",                  {"at": "open"},                        [(3, "buy", 102.0)]),
    ("on close",                 {"at": "close"},                       [(3, "buy", 103.0)]),
    ("day limit",                {"limit": 95.5, "tif": "day"},         []),
    ("immediate limit",          {"limit": 101, "tif": "ioc"},          []),
    ("immediate limit, over it", {"limit": 103, "tif": "ioc"},          [(3, "buy", 102.0)]),
]  # fmt: skip


class After2(nb.Strategy):
    """Places one order after bar 2."""

    terms: dict

    def on_bar(self, bar):
        if len(self.bars()) == 3:
            terms = {"side": "buy", "size": 1, **self.terms}
            getattr(self, terms.pop("side"))(**terms)


def tape(terms, **broker):
    result = nb.backtest(BARS, After2, terms=terms, config={"broker": broker})
    bar_of = {time: number for number, time in enumerate(BARS.index)}
    fills = result.fills
    return [
        (bar_of[t], side, price) for t, side, price in zip(fills["time"], fills["side"], fills["price"], strict=True)
    ]


@pytest.mark.parametrize(("terms", "fills"), [row[1:] for row in TAPE], ids=[row[0] for row in TAPE])
def test_golden_tape(terms, fills):
    """Every order of the golden tape fills in the bar and at the price that it says."""
    assert tape(terms) == fills


# the rule by another name                                                                  fills
CHOICES = [
    ("next_close",       {"fill": "next_close"},          {},                               [(3, "buy", 103.0)]),
    ("this_close",       {"fill": "this_close"},          {},                               [(2, "buy", 100.0)]),
    ("strict, touched",  {"limit_fill": "cross"},         {"limit": 96},                    [(4, "buy", 95.0)]),
    ("strict, at low",   {"limit_fill": "cross"},         {"limit": 94},                    []),
    ("strict, crossed",  {"limit_fill": "cross"},         {"limit": 101},                   [(3, "buy", 101.0)]),
    ("path: high first", {"stop_and_target": "path"},     {"stop_loss": 98, "take_profit": 103.5},
     [(3, "buy", 102.0), (3, "sell", 103.5)]),
]  # fmt: skip


@pytest.mark.parametrize(("broker", "terms", "fills"), [row[1:] for row in CHOICES], ids=[row[0] for row in CHOICES])
def test_other_rules(broker, terms, fills):
    """The same tape by the rules that the config can name instead."""
    assert tape(terms, **broker) == fills
