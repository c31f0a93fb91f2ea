"""The session config: what is read, from where, how it is laid over, and how it is written again."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nbbacktest.core.config import EXAMPLE, BrokerConfig, PercentCommission, SessionConfig, config_schema
from nbbacktest.core.errors import ConfigError, ConfigNotFoundError

CONTRACT = {
    "session_name": "Example", "mode": "backtest", "exchange": "XNYS", "timezone": "America/New_York",
    "backtest": {"start_date": "2024-10-03", "end_date": "2024-10-10", "speed_multiplier": 0},
    "data": {"source": "csv", "path": "data/{symbol}.csv", "symbols": ["EXE", "SW"],
             "interval": "1m", "stamp": "close", "derived_intervals": ["5m", "15m"], "warmup_days": 5},
    "strategies": [{"class": "nbbacktest.strategies:SmaCross", "symbols": None, "params": {"fast": 10, "slow": 30}}],
    "broker": {"cash": 100000, "commission": {"model": "percent", "rate": 0.001}, "slippage": {"model": "none"},
               "fill": "next_open"},
    "limits": {"max_open_positions": None, "max_per_symbol": None}, "metadata": {"mine": [1, {"deep": True}]},
}  # fmt: skip


def refused(source) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        SessionConfig.load(source)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("source", ["synthetic", "csv", "parquet", "sample"])
@pytest.mark.parametrize("stamp", ["open", "close"])
def test_the_whole_documented_config_is_accepted(source, stamp):
    """Every documented key with every documented source and stamp; what was written comes back."""
    data = CONTRACT["data"] | {"source": source, "stamp": stamp}
    if source in ("synthetic", "sample"):
        data["path"] = None
    config = SessionConfig.load(CONTRACT | {"data": data})
    assert (config.data.source, config.data.stamp, config.data.warmup_days) == (source, stamp, 5)
    assert config.backtest.start_date == date(2024, 10, 3)
    assert config.strategies[0].class_path == "nbbacktest.strategies:SmaCross"
    assert config.broker.commission == PercentCommission(rate=0.001)
    written = config.to_dict()
    for section, values in CONTRACT.items():
        given = data if section == "data" else values
        if isinstance(given, dict) and section != "metadata":
            assert {key: written[section][key] for key in given} == given
        else:
            assert written[section] == given


@pytest.mark.parametrize("as_text", [True, False])
def test_a_file_a_path_and_a_mapping_are_the_same(tmp_path, as_text):
    """A config reads alike from a file, named as text or as a path, and from a mapping; a config is itself."""
    file = tmp_path / "run.json"
    file.write_text(json.dumps(CONTRACT), encoding="utf-8")
    config = SessionConfig.load(str(file) if as_text else file)
    assert config == SessionConfig.load(CONTRACT)
    assert SessionConfig.load(config) is config


def test_defaults_run_nothing_by_themselves():
    """An empty mapping is a config; its defaults are the documented ones."""
    config = SessionConfig.load({})
    assert (config.exchange, config.timezone, config.on_error) == ("XNYS", None, "stop")
    assert (config.broker.cash, config.broker.fill, config.backtest.speed_multiplier) == (100_000.0, "next_open", 0)
    assert (config.strategies, config.metadata, config.data.derived_intervals) == ((), {}, ())


def test_the_example_is_a_config():
    """What runs when nothing is given is valid, and holds two symbols with two derived intervals."""
    config = SessionConfig.load(EXAMPLE)
    assert config.data.symbols == ("EXE", "SW")
    assert config.data.derived_intervals == ("5m", "15m")


def test_python_values_are_taken_as_a_file_would_write_them():
    """Dates, paths, tuples and numpy's numbers in a mapping are as good as their JSON."""
    config = SessionConfig.load({
        "backtest": {"start_date": date(2024, 10, 3), "end_date": pd.Timestamp("2024-10-10")},
        "data": {"source": "csv", "path": Path("a.csv"), "symbols": ("EXE",), "seed": np.int64(3)},
        "broker": {"cash": np.float64(5)},
    })  # fmt: skip
    assert (config.backtest.start_date, config.backtest.end_date) == (date(2024, 10, 3), date(2024, 10, 10))
    assert (config.data.path, config.data.symbols, config.data.seed, config.broker.cash) == ("a.csv", ("EXE",), 3, 5.0)


def test_a_time_of_day_is_no_date():
    """A datetime with a time isn't cut to its date in silence."""
    [problem] = refused({"backtest": {"start_date": datetime(2024, 10, 3, 9, 30)}})
    assert problem == "backtest.start_date = '2024-10-03T09:30:00': must be a date such as \"2024-10-03\""


def test_the_same_length_is_the_same_interval():
    """Another spelling of an interval becomes the usual one, and then counts as named twice."""
    assert SessionConfig.load({"data": {"interval": "60s", "derived_intervals": ["3600s"]}}).data.interval == "1m"
    [problem] = refused({"data": {"derived_intervals": ["5m", "300s"]}})
    assert problem == "data.derived_intervals = ['5m', '5m']: names an interval twice; name each once"


def test_an_interval_that_nobody_set_refuses_nothing():
    """Derived intervals are held against the interval where one was written; else the bars decide, when they come."""
    assert SessionConfig.load({"data": {"derived_intervals": ["30s"]}}).data.derived_intervals == ("30s",)
    [problem] = refused({"data": {"interval": "1m", "derived_intervals": ["30s"]}})
    assert problem == "data.derived_intervals = '30s': is not a multiple of interval 1m; use one, such as 5m"


def test_a_config_can_not_be_changed():
    """Frozen all the way down: a running run can't have its config changed under it."""
    config = SessionConfig.load(CONTRACT)
    for part, name in ((config, "exchange"), (config.broker, "cash"), (config.strategies[0], "params")):
        with pytest.raises(ValidationError):
            setattr(part, name, 1)


def test_laying_over_keeps_what_was_said():
    """Sections are merged key by key, the original stays; what nobody said is still not said."""
    config = SessionConfig.load(CONTRACT)
    laid = config.overlaid({"broker": {"cash": 5}, "session_name": "Other"}, "here")
    assert (laid.broker.cash, laid.session_name) == (5.0, "Other")
    assert laid.broker.commission == config.broker.commission
    assert config.broker.cash == 100_000
    assert config.overlaid({}) is config
    assert SessionConfig.load({}).overlaid({"broker": {"cash": 5}}).model_fields_set == {"broker"}


def test_what_was_set_is_read_back_as_set():
    """Models that were made in Python don't say their name, and are read back all the same."""
    broker = BrokerConfig(commission=PercentCommission(rate=0.1))
    config = SessionConfig(broker=broker, metadata={"model": {"model": 1}})
    again = SessionConfig.load(config.set_values())
    assert (again, again.model_fields_set) == (config, {"broker", "metadata"})
    assert config.overlaid({"broker": {"cash": 5}}).broker.commission == broker.commission


def test_laying_over_is_checked_as_a_whole():
    """A change that doesn't fit the rest is refused under the name of whoever made it."""
    with pytest.raises(ConfigError, match=r"(?s)backtest\(\) has 1 problem:.*derived_intervals = '90s'"):
        SessionConfig.load(CONTRACT).overlaid({"data": {"derived_intervals": ["90s"]}}, "backtest()")


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False), st.integers(0, 2**63))
def test_any_valid_value_survives_writing_and_reading(cash, seed):
    """Reading what was written gives the same config."""
    config = SessionConfig.load({"broker": {"cash": cash}, "data": {"seed": seed}})
    assert SessionConfig.load(json.loads(json.dumps(config.to_dict()))) == config


def test_the_schema_names_every_key():
    """The schema is JSON, says its draft, describes each top-level key, and knows `class` by its JSON name."""
    schema = json.loads(json.dumps(config_schema()))
    assert schema["$schema"].endswith("2020-12/schema")
    assert set(schema["properties"]) == set(CONTRACT) | {
        "day_zone",
        "hours",
        "journal",
        "lag",
        "live",
        "on_error",
        "seed",
        "remote",
    }
    assert schema["additionalProperties"] is False
    assert "class" in schema["$defs"]["StrategyConfig"]["properties"]


# -- files that can't be read -------------------------------------------------------------------------------


def test_a_missing_file_names_the_nearest(tmp_path):
    """No such file: the nearest one there, or that there is none; a FileNotFoundError too."""
    with pytest.raises(FileNotFoundError, match=f"there is no JSON file in {tmp_path}"):
        SessionConfig.load(tmp_path / "run.json")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(
        ConfigNotFoundError, match=r"rnu.json has 1 problem:\n.*no such file; did you mean '.*run.json'\?"
    ):
        SessionConfig.load(str(tmp_path / "rnu.json"))
    with pytest.raises(ConfigNotFoundError, match="there is no JSON file in .*nowhere"):
        SessionConfig.load(tmp_path / "nowhere" / "run.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not JSON: Expecting value at line 1, column 1; correct it there"),
        (b"{\n 'a': 1}", "is not JSON: Expecting property name enclosed in double quotes at line 2, column 2"),
        (b"\xff\xfe", "can't be read: 'utf-8' codec can't decode byte 0xff in position 0"),
        (b"[1]", "(whole) = [1]: a config is a JSON object, a mapping, a path or a SessionConfig"),
        (b'{"broker": {"cash": 1, "cash": 2}}', "cash = 2: the key is there twice; keep one"),
        (b'{"broker": {"cash": NaN}}', "broker.cash = nan: must be a finite number"),
    ],
)
def test_a_file_that_holds_no_config_says_why(tmp_path, content, words):
    """The message begins with the file's path and tells the place in it."""
    file = tmp_path / "run.json"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        SessionConfig.load(file)
    assert str(caught.value).startswith(f"{file} has 1 problem:\n")
    assert words in str(caught.value)


def test_a_folder_is_no_file(tmp_path):
    """A folder's name is refused in one line."""
    [problem] = refused(tmp_path)
    assert problem.endswith("can't be read: Is a directory; name a JSON file")


LOOP: dict = {}
LOOP["metadata"] = LOOP


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (5, "(whole) = 5: a config is a JSON object, a mapping, a path or a SessionConfig"),
        ({"metadata": {"x": {1}}}, "holds what JSON can't: {1} of type set; remove it"),
        (LOOP, "holds what JSON can't: Circular reference detected; remove it"),
        ({1: 2}, "1 = 2: is not a known key; known are: backtest, broker"),
    ],
    ids=["number", "set", "loop", "numeric key"],
)
def test_what_is_no_mapping_of_json_is_refused(source, words):
    """Other objects, and mappings that JSON can't hold, are one problem."""
    [problem] = refused(source)
    assert words in problem


def test_a_strategy_may_trade_some_of_the_symbols():
    """Symbols of the session, each once, are accepted for a strategy."""
    part = CONTRACT["strategies"][0] | {"symbols": ["SW", "EXE"]}
    assert SessionConfig.load(CONTRACT | {"strategies": [part]}).strategies[0].symbols == ("SW", "EXE")


def test_what_editors_write_is_read(tmp_path):
    """A byte order mark, and the schema that the editor completes by."""
    path = tmp_path / "c.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"$schema": "./schema.json", **EXAMPLE}).encode())
    assert SessionConfig.load(path) == SessionConfig.load(EXAMPLE)
    with pytest.raises(ConfigError, match=r"\$schema"):
        SessionConfig.load({"$schema": 1})


def test_a_file_that_is_nested_too_deep_is_refused(tmp_path):
    """In a line, as a mapping is."""
    path = tmp_path / "c.json"
    path.write_text('{"metadata": ' + '{"a":' * 100_000 + "1" + "}" * 100_001, encoding="utf-8")
    with pytest.raises(ConfigError, match="nested too deep"):
        SessionConfig.load(path)


@pytest.mark.parametrize("key", [1, 1.5, True, None])
def test_a_key_that_is_no_text_is_refused(key):
    """JSON would make text of it, and the strategy would look for a key that isn't there."""
    params = {"levels": [{key: 0.5}]}
    with pytest.raises(ConfigError, match=r"strategies.0.params.levels.0.\(key\).*keys are text"):
        SessionConfig.load({"strategies": [{"class": "nbbacktest.strategies:SmaCross", "params": params}]})
