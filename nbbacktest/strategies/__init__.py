"""Example strategies: short, complete, and made to be copied.

Each works with one symbol or several; derived intervals are passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbbacktest.strategies.buy_and_hold import BuyAndHold
    from nbbacktest.strategies.equal_shares import EqualShares
    from nbbacktest.strategies.mean_reversion import MeanReversion
    from nbbacktest.strategies.sma_cross import SmaCross

_MODULES = {
    "BuyAndHold": "buy_and_hold",
    "EqualShares": "equal_shares",
    "MeanReversion": "mean_reversion",
    "SmaCross": "sma_cross",
}

__all__ = ["BuyAndHold", "EqualShares", "MeanReversion", "SmaCross"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
