"""The configs that come with the project: each is valid, current, and runs to its end."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

import nbbacktest as nb
from nbbacktest import cli
from nbbacktest.core.config import EXAMPLE, SessionConfig

FOLDER = Path(__file__).parents[2] / "session_configs"
CONFIGS = sorted(path for path in FOLDER.glob("*.json") if path.name != "schema.json")


def bars_of(result: nb.Result) -> dict[str, int]:
    return {symbol: len(columns) for symbol, columns in result.record.bars.items()}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_valid(path, capsys):
    """`validate` accepts each, and says what it is called."""
    assert cli.main(["validate", str(path)]) == 0
    assert json.loads(path.read_text(encoding="utf-8"))["session_name"] in capsys.readouterr().out


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_runs_to_its_end(path):
    """Each runs with its strategies trading, all bars done, no error, and twice alike."""
    settings = SessionConfig.load(path)
    if settings.data.source == "sample" and importlib.util.find_spec("bokeh_sampledata") is None:
        pytest.skip("the sample data isn't installed: pip install 'nbbacktest[samples]'")
    system = nb.SystemManager()
    if path.stem == "example_session":
        system.set_speed(0)  # its own pace is for people
    assert system.start(path, wait=True) is True
    result, status = system.wait(), system.status()
    assert system.error is None
    assert result.symbols == settings.data.symbols
    assert len(result.fills) > 0
    assert result.stats["trades"] > 0
    assert status["session"]["progress"] == 1.0
    assert status["performance_metrics"]["bars_processed"] == result.stats["bars"] == sum(bars_of(result).values())
    assert result.synthetic is (settings.data.source == "synthetic")
    system.set_speed(0)
    system.start(wait=True)
    assert system.wait().fingerprint == result.fingerprint


def test_the_clock_driven_config_is_paced():
    """It takes the time that its speed says: 390 minutes at 20,000 times are 1.17 s from the first bar to the last."""
    system = nb.SystemManager()
    system.start(FOLDER / "clock_driven.json", wait=True)
    status = system.status()
    assert bars_of(system.wait()) == {"EXE": 390}
    assert status["subscriptions"]["coordinator->processor"]["mode"] == "clock-driven"
    assert status["session"]["speed_multiplier"] == 20_000
    assert status["performance_metrics"]["session_duration"] >= 389 * 60 / 20_000


def test_the_daily_config_is_thirteen_years_of_aapl():
    """The demo's figures: 3,270 sessions of adjusted AAPL prices, shown as dates."""
    if importlib.util.find_spec("bokeh_sampledata") is None:
        pytest.skip("the sample data isn't installed: pip install 'nbbacktest[samples]'")
    system = nb.SystemManager()
    system.start(FOLDER / "aapl_daily.json", wait=True)
    result = system.wait()
    assert bars_of(result) == {"AAPL": 3270}
    assert (str(result.equity.index[0].date()), str(result.equity.index[-1].date())) == ("2000-03-01", "2013-03-01")
    assert "adjusted" in result.source


def test_the_example_is_what_runs_when_nothing_is_given():
    """The file and the built-in example are one and the same, but for the file's pace, which is made to be watched."""
    example = json.loads((FOLDER / "example_session.json").read_text(encoding="utf-8"))
    assert example["backtest"].pop("speed_multiplier") == 7200
    assert example == EXAMPLE | {"backtest": {k: v for k, v in EXAMPLE["backtest"].items() if k != "speed_multiplier"}}


def test_the_schema_is_current():
    """`nbbacktest schema > session_configs/schema.json` would change nothing."""
    current = json.dumps(nb.schema("config"), indent=2) + "\n"
    assert (FOLDER / "schema.json").read_text(encoding="utf-8") == current


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_keeps_to_the_schema(path):
    """No key that the schema lacks, in any section."""
    schema = nb.schema("config")

    def check(value, rule, at):
        rule = schema["$defs"][rule["$ref"].rpartition("/")[2]] if "$ref" in rule else rule
        if not isinstance(value, dict) or "properties" not in rule:
            return
        assert set(value) <= set(rule["properties"]), at
        for key, inner in value.items():
            check(inner, rule["properties"][key], f"{at}.{key}")

    check(json.loads(path.read_text(encoding="utf-8")), schema, path.name)


def test_no_config_is_forgotten():
    """The folder holds the documented configs and the schema, and nothing that no test runs."""
    assert {path.stem for path in CONFIGS} >= {"example_session", "aapl_daily", "clock_driven"}
    assert {path.suffix for path in FOLDER.iterdir()} == {".json"}
