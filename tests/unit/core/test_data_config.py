"""The config's keys of sources and quality."""

from __future__ import annotations

import pytest

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError


def data(**keys: object) -> dict:
    return {"data": {"symbols": ["EXE"], **keys}}


def refused(**keys: object) -> str:
    with pytest.raises(ConfigError) as caught:
        SessionConfig.load(data(**keys))
    [problem] = caught.value.problems
    return str(problem)


@pytest.mark.parametrize(
    "keys",
    [
        {"source": "lean", "path": "lean/data"},
        {"source": "yfinance", "options": {"prepost": True}},
        {"source": "their.module:Prices", "options": {"database": "prices.db"}},
        {"source": "__main__:Prices"},
    ],
)
def test_sources_with_what_they_need(keys: dict):
    """Each reads back as it was written, also written out whole."""
    config = SessionConfig.load(data(**keys))
    assert SessionConfig.load(config.to_dict()) == config
    for key, value in keys.items():
        assert config.to_dict()["data"][key] == value


def test_a_source_without_what_it_needs_is_refused():
    """And so is what it has no use for."""
    assert refused(source="lean") == "data.path = None: source 'lean' needs a folder, the one that holds 'equity'"
    assert "reads no file; remove it" in refused(source="yfinance", path="x.csv")
    assert "what a:B is made with goes into options" in refused(source="a:B", path="x.csv")
    assert "source 'synthetic' has none; remove them" in refused(options={"x": 1})
    assert "source 'csv' has none" in refused(source="csv", path="x.csv", options={"x": 1})
    assert "did you mean 'yfinance'?" in refused(source="yfinace")


def test_quality_refuses_what_it_does_not_know():
    """A policy that there isn't, a share beyond one."""
    assert SessionConfig.load(data()).data.quality.faults == "refuse"
    assert SessionConfig.load(data(quality={"minimum": 0.9})).data.quality.minimum == 0.9
    assert "data.quality.faults = 'dorp': must be 'refuse', 'warn' or 'drop'; did you mean 'drop'?" in refused(
        quality={"faults": "dorp"}
    )
    assert "data.quality.minimum = 90: must be at most 1" in refused(quality={"minimum": 90})
