"""LEAN's regression algorithm on seconds."""

from __future__ import annotations

import datetime as dt

import pandas as pd

import nbbacktest as nb
from tests.lean.published import CASH, Algorithm, Ran, fees, source

ZONE = "America/New_York"


class Limits(nb.Strategy):
    """At each full hour a limit at the market: on the first two days to buy, then to sell."""

    def on_bar(self, bar):
        if bar.end.minute == bar.end.second == 0:
            order = self.buy if bar.end < pd.Timestamp("2013-10-09", tz=ZONE) else self.sell
            order(size=10, limit=bar.close)


def filled_forward() -> Ran:
    """LEAN makes a bar for each second without a trade, at the last close; here they are made before the run."""
    days = source().bars("SPY", "1s", dt.date(2013, 10, 7), dt.date(2013, 10, 11), adjusted=True)
    parts = []
    for day, traded in days.between_time("09:30", "15:59:59").groupby(lambda time: time.date()):
        every = pd.date_range(f"{day} 09:30", f"{day} 15:59:59", freq="s")
        part = traded.reindex(every)
        close = part["close"].ffill()
        prices = {name: part[name].fillna(close) for name in ("open", "high", "low", "close")}
        parts.append(part.assign(**prices, volume=part["volume"].fillna(0)).dropna())
    bars = pd.concat(parts).tz_localize(ZONE)
    assert len(bars) == 117_000
    broker = {"account": "margin", "fill": "this_close", "limit_fill": "cross"}
    config = {"exchange": "XNYS", "data": {"interval": "1s"}, "broker": broker}
    return Ran(nb.backtest(bars, Limits, cash=CASH, commission=fees(), config=config))


ALGORITHMS = [
    Algorithm(
        "LimitFillRegressionAlgorithm", 35, 34.00, 99_931.07, filled_forward, filled=34,
        rule="on 117,000 seconds, those without a trade filled as LEAN fills them; a limit of the last second stays open in both",
    ),
]  # fmt: skip
