"""What a refused config is told: where, which value, and the cure, one line for each problem."""

from __future__ import annotations

import copy

import pytest

from nbbacktest.core.config import EXAMPLE, SessionConfig
from nbbacktest.core.errors import ConfigError


def changed(path: str, value: object) -> dict:
    config = copy.deepcopy(EXAMPLE)
    *sections, key = path.split(".")
    at = config
    for section in sections:
        at = at[int(section)] if isinstance(at, list) else at.setdefault(section, {})
    if value is ...:
        del at[key]
    else:
        at[key] = value
    return config


FRACTION = "(fraction of the notional, 0.001 is 0.1%)"
TABLE = [
    ("sesion_name", "x", "sesion_name = 'x': is not a known key; did you mean 'session_name'?"),
    ("data.simbols", ["A"], "data.simbols = ['A']: is not a known key; did you mean 'symbols'?"),
    ("strategies.0.klass", "x", "strategies.0.klass = 'x': is not a known key; did you mean 'class'?"),
    ("strategies.0.class", ..., "strategies.0.class = (missing): is required; add it (module:Name, __main__:Name included)"),
    ("strategies.0.class", "SmaCross", "strategies.0.class = 'SmaCross': write module:Name, such as 'nbbacktest.strategies:SmaCross'"),
    ("strategies.0.params", [1], "strategies.0.params = [1]: must be a mapping of keys to values (values for the class's parameters)"),
    ("strategies.0.symbols", ["EX"], "strategies.0.symbols = 'EX': is not in data.symbols; did you mean 'EXE'?"),
    ("strategies.0.symbols", [], "strategies.0.symbols = []: must name at least one (null: all the session's symbols)"),
    ("strategies.0.symbols", ["SW", "SW"], "strategies.0.symbols = ['SW', 'SW']: SW is named twice; name each symbol once"),
    ("strategies", "x:Y", "strategies = 'x:Y': must be a list; put it in brackets: [\"x:Y\"]"),
    ("strategies", {"class": "x:Y"}, "strategies = {'class': 'x:Y'}: must be a list; put it in brackets"),
    ("data.actions", 5, "data.actions = 5: must be a list; put it in brackets"),
    ("data.actions", [{"kind": "x", "date": "2024-10-03", "value": 2}], "data.actions.0.kind = 'x': must be 'split', 'dividend' or 'delist'"),
    ("broker.commission.rat", 1, "broker.commission.rat = 1: is not a known key; did you mean 'rate'?"),
    ("broker.commission.rate", ..., f"broker.commission.rate = (missing): is required; add it {FRACTION}"),
    ("broker.commission.rate", 1.5, f"broker.commission.rate = 1.5: must be less than 1 {FRACTION}"),
    ("broker.commission.rate", "a", f"broker.commission.rate = 'a': must be a number {FRACTION}"),
    ("broker.commission.model", "persent", "broker.commission.model = 'persent': must be 'none', 'percent', 'per_share', 'per_trade', 'per_contract', 'maker_taker', 'tiered' or 'callable'; did you mean 'percent'?"),
    ("broker.commission.model", 3, "broker.commission.model = 3: must be 'none', 'percent', 'per_share', 'per_trade', 'per_contract', 'maker_taker', 'tiered' or 'callable'"),
    ("broker.commission.model", ..., "broker.commission.model = (missing): is required; add it: 'none', 'percent', 'per_share', 'per_trade', 'per_contract', 'maker_taker', 'tiered' or 'callable'"),
    ("broker.commission.model", "none", "broker.commission.rate = 0.001: is not a known key; known are: model"),
    ("broker.commission", 0.1, 'broker.commission = 0.1: must be a mapping of keys to values, such as {"model": "percent", "rate": 0.001}'),
    ("broker.slippage.none", 1, "broker.slippage.none = 1: is not a known key; known are: model"),
    ("broker.cash", 0, "broker.cash = 0: must be greater than 0 (starting cash)"),
    ("broker.cash", -5.5, "broker.cash = -5.5: must be greater than 0 (starting cash)"),
    ("broker.cash", "much", "broker.cash = 'much': must be a number (starting cash)"),
    ("broker.cash", True, "broker.cash = True: must be a number (starting cash)"),
    ("broker.cash", None, "broker.cash = None: must be a number (starting cash)"),
    ("broker.cash", float("inf"), "broker.cash = inf: must be a finite number (starting cash)"),
    ("broker.fill", "next_opn", "broker.fill = 'next_opn': must be 'next_open', 'next_close' or 'this_close'; did you mean 'next_open'?"),
    ("mode", "livee", "mode = 'livee': must be 'backtest' or 'live'; did you mean 'live'?"),
    ("on_error", "explode", "on_error = 'explode': must be 'stop' or 'pause'"),
    ("on_error", 1, "on_error = 1: must be 'stop' or 'pause'"),
    ("session_name", "", "session_name = '': must not be empty"),
    ("timezone", "America/NewYork", "timezone = 'America/NewYork': no such time zone; did you mean 'America/New_York'?"),
    ("timezone", "Mars", "timezone = 'Mars': no such time zone; write an IANA name such as 'America/New_York' or 'UTC'"),
    ("metadata", [1], "metadata = [1]: must be a mapping of keys to values (yours; not read)"),
    ("data", None, "data = None: must be a mapping of keys to values"),
    ("data.source", "syntetic", "data.source = 'syntetic': must be 'synthetic', 'csv', 'parquet', 'sample', 'lean', 'yfinance' or module:Name of a DataSource; did you mean 'synthetic'?"),
    ("data.source", "sql", "data.source = 'sql': must be 'synthetic', 'csv', 'parquet', 'sample', 'lean', 'yfinance' or module:Name of a DataSource"),
    ("data.source", "csv", "data.path = None: source 'csv' needs a file; with {symbol} for several"),
    ("data.path", "x.csv", "data.path = 'x.csv': source 'synthetic' reads no file; remove it, or change the source"),
    ("data.stamp", "opne", "data.stamp = 'opne': must be 'open' or 'close'; did you mean 'open'?"),
    ("data.symbols", "EXE", "data.symbols = 'EXE': must be a list; put it in brackets: [\"EXE\"]"),
    ("data.symbols", [], "data.symbols = []: must name at least one (in the order of their callbacks)"),
    ("data.symbols", [1], "data.symbols.0 = 1: must be text (in the order of their callbacks)"),
    ("data.symbols", ["A", "A"], "data.symbols = ['A', 'A']: A is named twice; name each symbol once"),
    ("data.symbols", ["A", ""], "data.symbols = ['A', '']: an empty name is no symbol; remove it"),
    ("data.interval", "1x", "data.interval = '1x': '1x' is no interval; write a whole number and s, m, h or d, such as '1m', '15m', '1d', or '1w', '1mo'"),
    ("data.interval", 1, "data.interval = 1: must be text (length of the base bars)"),
    ("data.interval", "1d", "data.derived_intervals = '5m': can't be built from 1d bars; leave it out, or bring finer bars"),
    ("data.derived_intervals", ["7m", "90s"], "data.derived_intervals = '90s': is not a multiple of interval 1m; use one, such as 5m"),
    ("data.derived_intervals", ["1m"], "data.derived_intervals = '1m': is not a multiple of interval 1m; use one, such as 5m"),
    ("data.derived_intervals", ["2d"], "data.derived_intervals = '2d': is longer than a session; beyond 1d there are 1w and 1mo"),
    ("data.warmup_days", 1.5, "data.warmup_days = 1.5: must be a whole number (sessions loaded before the first, seen but never traded)"),
    ("data.warmup_days", -1, "data.warmup_days = -1: must be at least 0 (sessions loaded before the first, seen but never traded)"),
    ("data.adjusted", "yes", "data.adjusted = 'yes': must be true or false (prices are adjusted for splits and dividends; false: raw prices)"),
    ("backtest.end_date", "2024-10-01", "backtest.end_date = '2024-10-01': is before start_date 2024-10-03; swap or correct them"),
    ("backtest.start_date", "3 October", "backtest.start_date = '3 October': must be a date such as \"2024-10-03\""),
    ("backtest.start_date", "2024-02-30", "backtest.start_date = '2024-02-30': must be a date such as \"2024-10-03\""),
    ("backtest.start_date", 20241003, 'backtest.start_date = 20241003: must be a date such as "2024-10-03"'),
    ("backtest.speed_multiplier", -1, "backtest.speed_multiplier = -1: must be at least 0 (0: data-driven, as fast as it goes; 60: a minute a second)"),
    ("limits.max_open_positions", 0, "limits.max_open_positions = 0: must be at least 1 (symbols held at one time; null: no limit)"),
    ("limits.max_positions", 3, "limits.max_positions = 3: is not a known key; did you mean 'max_open_positions'?"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "words"), TABLE, ids=[f"{row[0]}={row[1]}" for row in TABLE])
def test_a_mistake_is_told_in_one_line(path, value, words):
    """One mistake in an otherwise valid config is one problem, in these words."""
    with pytest.raises(ConfigError) as caught:
        SessionConfig.load(changed(path, value))
    assert [str(problem) for problem in caught.value.problems] == [words]


def test_all_mistakes_are_told_at_once():
    """Mistakes in several places are several problems, each with its own line."""
    config = changed("broker.cash", -1) | {"sesion": "x"}
    config["data"]["interval"] = "1z"
    with pytest.raises(ConfigError, match="session config has 3 problems:") as caught:
        SessionConfig.load(config)
    assert [problem.path for problem in caught.value.problems] == ["data.interval", "broker.cash", "sesion"]


def test_several_files_need_a_place_for_the_symbol():
    """One file for two symbols is refused; for one symbol it is fine."""
    config = changed("data", {"source": "csv", "path": "a.csv", "symbols": ["EXE", "SW"], "stamp": "open"})
    with pytest.raises(ConfigError, match=r"data.path = 'a.csv': is one file for 2 symbols; put \{symbol\} in it"):
        SessionConfig.load(config)
    config["data"]["symbols"] = ["EXE"]
    assert SessionConfig.load(config).data.path == "a.csv"
