"""What strategies are told of sessions: when, in which order, what they see then, and when their orders fill."""

from __future__ import annotations

import datetime as dt
import json
import threading

import numpy as np
import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest.core.errors import DataError, ScheduleError, StrategyError
from nbbacktest.data import synthetic
from nbbacktest.trading.dated_events import PendingEvents
from tests.drivers import desk_for, flat, run, run_inline, series_of
from tests.markets import days, minutes

HALF = dt.date(2024, 11, 29)


@pytest.fixture(scope="module")
def week() -> pd.DataFrame:
    """Half-hour bars of New York: Wednesday, a half day on Friday, Monday."""
    return synthetic.bars("EXE", "2024-11-27", "2024-12-02", interval="30m")["EXE"]


class Diary(nb.Strategy):
    """Writes down what it is told: what, the date or None, now, and how many bars it sees."""

    def on_start(self):
        self.diary = []

    def on_session_start(self, date):
        self.note("start", date)

    def on_session_end(self, date):
        self.note("end", date)

    def on_bar(self, bar):
        self.note("bar")

    def on_fill(self, fill):
        self.note("fill")

    def on_stop(self):
        self.note("stop")

    def note(self, what, date=None):
        self.diary.append((what, date, f"{self.now:%d %H:%M}", len(self.bars(self.symbols[0]))))


def told(strategy: Diary, *whats: str) -> list[tuple]:
    return [row[1:] if len(whats) == 1 else row for row in strategy.diary if row[0] in whats]


def test_a_session_starts_at_its_open_and_ends_at_its_close(week: pd.DataFrame):
    """Before its first bar is seen and after its last one was handled, half days included."""
    diary = Diary()
    nb.backtest(week, diary)
    wednesday, monday = dt.date(2024, 11, 27), dt.date(2024, 12, 2)
    assert told(diary, "start", "end") == [
        ("start", wednesday, "27 09:30", 0), ("end", wednesday, "27 16:00", 13),
        ("start", HALF, "29 09:30", 13), ("end", HALF, "29 13:00", 20),
        ("start", monday, "02 09:30", 20), ("end", monday, "02 16:00", 33),
    ]  # fmt: skip
    assert [row[0] for row in diary.diary[12:17]] == ["bar", "bar", "end", "start", "bar"]
    assert diary.diary[-2:] == [("end", monday, "02 16:00", 33), ("stop", None, "02 16:00", 33)]
    assert all(type(row[0]) is dt.date for row in told(diary, "start"))


class AtTheOpen(Diary):
    """Buys when a session starts and sells when it ends."""

    where: str = "open"

    def on_session_start(self, date):
        super().on_session_start(date)
        self.seen = (self.bars()[-1].close, self.equity) if len(self.bars()) else None
        if self.seen:
            self.buy(
                size=1, at="open" if self.where == "auction" else None, tif="day" if self.where == "day" else "gtc"
            )

    def on_session_end(self, date):
        if self.position():
            self.close()


@pytest.mark.parametrize("where", ["open", "auction", "day"])
def test_orders_of_a_sessions_start_fill_in_its_first_bar(week: pd.DataFrame, where: str):
    """At that bar's open, also one for the session's open and a day order; those of its end at the next session's."""
    result = nb.backtest(week, AtTheOpen, where=where)
    fills = result.record.fills
    opens = {str(stamp): row.open for stamp, row in week.iterrows()}
    buys = [f.price for f in fills if f.side == "buy"]
    assert buys == [opens["2024-11-29 09:30:00-05:00"], opens["2024-12-02 09:30:00-05:00"]]
    assert [f.price for f in fills if f.side == "sell"] == [opens["2024-12-02 09:30:00-05:00"]]
    submitted = [result.record.stamps.stamp(order.submitted_ns) for order in result.record.orders]
    assert [f"{stamp:%d %H:%M}" for stamp in submitted] == ["29 09:30", "29 13:00", "02 09:30", "02 16:00"]


def test_nothing_of_the_first_bar_is_seen_at_the_start(week: pd.DataFrame):
    """Neither its price nor what it does to equity; the bar before is the newest, of derived intervals too."""
    seen = []

    class Look(nb.Strategy):
        def on_start(self):
            self.mean = self.indicator(lambda close: close * 2, "close")
            self.live = self.indicator(Twice(), "close")

        def on_session_start(self, date):
            if len(self.bars()):
                self.order_target_size(3)
                seen.append((self.bars().close[-1], self.mean[-1], self.live[-1], self.bars(interval="1h").close[-1]))
                seen.append(self.equity - self.cash - self.position().size * self.bars().close[-1])

    class Twice:
        def update(self, close):
            return 2 * close

    nb.backtest(week, Look, derived=("1h",))
    before = [week.close.iloc[12], week.close.iloc[19]]
    assert seen[::2] == [(close, 2 * close, 2 * close, close) for close in before]
    assert seen[1::2] == pytest.approx([0, 0], abs=1e-6)


def test_an_end_that_no_bar_comes_with_is_told_before_the_next_bar(week: pd.DataFrame):
    """Its last bars are missing: now is the close all the same, and its orders fill at the next session's open."""

    class Late(AtTheOpen):
        def on_session_start(self, date):
            if date == HALF:
                self.buy(size=1)

        def on_session_end(self, date):
            self.note("end", date)
            super().on_session_end(date)

    late = Late()
    gappy = week[week.index != "2024-11-29 12:30"]
    result = nb.backtest(gappy, late)
    assert told(late, "end")[1] == (HALF, "29 13:00", 19)
    (buy, sell) = result.record.fills
    assert (buy.price, sell.price) == (week.open["2024-11-29 09:30"], week.open["2024-12-02 09:30"])


def test_where_the_bars_are_over_the_session_ends_with_them(week: pd.DataFrame):
    """Before `on_stop`, with now as the last bar left it."""
    diary = Diary()
    nb.backtest(week.iloc[:5], diary)
    assert diary.diary[-2:] == [("end", dt.date(2024, 11, 27), "27 12:00", 5), ("stop", None, "27 12:00", 5)]


def test_a_run_that_is_stopped_ends_no_session(week: pd.DataFrame):
    """It only has an `on_stop`."""
    diary, system = Diary(), nb.SystemManager()
    system.start({"exchange": "XNYS"}, data=week, strategies=diary, paused=True)
    system.step(4)
    system.stop()
    assert [row[0] for row in diary.diary] == ["start", "bar", "bar", "bar", "bar", "stop"]


def test_a_run_that_begins_inside_a_session_starts_it_there(week: pd.DataFrame):
    """Now is the beginning of the first bar, which is later than the open."""
    diary = Diary()
    nb.backtest(week.iloc[4:], diary)
    assert diary.diary[:2] == [("start", dt.date(2024, 11, 27), "27 11:30", 0), ("bar", None, "27 12:00", 1)]


def test_sessions_without_a_bar_are_not_told_of(week: pd.DataFrame):
    """A whole session is missing from the data, and a warm-up is over."""
    diary = Diary()
    nb.backtest(week[week.index.date != HALF], diary)
    assert [row[0].day for row in told(diary, "start")] == [27, 2]
    warm = {"backtest": {"start_date": "2024-11-29"}, "data": {"warmup_days": 1}}
    diary = Diary()
    nb.backtest(week, diary, config=warm)
    assert told(diary, "start")[0] == (HALF, "29 09:30", 13)


def test_several_symbols_are_one_session(week: pd.DataFrame):
    """It starts once, before the first symbol's first bar, and ends once, after the last symbol's last one."""
    diary = Diary()
    nb.backtest({"A": week.iloc[2:], "B": week}, diary, derived=("1h",))
    assert [row[:2] for row in told(diary, "start")][:2] == [(dt.date(2024, 11, 27), "27 09:30"), (HALF, "29 09:30")]
    kinds = [row[0] for row in diary.diary]
    first = kinds.index("end")
    assert kinds[first - 4 : first + 2] == ["bar", "bar", "bar", "bar", "end", "start"]


def test_a_market_that_never_closes_ends_and_starts_at_midnight():
    """Both at one instant, after its bars: the end of a day, then the start of the next, told with its first bar."""
    index = pd.date_range("2024-03-02 12:00", "2024-03-04 12:00", freq="6h", tz="UTC", inclusive="left")
    frame = pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}, index=index)
    diary = Diary()
    nb.backtest(frame, diary, config={"exchange": "24/7"})
    assert told(diary, "start", "end") == [
        ("start", dt.date(2024, 3, 2), "02 12:00", 0), ("end", dt.date(2024, 3, 2), "03 00:00", 2),
        ("start", dt.date(2024, 3, 3), "03 00:00", 2), ("end", dt.date(2024, 3, 3), "04 00:00", 6),
        ("start", dt.date(2024, 3, 4), "04 00:00", 6), ("end", dt.date(2024, 3, 4), "04 12:00", 8),
    ]  # fmt: skip


def test_daily_bars_are_a_session_each():
    """By the exchange's hours where one is named, else by dates; an order at its start fills at its open."""
    frame = days(5)
    for config, open_, close in (({"exchange": "XNYS"}, "09:30", "16:00"), ({}, "00:00", "00:00")):

        class Buys(Diary):
            def on_session_start(self, date):
                super().on_session_start(date)
                self.note(f"{self.now:%H:%M}")
                if len(self.bars()) == 2:
                    self.buy(size=1)

        diary = Buys()
        result = nb.backtest(frame.tz_localize("America/New_York"), diary, config=config)
        assert [row[0] for row in told(diary, "start")] == [stamp.date() for stamp in frame.index]
        assert [row[0] for row in told(diary, "end")] == [stamp.date() for stamp in frame.index]
        assert {row[1][3:] for row in told(diary, "start")} == {open_}
        assert {row[1][3:] for row in told(diary, "end")} == {close}
        assert result.record.fills[0].price == frame.open.iloc[2]


def test_naive_dates_are_the_sessions_own():
    """Now is the session's date at its start and at its end."""
    diary = Diary()
    nb.backtest(days(5), diary)
    assert {f"{date:%d} 00:00" == now for date, now, _ in told(diary, "start") + told(diary, "end")} == {True}


def test_where_no_calendar_fits_a_session_is_a_local_date():
    """Daily bars of a Saturday are no session of New York's: every date is one."""
    frame = days(4)
    frame.index = pd.date_range("2024-03-01", periods=4)
    diary = Diary()
    nb.backtest(frame, diary, config={"exchange": "24/7"})
    assert [row[0] for row in told(diary, "start")] == [stamp.date() for stamp in frame.index]
    diary = Diary()
    run(diary, series_of(flat([1, 2, 3])))
    assert told(diary, "start", "end") == [
        ("start", dt.date(2024, 1, 2), "02 14:30", 0), ("end", dt.date(2024, 1, 2), "02 14:33", 3)
    ]  # fmt: skip


def test_bars_that_have_no_sessions_are_refused(week: pd.DataFrame):
    """Those longer than a day, and those that mostly lie where the exchange is closed; others run without telling."""
    weekly = days(60).resample("W-FRI").agg({"open": "first", "high": "max", "low": "min", "close": "last"})
    with pytest.raises(ScheduleError, match="bars of 1w are longer than a session"):
        nb.backtest(weekly, Diary)
    london = week.copy()
    london.index = london.index.tz_localize(None).tz_localize("Asia/Tokyo")
    with pytest.raises(DataError, match="33 of 33 bars lie outside the sessions of XNYS.*set exchange in the config"):
        nb.backtest(london, Diary)


# -- schedules ----------------------------------------------------------------------------------------------


class Planned(Diary):
    """Schedules what its plan says: name to terms."""

    plan: dict

    def on_start(self):
        super().on_start()
        self.handles = {name: self.schedule(self.named(name), **terms) for name, terms in self.plan.items()}

    def named(self, name):
        return lambda: self.note(name)


def planned(frame: pd.DataFrame, plan: dict, **settings) -> Planned:
    strategy = Planned(plan=plan)
    nb.backtest(frame, strategy, **settings)
    return strategy


def test_a_call_comes_after_the_callbacks_of_its_instant(week: pd.DataFrame):
    """At its time where a bar completes then, else with the next bar; and in the order of times, then of schedules."""
    plan = {"late": {"before_close": 30}, "b": {"at": "10:00"}, "a": {"at": "10:00"}, "odd": {"at": "12:10"}}
    strategy = planned(week, plan)
    assert told(strategy, "late") == [(None, "27 15:30", 12), (None, "29 12:30", 19), (None, "02 15:30", 32)]
    assert told(strategy, "odd") == [(None, "27 12:30", 6), (None, "29 12:30", 19), (None, "02 12:30", 26)]
    kinds = [row[0] for row in strategy.diary]
    assert kinds[:5] == ["start", "bar", "b", "a", "bar"]
    friday = kinds.index("late", kinds.index("late") + 1)
    assert kinds[friday - 2 : friday + 3] == ["bar", "odd", "late", "bar", "end"]
    assert strategy.handles["late"].calls == 3


def test_a_call_at_the_close_comes_before_the_end(week: pd.DataFrame):
    """So does one whose time no bar completes at: once a session, whatever is missing."""
    gappy = week[week.index != "2024-11-29 12:30"]
    strategy = planned(gappy, {"x": {"before_close": 0}, "y": {"before_close": 20}})
    assert told(strategy, "y", "x", "end")[3:6] == [
        ("y", None, "29 13:00", 19), ("x", None, "29 13:00", 19), ("end", HALF, "29 13:00", 19)
    ]  # fmt: skip


def test_some_sessions_alone(week: pd.DataFrame):
    """The last session of a month and the first of a week, by the exchange's calendar."""
    strategy = planned(
        week, {"m": {"after_open": 0, "every": "month_end"}, "w": {"at": "10:00", "every": "week_start"}}
    )
    assert told(strategy, "m") == [(None, "29 10:00", 14)]
    assert told(strategy, "w") == [(None, "02 10:00", 21)]
    daily = synthetic.bars("EXE", "2024-03-01", "2024-05-31", interval="1d")["EXE"]
    assert [row[1] for row in told(planned(daily, {"m": {"after_open": 0, "every": "month_end"}}), "m")] == [
        "29 00:00", "01 00:00", "01 00:00"
    ]  # fmt: skip


def test_a_cancelled_call_comes_no_more(week: pd.DataFrame):
    """Also one that was due at the same instant."""

    class Cancels(Planned):
        def on_bar(self, bar):
            if len(self.bars()) == 14:
                self.handles["x"].cancel()

    strategy = Cancels(plan={"x": {"after_open": 0}, "y": {"after_open": 0}})
    nb.backtest(week, strategy)
    assert (len(told(strategy, "x")), len(told(strategy, "y"))) == (1, 3)


def test_orders_of_a_call_fill_at_the_next_bar(week: pd.DataFrame):
    """As any order does that is decided at an instant."""

    class Flat(nb.Strategy):
        def on_start(self):
            self.schedule(lambda: self.buy(size=1), after_open=30)
            self.schedule(self.close, before_close=30)

    prices = [fill.price for fill in nb.backtest(week, Flat).record.fills]
    stamps = ["2024-11-27 10:00", "2024-11-27 15:30", "2024-11-29 10:00", "2024-11-29 12:30", "2024-12-02 10:00",
              "2024-12-02 15:30"]  # fmt: skip
    assert prices == [week.open[stamp] for stamp in stamps]


def test_a_time_inside_a_lunch_break_is_its_first_bar_after():
    """Noon in Tokyo."""
    tokyo = synthetic.bars("EXE", "2024-09-02", "2024-09-03", interval="30m", exchange="XTKS")["EXE"]
    strategy = planned(tokyo, {"noon": {"at": "12:00"}}, config={"exchange": "XTKS"})
    assert [row[1] for row in told(strategy, "noon")] == ["02 13:00", "03 13:00"]


def test_schedules_are_made_in_on_start(week: pd.DataFrame):
    """Later, and outside of a run, they are refused with the cure."""

    class Late(nb.Strategy):
        def on_bar(self, bar):
            self.schedule(self.close, at="15:00")

    with pytest.raises(StrategyError, match="belongs in on_start; call it there, once"):
        nb.backtest(week, Late)
    with pytest.raises(nb.NbBacktestError, match="isn't in a run yet"):
        Late().schedule(print, at="15:00")
    with pytest.raises(
        StrategyError, match="Planned.on_start raised: ScheduleError: .*no session of this run has that"
    ):
        planned(week, {"x": {"at": "17:00"}})


# -- failures, and what it costs others ---------------------------------------------------------------------


class Fails(Diary):
    """Raises in one of its callbacks."""

    where: str

    def on_start(self):
        super().on_start()
        self.schedule(self.planned, at="10:00")

    def planned(self):
        self.note("planned")

    def note(self, what, date=None):
        super().note(what, date)
        if what == self.where:
            raise ValueError("boo")


@pytest.mark.parametrize(
    ("where", "callback", "bars"),
    [("start", "on_session_start", 1), ("end", "on_session_end", 13), ("planned", "planned", 1)],
)
def test_failures_name_the_callback_and_spare_the_others(week: pd.DataFrame, where: str, callback: str, bars: int):
    """The run fails at that instant, after the other strategies were told; the time is the session's."""
    other = Diary()
    with pytest.raises(StrategyError, match=f"Fails.{callback} raised: ValueError: boo") as caught:
        nb.backtest(week, [Fails(where=where), other])
    assert caught.value.time is not None
    assert caught.value.result.stats["bars"] == bars
    if where != "planned":
        assert where in [row[0] for row in other.diary]


@pytest.mark.parametrize("where", ["start", "planned", "end"])
def test_a_failure_can_hold_the_run(week: pd.DataFrame, where: str):
    """With `on_error` it pauses there, and goes on as if nothing had been: every session is told of."""
    diary, system, paused = Fails(where=where), nb.SystemManager(), threading.Semaphore(0)
    system.on_state(lambda state: paused.release() if state is nb.SystemState.PAUSED else None)
    system.start({"exchange": "XNYS", "on_error": "pause"}, data=week, strategies=diary)
    for _ in range(3):
        assert paused.acquire(timeout=10)
        assert isinstance(system.error, StrategyError)
        assert json.loads(system.to_json())["error"]["callback"] == system.error.callback
        system.resume()
    system.wait(timeout=10)
    assert [len(told(diary, what)) for what in ("start", "planned", "end")] == [3, 3, 3]
    assert len(told(diary, "bar")) == len(week)


def test_a_run_without_sessions_has_no_session_events():
    """Who neither overrides a callback nor schedules anything pays nothing: no calendar, no handler, nothing pending."""

    class Plain(nb.Strategy):
        def on_bar(self, bar):
            self.seen = self.now

    def unwanted():
        raise AssertionError("the calendar was asked for")

    plain, series = Plain(), series_of(flat([1, 2, 3]))
    desk = desk_for(plain, series, sessions=unwanted)
    desk.start()
    assert desk.pending is desk.broker.pending
    assert desk.handlers(series) == (plain.on_bar,)
    desk.stop()
    diary = Diary()
    desk = desk_for(diary, series_of(flat([1, 2, 3])))
    desk.start()
    assert isinstance(desk.pending, PendingEvents)
    desk.stop()


def test_few_instants_are_pending():
    """Settling happens where a session starts or ends or something is due, and nowhere else."""
    strategy, series = Planned(plan={"x": {"at": "14:40"}}), series_of(flat(range(1, 31)))
    desk = desk_for(strategy, series)
    matched, match_orders = [], desk.match_orders
    desk.match_orders = lambda bars: (matched.append(desk.index), match_orders(bars))
    run_inline(desk, series)
    assert matched == [0, 9]
    assert told(strategy, "x") == [(None, "02 14:40", 10)]
    assert np.array_equal(desk.instants, series.columns.end)


def test_the_look_ahead_audit_clears_it():
    """Runs on data cut short have the same orders up to the cut."""

    class Sessions(nb.Strategy):
        def on_start(self):
            self.schedule(self.close, before_close=3)

        def on_session_start(self, date):
            if len(self.bars()):
                self.buy(size=1, limit=self.bars().close[-1])

        def on_session_end(self, date):
            self.sell(size=1)

    data = pd.concat([minutes(120), minutes(100, seed=2, start="2024-10-04 14:21")])
    assert nb.audit_lookahead(data, Sessions, cuts=8).clear
