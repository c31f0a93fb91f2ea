"""A quarter of real minutes, three symbols: quality and gaps against what pandas makes of the same files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import nbbacktest as nb

FOLDER = Path(__file__).parents[3] / "shared" / "data"
SYMBOLS = ("EXE", "SW", "CPAY")
ZONE = "America/New_York"
FIRST, LAST = "2024-10-02", "2024-12-31"
HALF_DAYS = ("2024-11-29", "2024-12-24")
CLOSED = ("2024-11-28", "2024-12-25")  # Thanksgiving and Christmas

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no folder of real bars beside the repository")


@pytest.fixture(scope="module")
def report() -> nb.QualityReport:
    return nb.data_quality(
        {
            "exchange": "XNYS",
            "data": {
                "source": "csv",
                "path": str(FOLDER / "{symbol}_1min_2024Q4.csv.gz"),
                "symbols": list(SYMBOLS),
                "interval": "1m",
                "stamp": "open",
            },
        }
    )


def due() -> pd.DataFrame:
    """Every minute that the exchange was open, from its published hours alone."""
    parts = []
    for day in pd.bdate_range(FIRST, LAST):
        if f"{day:%Y-%m-%d}" in CLOSED:
            continue
        close = "13:00" if f"{day:%Y-%m-%d}" in HALF_DAYS else "16:00"
        stamps = pd.date_range(
            f"{day:%Y-%m-%d} 09:30", f"{day:%Y-%m-%d} {close}", freq="min", tz=ZONE, inclusive="left"
        )
        parts.append(pd.DataFrame({"session": day}, index=stamps))
    return pd.concat(parts)


def rows_of(symbol: str) -> pd.DataFrame:
    frame = pd.read_csv(FOLDER / f"{symbol}_1min_2024Q4.csv.gz")
    return frame.set_index(pd.to_datetime(frame.pop("timestamp"), utc=True).dt.tz_convert(ZONE))


def runs_of(symbol: str) -> pd.DataFrame:
    """Missing minutes, each joined to the one before it where that is missing in the same session too."""
    minutes = due()
    missing = minutes[~minutes.index.isin(rows_of(symbol).index)]
    stamps = missing.index.to_series()
    new = (stamps.diff() != pd.Timedelta(minutes=1)) | (missing["session"] != missing["session"].shift())
    return stamps.groupby(new.cumsum().to_numpy()).agg(["first", "last", "count"]).assign(symbol=symbol)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_real_quarter_equals_pandas(report: nb.QualityReport, symbol: str):
    """Expected, present and missing bars of all 63 sessions, and the quality of each."""
    minutes, rows = due(), rows_of(symbol)
    expected = minutes.groupby("session").size()
    present = minutes[minutes.index.isin(rows.index)].groupby("session").size()
    found = report.to_frame().loc[symbol]
    assert len(found) == 63
    assert found["expected"].tolist() == expected.tolist()
    assert found["present"].tolist() == present.tolist()
    assert found["missing"].tolist() == (expected - present).tolist()
    assert found["quality"].tolist() == pytest.approx((100 * present / expected).tolist(), abs=1e-12)
    assert found["zero_volume"].sum() == (rows["volume"] == 0).sum()
    assert found["outside"].sum() == (~rows.index.isin(minutes.index)).sum() == 0
    total = report.summary().loc[symbol]
    assert (total["expected"], total["present"], total["sessions"]) == (24_210, len(rows), 63)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_real_gaps_equal_pandas(report: nb.QualityReport, symbol: str):
    """Each missing run by its first and last minute and its length."""
    wanted = runs_of(symbol)
    found = report.gaps[report.gaps["symbol"] == symbol]
    assert found["first"].tolist() == wanted["first"].tolist()
    assert found["last"].tolist() == wanted["last"].tolist()
    assert found["count"].tolist() == wanted["count"].tolist()
    assert report.summary().loc[symbol, ["gaps", "longest_gap"]].tolist() == [len(wanted), wanted["count"].max()]


def test_really_gappy_data_follow_the_policy(report: nb.QualityReport):
    """CPAY has under two thirds of its minutes: refused at a minimum of 90%, the others not."""
    config = {
        "exchange": "XNYS",
        "data": {
            "source": "csv",
            "path": str(FOLDER / "{symbol}_1min_2024Q4.csv.gz"),
            "symbols": list(SYMBOLS),
            "interval": "1m",
            "stamp": "open",
            "quality": {"minimum": 0.9},
        },
    }
    with pytest.raises(
        nb.DataError, match=r"^CPAY has 14967 of 24210 expected bars, 61.8%.*2024-12-26 with 141 of 390"
    ):
        nb.backtest(None, nb.Strategy, config=config)
    config["data"]["symbols"] = ["EXE", "SW"]
    result = nb.backtest(None, nb.Strategy, config=config)
    for symbol in ("EXE", "SW"):
        own = result.metrics["session"]["symbols"][symbol]["quality"]
        total = report.summary().loc[symbol]
        assert (own["expected"], own["present"], own["missing"]) == (24_210, total["present"], total["missing"])
        assert own["quality"] == pytest.approx(total["quality"])
