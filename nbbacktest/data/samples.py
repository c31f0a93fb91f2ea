"""Real daily bars from the package bokeh_sampledata (extra `samples`): five stocks, up to March 2013."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, DataError, MissingExtraError, Problem, nearest
from nbbacktest.core.intervals import Interval
from nbbacktest.data.datasource import SourceBars
from nbbacktest.data.warmup import Need

if TYPE_CHECKING:
    import pandas as pd

_PACKAGE = "bokeh_sampledata"


class SampleSource:
    """The config's source ``"sample"``."""

    @classmethod
    def of_config(cls, config: SessionConfig) -> Self:  # noqa: ARG003 - as sources have it
        """Make the source; it needs nothing of the config."""
        return cls()

    def find(self, config: SessionConfig, needs: Sequence[Need]) -> SourceBars:  # noqa: ARG002 - as sources have it
        """All the bars of the config's symbols.

        Raises
        ------
        ConfigError
            If the config asks for another interval than a day.
        """
        settings, daily = config.data, Interval.parse("1d")
        if settings.chosen_interval not in (None, daily):
            raise ConfigError([Problem("data.interval", settings.interval, 'sample bars are daily; use "1d"')])
        kind = "adjusted" if settings.adjusted else "unadjusted"
        found = frames(settings.symbols, adjusted=settings.adjusted)
        return SourceBars(found, f"sample daily bars, {kind}", interval=daily)


def frames(symbols: Sequence[str], *, adjusted: bool = True) -> dict[str, pd.DataFrame]:
    """The sample bars of `symbols`: AAPL, FB, GOOG, IBM, MSFT.

    Adjusted bars show the return of a holder: open, high, low and close are multiplied by
    ``Adj Close / Close``, the package's factor for splits and dividends, also those after the last
    bar. Volume is divided by it, which is right for splits and keeps the money that changed hands,
    ``price * volume``, as it was.

    Returns
    -------
    dict
        By symbol, a DataFrame of open, high, low, close and volume by session date (naive).

    Raises
    ------
    MissingExtraError
        If the package isn't installed.
    DataError
        If a symbol isn't among the samples.
    """
    table = _table()
    known = set(table["Ticker"])
    for symbol in symbols:
        if symbol not in known:
            raise DataError(f"the samples have no symbol {symbol!r}; {nearest(symbol, known)}")
    return {symbol: _bars(table[table["Ticker"] == symbol], adjusted=adjusted) for symbol in symbols}


def _table() -> pd.DataFrame:
    import pandas as pd

    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(_PACKAGE, "samples", 'data source "sample"')
    # The file itself: importing the package's module would parse it twice as slowly, row by row.
    file = Path(spec.submodule_search_locations[0]) / "_data" / "stocks.csv.gz"
    if not file.is_file():
        raise DataError(
            f"the installed {_PACKAGE} has no {file.name}: it is of another version; "
            'upgrade it with: pip install --upgrade "nbbacktest[samples]"'
        )
    return pd.read_csv(file, engine="pyarrow")


def _bars(table: pd.DataFrame, *, adjusted: bool) -> pd.DataFrame:
    import pandas as pd

    bars = table[["Open", "High", "Low", "Close"]].set_axis(["open", "high", "low", "close"], axis=1)
    volume = table["Volume"].astype("float64")
    if adjusted:
        factor = table["Adj Close"] / table["Close"]
        bars, volume = bars.mul(factor, axis=0), volume / factor
    bars["volume"] = volume
    return bars.set_index(pd.DatetimeIndex(pd.to_datetime(table["Date"]), name="date"))
