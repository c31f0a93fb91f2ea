"""The source that the documentation shows, saved as a module and named in a config as it is there."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from pathlib import Path

import pandas as pd
import pytest

import nbbacktest as nb
from nbbacktest.data import synthetic

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.fixture
def prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with ``prices.py`` as the page has it, and the database that it reads."""
    shown = re.search(r"Save this as `prices.py`:\n\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    code = shown[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    (tmp_path / "prices.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    invented = synthetic.bars(["EXE", "SW"], "2024-10-03", "2024-10-04")
    rows = pd.concat(
        [bars.tz_localize(None).rename_axis("time").assign(symbol=name) for name, bars in invented.items()]
    )
    connection = sqlite3.connect("prices.db")
    rows.to_sql("bars", connection)
    connection.close()
    monkeypatch.delitem(sys.modules, "prices", raising=False)
    yield tmp_path
    sys.modules.pop("prices", None)


def test_the_shown_config_runs_the_shown_source(prices: Path):
    """And gives what the same bars give when they are handed over."""
    shown = re.search(r'```json\n(\{"data": \{"source": "prices:Prices".*?)```', PAGE, re.DOTALL)
    assert shown is not None
    strategy = [{"class": "nbbacktest.strategies:SmaCross"}]
    config = json.loads(shown[1]) | {"strategies": strategy}
    (prices / "session.json").write_text(json.dumps(config), encoding="utf-8")
    system = nb.SystemManager()
    system.start("session.json")
    result = system.wait()
    assert (result.symbols, result.source) == (("EXE", "SW"), "Prices")
    frames = synthetic.bars(["EXE", "SW"], "2024-10-03", "2024-10-04")
    plain = nb.backtest(frames, None, config={"exchange": "XNYS", "strategies": strategy})
    assert result.fingerprint == plain.fingerprint
    assert result.fills.size > 0
    assert nb.data_quality("session.json").summary()["quality"].tolist() == [100.0, 100.0]
