"""The source in the config of a result whose bars were handed over to its run: it refuses to give bars, and tells why."""

from __future__ import annotations

from typing import Any, NoReturn

from nbbacktest.core.errors import DataError


class HandedOver:
    """A source without bars: a config can't hold the frames that were handed over, and other bars would silently be another run."""

    stamp = "open"

    def bars(self, symbol: str, interval: str, start: Any, end: Any) -> NoReturn:  # noqa: ARG002 - as sources have it
        """Refused: raises `DataError`."""
        raise DataError(
            f"the bars of {symbol} were handed over to the run that this config is of; hand them over again: "
            "backtest(data, ...), or start(config, data=...)"
        )


HANDED_OVER = f"{__name__}:{HandedOver.__name__}"
