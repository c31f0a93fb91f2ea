"""Tables as people have them: what has one meaning is read, and what is advised about the rest, done literally, works."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import nbbacktest as nb

ROWS = "10,11,9,10.5,100"
HEAD = "Date,Open,High,Low,Close,Volume\n"
NEW_YORK = {"timezone": "America/New_York", "data": {"stamp": "open"}}
DAYS = pd.bdate_range("2024-10-01", periods=5)
BASE = pd.DataFrame({"Open": 10.0, "High": 11.0, "Low": 9.0, "Close": 10.5, "Volume": 100.0}, index=DAYS)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def bars(data: Any, config: dict[str, Any] | None = None) -> list[tuple[str, str, float]]:
    """What a run sees: symbol, stamp and close of each base bar."""
    seen = []

    class Look(nb.Strategy):
        def on_bar(self, bar):
            seen.append((bar.symbol, str(bar.time), bar.close))

    nb.backtest(data, Look, config=config)
    return seen


def csv(text: str, config: dict[str, Any] | None = None) -> list[tuple[str, str, float]]:
    Path("X.csv").write_text(text, encoding="utf-8")
    return bars("X.csv", config)


def refusal(data: Any, config: dict[str, Any] | None = None) -> str:
    with pytest.raises(nb.DataError) as caught:
        bars(data, config)
    return str(caught.value)


WANTED = [("X", "2024-10-01 00:00:00", 10.5), ("X", "2024-10-02 00:00:00", 10.5)]
MINUTES = [("X", "2024-10-01 09:30:00-04:00", 10.5), ("X", "2024-10-01 09:31:00-04:00", 10.5)]


@pytest.mark.parametrize(
    "text",
    [
        HEAD + f"20241001,{ROWS}\n20241002,{ROWS}\n",
        HEAD + f"2024/10/01,{ROWS}\n2024/10/02,{ROWS}\n",
        HEAD + f"2024.10.01,{ROWS}\n2024.10.02,{ROWS}\n",
        (HEAD + f"2024-10-01,{ROWS}\n2024-10-02,{ROWS}\n").replace(",", ";"),
        (HEAD + f"2024-10-01,{ROWS}\n2024-10-02,{ROWS}\n").replace(",", "\t"),
        HEAD.replace(",", ";") + "2024-10-01;10,0;11,0;9,0;10,5;100\n2024-10-02;10,0;11,0;9,0;10,5;100\n",
        HEAD + '2024-10-01,"10,0","11,0","9,0","10,5",100\n2024-10-02,"10,0","11,0","9,0","10,5",100\n',
        HEAD + '2024-10-01,10.0,11.0,9.0,10.5,"1,000"\n2024-10-02,10.0,11.0,9.0,10.5,"1,000"\n',
        "<TICKER>,<DATE>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>\nX,20241001,10,11,9,10.5,1\nX,20241002,10,11,9,10.5,1\n",
    ],
)
def test_days_that_are_written_in_one_way_are_read(text: str):
    """Compact dates, the year first with any sign, other separators, decimal commas, thousands in volumes."""
    assert csv(text) == WANTED
    frame = pd.read_csv("X.csv") if "," in text.splitlines()[0] and '"' not in text else None
    if frame is not None:
        assert bars(frame, {"data": {"symbols": ["X"]}}) == WANTED


@pytest.mark.parametrize(
    ("date", "first", "second"),
    [
        ("2024-10-01", "09:30", "09:31"),
        ("20241001", "09:30:00", "09:31:00"),
        ("2024.10.01", "9:30:00", "9:31:00"),
        ("20241001", "093000", "093100"),
    ],
)
def test_dates_and_times_in_two_columns_are_read(date: str, first: str, second: str):
    """In a file, and in what pandas reads of it."""
    head = "Date,Time,Open,High,Low,Close,Volume\n"
    assert csv(head + f"{date},{first},{ROWS}\n{date},{second},{ROWS}\n", NEW_YORK) == MINUTES
    config = NEW_YORK | {"data": {"symbols": ["X"]}}
    assert bars(pd.read_csv("X.csv"), config) == MINUTES


def test_times_of_day_that_may_be_hours_and_minutes_are_refused():
    """930 may be 09:30 or 00:09:30; written with colons it is read."""
    head = "Date,Time,Open,High,Low,Close,Volume\n"
    text = head + f"20241001,930,{ROWS}\n20241001,931,{ROWS}\n"
    with pytest.raises(nb.DataError, match="column 'Time' holds numbers, the first is 930"):
        csv(text, NEW_YORK)
    assert csv(text.replace("930", "09:30").replace("931", "09:31"), NEW_YORK) == MINUTES


def test_the_names_of_columns_say_how_times_are_written():
    """Dukascopy's are day first, in GMT, or with their offset."""
    head = "Gmt time,Open,High,Low,Close,Volume\n"
    text = head + f"01.10.2024 00:00:00.000,{ROWS}\n01.10.2024 00:01:00.000,{ROWS}\n"
    wanted = [("X", "2024-10-01 00:00:00+00:00", 10.5), ("X", "2024-10-01 00:01:00+00:00", 10.5)]
    assert csv(text, {"data": {"stamp": "open"}}) == wanted
    local = text.replace("Gmt", "Local").replace(".000,", ".000 GMT+0200,")
    assert csv(local, {"data": {"stamp": "open"}}) == [(s, t.replace("+00:", "+02:"), c) for s, t, c in wanted]


def test_yahoos_tables_are_read_either_way_round():
    """Files with three lines of header, and frames with tickers on either level; one ticker or several."""
    one = "Price,Close,High,Low,Open,Volume\nTicker,A,A,A,A,A\nDate,,,,,\n2024-10-01,10.5,11,9,10,100\n2024-10-02,10.5,11,9,10,100\n"
    assert csv(one) == [("A", t, c) for _, t, c in WANTED]
    assert csv(one, {"data": {"symbols": ["A"]}}) == [("A", t, c) for _, t, c in WANTED]
    two = pd.concat([BASE, BASE * 2], axis=1, keys=["AAPL", "MSFT"], names=["Ticker", "Price"])
    two.loc[DAYS[2], "MSFT"] = np.nan  # a holiday of its own
    two.rename_axis(index="Date").to_csv("X.csv")
    for data in (two, two.swaplevel(axis=1).sort_index(axis=1), "X.csv"):
        seen = bars(data)
        assert [c for s, _, c in seen if s == "AAPL"] == [10.5] * 5
        assert [c for s, _, c in seen if s == "MSFT"] == [21.0] * 4
        assert {s for s, _, _ in bars(data, {"data": {"symbols": ["MSFT"]}})} == {"MSFT"}
    assert "none of 'MSTF'; did you mean 'MSFT'" in refusal("X.csv", {"data": {"symbols": ["MSTF"]}})


def test_long_tables_are_read():
    """By an index of symbol and date, in both orders, by columns, and from files."""
    long = pd.concat({"A": BASE, "B": BASE * 2}, names=["symbol", "date"])
    long.reset_index().to_csv("X.csv", index=False)
    long.reset_index().to_parquet("X.parquet")
    wanted = bars({"A": BASE, "B": BASE * 2})
    for data in (
        long,
        long.swaplevel().sort_index(),
        long.reset_index("symbol"),
        long.reset_index(),
        "X.csv",
        "X.parquet",
    ):
        assert bars(data) == wanted
        assert bars(data, {"data": {"symbols": ["B"]}}) == [row for row in wanted if row[0] == "B"]


def test_a_symbol_that_was_renamed_is_not_two():
    """Where no two rows have one time the advice makes two symbols of it, or leaves the column out."""
    frame = BASE.assign(ticker=["FB"] * 2 + ["META"] * 3)
    message = refusal(frame)
    assert "names 2 symbols (FB, META) and no two rows have one time" in message
    advice = re.search(r"dict\(list\(frame\.groupby\('ticker'\)\)\)", message)
    assert advice is not None
    assert {s for s, _, _ in bars(eval(advice[0], {"frame": frame}))} == {"FB", "META"}
    assert len(bars(frame.drop(columns="ticker"))) == 5


def test_volume_that_is_nowhere_is_none():
    """A column without a value is no column; one with holes says what to do."""
    assert bars(BASE.assign(Volume=np.nan)) == bars(BASE.drop(columns="Volume"))
    holes = BASE.assign(Volume=[1, np.nan, np.nan, 1, 1])
    message = refusal(holes)
    assert 'leave out the column, frame.drop(columns="volume")' in message
    assert len(bars(holes.rename(columns=str.lower).drop(columns="volume"))) == 5


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("10,0", 10.0), ("1,010", None), ("1,010.0", 1010.0), ("1.010,5", 1010.5), ("10", 10.0), ("9.5", 9.5)],
)
def test_numbers_that_are_text_have_a_cure(value: str, wanted: float | None):
    """It is one line of Python, and it makes the number that was meant; where two may be meant both are told."""
    frame = BASE.assign(**{name: [value] * 5 for name in ("Open", "High", "Low", "Close")})
    for name in ("Open", "High", "Low", "Close"):
        message = refusal(frame)
        assert f"column {name!r} holds" in message
        advice = re.search(r"frame\['\w+'\] = .*?(?=$|, which|; where)", message)
        assert advice is not None, message
        exec(advice[0], {"pd": pd, "frame": frame})
        if wanted is None:
            assert f"frame[{name!r}] = " in message
            assert '.str.replace(",", "")' in message
    assert [close for *_, close in bars(frame)] == [1.01 if wanted is None else wanted] * 5


@pytest.mark.parametrize(("sign", "wanted"), [(",", 1.01), (".", 1010.0)])
def test_what_commas_mean_can_be_said(sign: str, wanted: float):
    """Where it can't be known the message names the key."""
    text = HEAD.replace(",", ";") + "2024-10-01;1,010;1,010;1,010;1,010;100\n"
    with pytest.raises(nb.DataError, match="set data.decimal in the config to"):
        csv(text)
    assert csv(text, {"data": {"decimal": sign}}) == [("X", "2024-10-01 00:00:00", wanted)]


def test_another_separator_can_be_said():
    """Where it isn't seen the message names the key."""
    text = "Date Open High Low Close\n2024-10-01 10 11 9 10.5\n2024-10-02 10 11 9 10.5\n"
    with pytest.raises(nb.DataError, match="set data.separator in the config"):
        csv(text)
    assert csv(text, {"data": {"separator": " "}}) == WANTED


@pytest.mark.parametrize(
    ("stamps", "config"),
    [
        ([1727789400, 1727789460], NEW_YORK),
        ([1727789400000, 1727789460000], NEW_YORK),
        ([1727789400000000, 1727789460000000], NEW_YORK),
        ([1727789400000000000, 1727789460000000000], NEW_YORK),
        ([45566, 45567], None),
        ([45566.3958333333, 45566.3965277778], NEW_YORK),
    ],
)
@pytest.mark.parametrize("name", ["Date", "Unix", None])
def test_numbers_have_a_cure_by_their_size(stamps: list[float], config: Any, name: str | None):
    """Seconds and their parts since 1970, and Excel's days; followed, it gives the times that were meant."""
    frame = BASE[:2].set_axis(pd.Index(stamps, name=name or "x"))
    frame = frame.reset_index() if name else frame
    message = refusal(frame, config)
    if "use the column that holds them" in message or "of which there are as many" in message:
        frame = frame.set_index(name)
        message = refusal(frame, config)
    exec(message.partition("example with ")[2], {"pd": pd, "frame": frame})
    if name == "Unix" and "Unix" in frame.columns:
        frame = eval(refusal(frame, config).rpartition(": ")[2], {"frame": frame})
    seen = bars(
        frame, {"timezone": "America/New_York", "data": {"symbols": ["X"]}} if config else {"data": {"symbols": ["X"]}}
    )
    assert seen == (MINUTES if config else WANTED)


def test_days_first_or_months_first_are_not_guessed():
    """Each of the two formats that are told reads the dates."""
    text = HEAD + f"01/10/2024,{ROWS}\n02/10/2024,{ROWS}\n"
    Path("X.csv").write_text(text, encoding="utf-8")
    message = refusal("X.csv")
    formats = re.findall(r"format='([^']+)'", message)
    assert formats == ["%d/%m/%Y", "%m/%d/%Y"]
    frame = pd.read_csv("X.csv")
    exec(re.search(r"in Python (frame.*?\))", message)[1], {"pd": pd, "frame": frame})
    assert bars(frame, {"data": {"symbols": ["X"]}}) == WANTED


def test_an_hour_that_clocks_repeat_is_told_by_order_or_by_its_offset():
    """Both copies in order need no guess; all other rows are never to be thrown away."""
    index = pd.date_range("2024-10-27", "2024-10-27 05:00", freq="15min", tz="Europe/Berlin")
    frame = pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}, index=index)
    config = {"timezone": "Europe/Berlin", "exchange": "24/7"}
    wanted = bars(frame, config)
    assert len(wanted) == len(index)
    naive = frame.tz_localize(None)
    assert bars(naive, config) == wanted
    unsaid = refusal(naive)
    assert "set data.timezone in the config" in unsaid
    assert "duplicated" not in unsaid
    assert bars(naive, {"exchange": "24/7", "data": {"timezone": "Europe/Berlin"}}) == wanted
    one_copy = naive[~naive.index.duplicated()]
    message = refusal(one_copy, config)
    assert "duplicated" not in message
    assert "give stamps in UTC or with their offset" in message
    assert bars(frame[~naive.index.duplicated()].tz_convert("UTC"), config)
    mixed = pd.concat([naive[:9], naive[10:11], naive[9:10], naive[11:12], naive[9:10], naive[12:]])
    assert "all these bars are real" in refusal(mixed, config)


def test_rows_that_are_off_the_grid_have_a_cure():
    """It drops that row, or sets the length."""
    index = pd.DatetimeIndex([f"2024-10-0{d} {h}:30" for d in (1, 2, 3) for h in range(10, 16)], tz="America/New_York")
    frame = pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}, index=index)
    stray = pd.concat([frame, frame[:1].set_axis(index[-1:] + pd.Timedelta("17min23s"))])
    message = refusal(stray)
    assert "row 18, 2024-10-03 15:47:23-04:00, and lies inside the bar before it" in message
    advice = re.search(r"frame\.drop\(frame\.index\[\d+\]\)", message)
    assert len(bars(eval(advice[0], {"frame": stray}))) == 18
    for faults in ("warn", "drop"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if faults == "warn" else "error", nb.DataQualityWarning)
            assert bars(stray, {"data": {"quality": {"faults": faults}}}) == bars(frame)


def test_disorder_has_a_cure():
    """Sorting sorts, a mistyped year is dropped, doubles are kept once."""
    frame = BASE.set_axis(DAYS).assign(Close=[10.1, 10.2, 10.3, 10.4, 10.5])
    many = pd.concat(
        [frame.set_axis(pd.bdate_range("2023-01-02", periods=5) + pd.Timedelta(weeks=w)) for w in range(20)]
    )
    for data, count in (
        (many[::-1], 100),
        (many.sample(frac=1, random_state=1), 100),
        (many.set_axis(many.index.where(np.arange(100) != 50, pd.Timestamp("2099-01-02"))), 99),
        (pd.concat([many[:30], many[29:30], many[30:]]), 100),
        (pd.concat([many[:30], many[9:10], many[30:]]), 100),
        (many.set_axis(many.index.where(np.arange(100) != 50, pd.NaT)), 99),
    ):
        advice = re.search(r"frame(\.\w+\([^;,]*?\)|\[.*\])(?=$|,| or)", refusal(data))
        assert advice is not None, refusal(data)
        assert len(bars(eval(advice[0], {"frame": data}))) == count
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(bars(data, {"data": {"quality": {"faults": "drop"}}})) == count
        with pytest.warns(nb.DataQualityWarning):
            assert len(bars(data, {"data": {"quality": {"faults": "warn"}}})) == count


def test_an_index_without_times_says_where_they_may_be():
    """A column that holds them, text or datetimes, or none at all."""
    for column in (DAYS, DAYS.strftime("%Y-%m-%d")):
        frame = BASE.reset_index(drop=True).assign(when=column)
        advice = refusal(frame).rpartition(": ")[2]
        assert len(bars(eval(advice, {"pd": pd, "frame": frame}))) == 5
    frame = BASE.reset_index(drop=True)
    exec(
        re.search(r"frame\.index = pd\.to_datetime\(times\)", refusal(frame))[0],
        {"pd": pd, "frame": frame, "times": list(DAYS)},
    )
    assert len(bars(frame)) == 5
    periods = BASE.set_axis(DAYS.to_period("D"))
    assert len(bars(eval(refusal(periods).rpartition("with ")[2], {"frame": periods}))) == 5


def test_levels_that_say_nothing_have_a_cure():
    """Three levels of columns or of index: the advised selection is one symbol's bars."""
    three = BASE.set_axis(pd.MultiIndex.from_product([BASE.columns, ["AAPL"], ["USD"]]), axis=1)
    selected = eval(re.search(r"frame\.xs\(.*\)$", refusal(three))[0], {"frame": three})
    assert len(bars(selected)) == 5
    rows = pd.concat({("A", "x"): BASE})
    selected = eval(re.search(r"frame\.xs\(.*\)$", refusal(rows))[0], {"frame": rows})
    assert len(bars(selected)) == 5
