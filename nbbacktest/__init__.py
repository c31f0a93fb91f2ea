"""The backtester that you can pause.

Names are imported when they are first used, so that ``import nbbacktest`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbbacktest.core.config import SessionConfig
    from nbbacktest.core.costs import (
        AnnualBorrow,
        AnnualInterest,
        BasisPointsSlippage,
        CallableCommission,
        FixedSlippage,
        MakerTakerCommission,
        NoBorrow,
        NoCommission,
        NoInterest,
        NoSlippage,
        PercentCommission,
        PercentSlippage,
        PerContractCommission,
        PerShareCommission,
        PerTradeCommission,
        SpreadSlippage,
        Tier,
        TieredCommission,
        VolumeShareSlippage,
    )
    from nbbacktest.core.enums import OrderStatus, OrderType, Side, SystemState
    from nbbacktest.core.errors import (
        ConfigError,
        DataError,
        DataNotFoundError,
        DataQualityWarning,
        FeedError,
        InvalidTransition,
        JournalError,
        LiveRunError,
        MissingExtraError,
        NbBacktestError,
        NoThreadsError,
        OrderError,
        OrderWarning,
        ReplayError,
        ScheduleError,
        StrategyBlockedError,
        StrategyError,
        SweepInterrupted,
    )
    from nbbacktest.core.records import Bar, FormingBar
    from nbbacktest.data.datasource import DataSource
    from nbbacktest.data.quality import QualityReport, data_quality
    from nbbacktest.engine.feed import PushFeed
    from nbbacktest.engine.subscription import StreamSubscription
    from nbbacktest.report.divergence import Divergence
    from nbbacktest.report.result import Result
    from nbbacktest.report.sweep import SweepResult
    from nbbacktest.system.audit import audit_lookahead
    from nbbacktest.system.audit_report import AuditReport
    from nbbacktest.system.backtest import backtest
    from nbbacktest.system.comparison import divergence
    from nbbacktest.system.feeds.client import WebSocketFeed
    from nbbacktest.system.journal.repeat import replay
    from nbbacktest.system.session import SystemManager, get_system_manager
    from nbbacktest.system.status import schema
    from nbbacktest.system.sweep.sweep import sweep
    from nbbacktest.trading.by_hand import ByHand
    from nbbacktest.trading.orders import Fill, Order
    from nbbacktest.trading.snapshot import Snapshot
    from nbbacktest.trading.strategy import Strategy
    from nbbacktest.widgets.panel import ControlPanel

__version__ = "0.1.0"

_HOMES = {
    "core.config": ("SessionConfig",),
    "core.costs": (
        "AnnualBorrow", "AnnualInterest", "BasisPointsSlippage", "CallableCommission", "FixedSlippage",
        "MakerTakerCommission", "NoBorrow", "NoCommission", "NoInterest", "NoSlippage", "PerContractCommission",
        "PercentCommission", "PercentSlippage", "PerShareCommission", "PerTradeCommission", "SpreadSlippage", "Tier",
        "TieredCommission", "VolumeShareSlippage",
    ),
    "core.enums": ("OrderStatus", "OrderType", "Side", "SystemState"),
    "core.errors": (
        "ConfigError", "DataError", "DataNotFoundError", "DataQualityWarning", "FeedError", "InvalidTransition",
        "JournalError", "LiveRunError", "MissingExtraError", "NbBacktestError", "NoThreadsError", "OrderError", "OrderWarning",
        "ReplayError", "ScheduleError", "StrategyBlockedError", "StrategyError", "SweepInterrupted",
    ),
    "core.records": ("Bar", "FormingBar"),
    "data.datasource": ("DataSource",),
    "data.quality": ("QualityReport", "data_quality"),
    "engine.feed": ("PushFeed",),
    "engine.subscription": ("StreamSubscription",),
    "report.divergence": ("Divergence",),
    "report.result": ("Result",),
    "report.sweep": ("SweepResult",),
    "system.audit": ("audit_lookahead",),
    "system.backtest": ("backtest",),
    "system.comparison": ("divergence",),
    "system.feeds.client": ("WebSocketFeed",),
    "system.audit_report": ("AuditReport",),
    "system.journal.repeat": ("replay",),
    "system.session": ("SystemManager", "get_system_manager"),
    "system.status": ("schema",),
    "system.sweep.sweep": ("sweep",),
    "trading.orders": ("Fill", "Order"),
    "trading.snapshot": ("Snapshot",),
    "trading.by_hand": ("ByHand",),
    "trading.strategy": ("Strategy",),
    "widgets.panel": ("ControlPanel",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AnnualBorrow",
    "AnnualInterest",
    "AuditReport",
    "Bar",
    "BasisPointsSlippage",
    "ByHand",
    "CallableCommission",
    "ConfigError",
    "ControlPanel",
    "DataError",
    "DataNotFoundError",
    "DataQualityWarning",
    "DataSource",
    "Divergence",
    "FeedError",
    "Fill",
    "FixedSlippage",
    "FormingBar",
    "InvalidTransition",
    "JournalError",
    "LiveRunError",
    "MakerTakerCommission",
    "MissingExtraError",
    "NbBacktestError",
    "NoBorrow",
    "NoCommission",
    "NoInterest",
    "NoSlippage",
    "NoThreadsError",
    "Order",
    "OrderError",
    "OrderStatus",
    "OrderType",
    "OrderWarning",
    "PerContractCommission",
    "PerShareCommission",
    "PerTradeCommission",
    "PercentCommission",
    "PercentSlippage",
    "PushFeed",
    "QualityReport",
    "ReplayError",
    "Result",
    "ScheduleError",
    "SessionConfig",
    "Side",
    "Snapshot",
    "SpreadSlippage",
    "Strategy",
    "StrategyBlockedError",
    "StrategyError",
    "StreamSubscription",
    "SweepInterrupted",
    "SweepResult",
    "SystemManager",
    "SystemState",
    "Tier",
    "TieredCommission",
    "VolumeShareSlippage",
    "WebSocketFeed",
    "__version__",
    "audit_lookahead",
    "backtest",
    "data_quality",
    "divergence",
    "get_system_manager",
    "replay",
    "schema",
    "sweep",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def load_ipython_extension(shell: Any) -> None:
    """Add ``%backtest`` and ``%%backtest`` to an IPython: ``%load_ext nbbacktest``."""
    import_module(f"{__name__}.magics").register(shell)


def __dir__() -> list[str]:
    return sorted(__all__)
