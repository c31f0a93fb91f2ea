"""The zone in which times are shown labels them and changes nothing else; what a day decides goes by the exchange's."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.data.calendar import session_table
from tests.sessions import EXCHANGES, ZONES, Made, bars_of

CHICAGO = "America/Chicago"


class Deals(nb.Strategy):
    """Long and short, with day orders, dated orders, stops, and calls by the clock; what it is told is logged."""

    step: int = 3
    until: str = ""

    def on_start(self):
        self.schedule(lambda: self.log("before the close"), before_close=60)
        self.schedule(lambda: self.log("after the open"), after_open=30, every="week_start")

    def on_session_start(self, date):
        self.log(f"start {date}")

    def on_session_end(self, date):
        self.log(f"end {date}")

    def on_bar(self, bar):
        n = len(self.bars(interval=self.base_interval))
        if bar.interval != self.base_interval:
            self.log(f"{bar.interval} {bar.time.date()} {bar.close!r}")
        elif n % self.step == 1:
            side = self.buy if n % (2 * self.step) == 1 else self.sell
            side(size=10, limit=bar.close * (0.999 if side == self.buy else 1.001), tif="day")
        elif n % self.step == 2:
            self.sell(size=7) if self.position().size > 0 else self.buy(size=7)
            if self.until and n < 4:
                self.buy(size=3, limit=bar.close * 0.995, until=self.until)
        elif n % 11 == 0:
            self.sell(size=5, stop=bar.low * 0.999, tif="day")


def config_of(exchange: str, zone: str | None, actions: list, **more) -> dict:
    costs = {"borrow": {"model": "annual", "rate": 0.05}, "interest": {"model": "annual", "rate": 0.06}}
    return {
        "exchange": exchange, "timezone": zone, "broker": {"account": "margin", "cash": 3_000, **costs},
        "data": {"adjusted": False, "actions": actions}, **more,
    }  # fmt: skip


def outcome(result: nb.Result) -> dict:
    """Everything about a run but its labels."""
    record = result.record
    stats = {name: value for name, value in result.stats.items() if name not in ("start", "end")}
    return {
        "fingerprint": result.fingerprint,
        "fills": [(f.index, f.symbol, f.side, f.size, f.price) for f in record.fills],
        "flows": [(f.index, f.kind, f.amount) for f in record.flows],
        "events": [(order.id, event.time, event.kind) for order in record.orders for event in order.events],
        "equity": result.equity.to_numpy().tolist(),
        "stats": str(stats),
        "log": [(moment, text) for moment, _, text in record.log],
        "days": result.rolling(days=2).index.tolist(),
        "monthly": result.monthly.to_csv(),
        "daily": result.metrics["session"]["session_date"],
    }


def made(exchange: str, interval: str, first: date) -> Made:
    if interval != "1d":
        return bars_of(exchange, interval, first, 12)
    table = session_table(exchange, first, first + timedelta(days=30))
    close = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, len(table))))
    frame = pd.DataFrame({"open": close, "high": close * 1.01, "low": close * 0.99, "close": close, "volume": 1.0})
    return Made(frame.set_index(pd.DatetimeIndex(table.dates.astype("datetime64[ns]"))), table.close)


@settings(max_examples=110, deadline=None)
@given(
    st.sampled_from(EXCHANGES),
    st.sampled_from(["15m", "1h", "4h", "1d"]),
    st.sampled_from([date(2024, 1, 8), date(2024, 3, 5), date(2024, 3, 26), date(2024, 10, 1), date(2024, 10, 29)]),
    st.lists(st.sampled_from(ZONES), min_size=3, max_size=3, unique=True),
    st.integers(2, 5),
    st.booleans(),
)
def test_the_zone_of_labels_changes_nothing_else(
    exchange: str, interval: str, first: date, zones: list[str], step: int, dated: bool
):
    """Splits, dividends, fees, day and dated orders, sessions, derived days, statistics, fingerprint: all stay."""
    frame = made(exchange, interval, first).frame
    split, paid = first + timedelta(days=3), first + timedelta(days=6)
    actions = [{"date": str(split), "kind": "split", "value": 2}, {"date": str(paid), "kind": "dividend", "value": 0.5}]
    days = {"start_date": str(first + timedelta(days=1)), "end_date": str(first + timedelta(days=10))}
    derived = () if interval == "1d" else ("1d",)

    def run(shown: str | None, bars: pd.DataFrame) -> dict:
        config = config_of(exchange, shown, actions, backtest=days)
        until = str(first + timedelta(days=4)) if dated else f"{first + timedelta(days=8)} 12:00"
        return outcome(nb.backtest(bars, Deals, derived=derived, config=config, step=step, until=until))

    own = run(None, frame)
    for shown, given_in in pairwise(zones):
        assert run(shown, frame if interval == "1d" else frame.tz_convert(given_in)) == own


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(["1h", "4h", "1d"]), st.sampled_from(ZONES), st.sampled_from(ZONES), st.booleans())
def test_where_no_exchange_is_named_days_are_the_datas(interval: str, data_zone: str, shown: str, naive: bool):
    """The zone of a frame, or `data.timezone` for naive stamps; the zone of labels still changes nothing."""
    frame = made("24/7", interval, date(2024, 3, 5)).frame
    if interval != "1d":
        frame = frame.tz_convert(data_zone)
    actions = [{"date": "2024-03-08", "kind": "split", "value": 2}]
    skipped = None
    if naive and interval != "1d":
        skipped = frame.tz_localize(None)
        if skipped.index.has_duplicates:
            return  # an hour that clocks repeat can't be written without its offset
    plain = outcome(nb.backtest(frame, Deals, config={"data": {"adjusted": False, "actions": actions}}))
    labelled = {"timezone": shown, "data": {"adjusted": False, "actions": actions}}
    assert outcome(nb.backtest(frame, Deals, config=labelled)) == plain
    if skipped is not None:
        labelled["data"]["timezone"] = data_zone
        assert outcome(nb.backtest(skipped, Deals, config=labelled)) == plain


def futures(first: str = "2024-03-03 17:00", last: str = "2024-03-15 15:30") -> pd.DataFrame:
    index = pd.date_range(first, last, freq="30min", tz=CHICAGO)
    index = index[(index.hour != 16) & ~((index.day_of_week == 4) & (index.hour >= 16)) & (index.day_of_week != 5)]
    index = index[~((index.day_of_week == 6) & (index.hour < 17))]
    return pd.DataFrame({"open": 100.0, "high": 101.0, "low": 99.0, "close": 100.0, "volume": 1.0}, index=index)


class Held(nb.Strategy):
    """Ten units from the second bar on."""

    size: float = 10.0

    def on_bar(self, bar):
        if len(self.bars()) == 1:
            (self.buy if self.size > 0 else self.sell)(size=abs(self.size))


def test_an_evening_session_goes_ex_at_its_open():
    """A futures' dividend of Tuesday is paid on Monday at 17:00, not seven hours later; a short's nights are five a week."""
    rate = {"model": "annual", "rate": 0.365}
    actions = [{"date": "2024-03-05", "kind": "dividend", "value": 1}]
    config = {
        "exchange": "CMES",
        "broker": {"account": "margin", "borrow": rate},
        "data": {"adjusted": False, "actions": actions},
    }
    flows = nb.backtest(futures(last="2024-03-08 15:30"), Held, config=config, size=-10).flows
    paid = flows[flows["kind"] == "dividend"]
    assert [f"{t:%a %H:%M}" for t in paid["time"]] == ["Mon 17:30"]  # the instant of the session's first bar
    fees = flows[flows["kind"] == "borrow"]
    assert [f"{t:%a %H:%M}" for t in fees["time"]] == ["Mon 17:30", "Tue 17:30", "Wed 17:30", "Thu 17:30"]


def test_a_futures_date_ends_at_the_next_open():
    """`until` a date and `run_until` a date mean the trading day: the evening after the close is the next one's."""
    frame = futures()
    frame.loc["2024-03-05 17:00":"2024-03-05 23:30", ["open", "high", "low", "close"]] = [90.0, 91.0, 89.0, 90.0]

    class Until(nb.Strategy):
        when: str = ""

        def on_bar(self, bar):
            if len(self.bars()) == 1:
                self.buy(size=1, limit=95, until=self.when)

    filled = {
        day: len(nb.backtest(frame, Until, config={"exchange": "CMES"}, when=day).fills)
        for day in ("2024-03-05", "2024-03-06")
    }
    assert filled == {"2024-03-05": 0, "2024-03-06": 1}
    with_panel = nb.SystemManager(reachable=False)
    with_panel.start({"exchange": "CMES", "timezone": "Asia/Tokyo"}, data=frame, strategies=Held, paused=True)
    with_panel.run_until("2024-03-06")
    shot = with_panel.snapshot()
    with_panel.stop()
    assert (str(shot.session_date), f"{shot.time.tz_convert(CHICAGO):%a %H:%M}") == ("2024-03-05", "Tue 16:00")


@pytest.mark.parametrize("zone", ["America/Chicago", "Asia/Tokyo", "UTC"])
def test_start_and_end_are_sessions(zone: str):
    """The days that are asked for are the exchange's, however times are shown."""
    seen = []

    class Dates(nb.Strategy):
        def on_session_start(self, date):
            seen.append(str(date))

        def on_bar(self, bar):
            pass

    days = {"start_date": "2024-03-06", "end_date": "2024-03-07"}
    nb.backtest(futures(), Dates, config={"exchange": "CMES", "timezone": zone, "backtest": days})
    assert seen == ["2024-03-06", "2024-03-07"]


@pytest.mark.parametrize("exchange", [None, "XNYS"])
@pytest.mark.parametrize("zone", [None, "Asia/Tokyo", "America/Los_Angeles"])
@pytest.mark.parametrize("aware", [False, True])
def test_one_instant_has_one_name(exchange: str | None, zone: str | None, aware: bool):
    """Equity, flows, orders, their events and the log of a daily run call an instant by its session's date: they join."""
    index = pd.bdate_range("2024-10-01", periods=8, tz="America/New_York" if aware else None)
    frame = pd.DataFrame({"open": 100.0, "high": 101.0, "low": 99.0, "close": 100.0}, index=index)

    class Talks(Held):
        def on_bar(self, bar):
            super().on_bar(bar)
            self.log("a bar")

    actions = [{"date": "2024-10-04", "kind": "dividend", "value": 1}]
    config = {"timezone": zone, "data": {"adjusted": False, "actions": actions}} | (
        {"exchange": exchange} if exchange else {}
    )
    result = nb.backtest(frame, Talks, config=config)
    known = result.equity.index
    assert result.flows["time"].tolist() == [known[3]]
    assert [str(day)[:10] for day in known] == [str(day)[:10] for day in index]
    assert (known.tz is None) is not aware
    for times in (
        result.log["time"],
        result.orders["submitted"],
        result.orders["closed"],
        result.order_events["time"],
        result.fills["time"],
    ):
        assert times.isin(known).all()


def test_a_day_zone_moves_the_days_of_a_market_that_never_closes():
    """Its derived days and its daily returns are those of that zone; without it UTC's."""
    frame = bars_of("24/7", "1h", date(2024, 6, 1), 6, zone="UTC").frame
    closes = {}

    class Days(nb.Strategy):
        def on_bar(self, bar):
            if bar.interval == "1d":
                closes[str(bar.time.date())] = (bar.end, bar.close)

    for zone in ("UTC", "America/New_York"):
        closes.clear()
        result = nb.backtest(
            frame, Days, derived=["1d"], config={"exchange": "24/7", "day_zone": zone, "timezone": "Asia/Tokyo"}
        )
        end, close = closes["2024-06-03"]
        midnight = pd.Timestamp("2024-06-04", tz=zone)
        assert end == midnight
        assert close == frame["close"].loc[midnight - pd.Timedelta("1h")]
        assert len(result.rolling(days=2)) == len({t.date() for t in (frame.index.tz_convert(zone))})
