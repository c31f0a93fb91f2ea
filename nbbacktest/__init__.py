"""The backtester that you can pause.

Names are imported when they are first used, so that ``import nbbacktest`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbbacktest.core.config import NoCommission, NoSlippage, PercentCommission, PercentSlippage, SessionConfig
    from nbbacktest.core.enums import OrderStatus, OrderType, Side, SystemState
    from nbbacktest.core.errors import (
        ConfigError,
        DataError,
        DataNotFoundError,
        InvalidTransition,
        MissingExtraError,
        NbBacktestError,
        OrderError,
        StrategyBlockedError,
        StrategyError,
    )
    from nbbacktest.core.records import Bar
    from nbbacktest.engine.subscription import StreamSubscription
    from nbbacktest.report.result import Result
    from nbbacktest.system.backtest import backtest
    from nbbacktest.system.manager import SystemManager
    from nbbacktest.system.process import get_system_manager
    from nbbacktest.system.schemas import schema
    from nbbacktest.system.snapshot import Snapshot
    from nbbacktest.trading.orders import Fill, Order
    from nbbacktest.trading.strategy import Strategy

__version__ = "0.1.0"

_HOMES = {
    "core.config": ("NoCommission", "NoSlippage", "PercentCommission", "PercentSlippage", "SessionConfig"),
    "core.enums": ("OrderStatus", "OrderType", "Side", "SystemState"),
    "core.errors": (
        "ConfigError", "DataError", "DataNotFoundError", "InvalidTransition", "MissingExtraError", "NbBacktestError",
        "OrderError", "StrategyBlockedError", "StrategyError",
    ),
    "core.records": ("Bar",),
    "engine.subscription": ("StreamSubscription",),
    "report.result": ("Result",),
    "system.backtest": ("backtest",),
    "system.manager": ("SystemManager",),
    "system.process": ("get_system_manager",),
    "system.schemas": ("schema",),
    "system.snapshot": ("Snapshot",),
    "trading.orders": ("Fill", "Order"),
    "trading.strategy": ("Strategy",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Bar",
    "ConfigError",
    "DataError",
    "DataNotFoundError",
    "Fill",
    "InvalidTransition",
    "MissingExtraError",
    "NbBacktestError",
    "NoCommission",
    "NoSlippage",
    "Order",
    "OrderError",
    "OrderStatus",
    "OrderType",
    "PercentCommission",
    "PercentSlippage",
    "Result",
    "SessionConfig",
    "Side",
    "Snapshot",
    "Strategy",
    "StrategyBlockedError",
    "StrategyError",
    "StreamSubscription",
    "SystemManager",
    "SystemState",
    "__version__",
    "backtest",
    "get_system_manager",
    "schema",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
