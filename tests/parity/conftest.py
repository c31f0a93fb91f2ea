"""The bars that engines are compared on: real days and invented minutes."""

from __future__ import annotations

from importlib.util import find_spec

import pandas as pd
import pytest

from nbbacktest.data import samples, synthetic

MARKETS = ("GOOG", "AAPL", "IBM", "minutes")


@pytest.fixture(scope="session")
def markets() -> dict[str, pd.DataFrame]:
    """Adjusted daily bars of three stocks, and five days of seeded minutes."""
    if find_spec("bokeh_sampledata") is None:
        pytest.skip('parity on real days needs the sample bars: pip install -e ".[samples]"')
    days = samples.frames(MARKETS[:3])
    return days | {"minutes": synthetic.bars("EXE", "2024-10-03", "2024-10-09", seed=7)["EXE"]}
