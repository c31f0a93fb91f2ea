"""`backtest`: one call, one result. Headless and blocking, over the same engine as everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.errors import ConfigError, Problem
from nbbacktest.report.result import Result
from nbbacktest.system.manager import SystemManager
from nbbacktest.system.origin import ConfigSource, StrategySource

CASH = 100_000.0


def backtest(
    data: Any,
    strategy: StrategySource | Sequence[StrategySource],
    *,
    cash: float = CASH,
    commission: Any = 0.0,
    slippage: Any = 0.0,
    fill: str = "next_open",
    derived: Sequence[str] = (),
    config: ConfigSource | None = None,
    **strategy_params: Any,
) -> Result:
    """Run a strategy over bars, from the first to the last, and return the result.

    Parameters
    ----------
    data : DataFrame, mapping, path or DataSource
        Bars as columns open, high, low, close and maybe volume, in any case, with a DatetimeIndex of the bars' opens
        (or the sessions' dates); or ``{symbol: DataFrame}``; or ``{symbol: {interval: DataFrame}}``, where orders fill on
        the shortest interval; or the path of a CSV or Parquet file; or a `nbbacktest.DataSource`.
    strategy : Strategy class, instance, or list of them
    cash : float
        Starting cash, in the currency of the prices.
    commission, slippage : float or model
        A fraction of the notional and of the price, such as 0.001; or a commission or slippage model. A commission may
        also be a function ``f(side, size, price, symbol)`` that returns money.
    fill : str
        The price at which market orders fill: ``"next_open"``, ``"next_close"`` or, which is a cheat, ``"this_close"``.
    derived : sequence of str
        Coarser intervals to build, such as ``("5m", "1d", "1w")``.
    config : path, mapping or SessionConfig, optional
        Everything else that a session config can say (time zone, exchange, limits, ...). The arguments above win
        over it unless they are left at their defaults.
    **strategy_params
        Values for the strategy's parameters.

    Returns
    -------
    Result

    Raises
    ------
    ConfigError, DataError
        Before anything is started.
    StrategyError
        A strategy raised; `.result` has the result until then.
    """
    system = SystemManager(reachable=False)
    settings = settings_of(config, cash, commission, slippage, fill, derived)
    _refuse_nothing(data, strategy, settings)
    try:
        system.start(settings, data=data, strategies=strategy, **strategy_params)
        return system.wait()
    except BaseException:
        system.stop()
        raise


def settings_of(
    config: ConfigSource | None, cash: float, commission: Any, slippage: Any, fill: str, derived: Sequence[str]
) -> SessionConfig:
    """The config with the arguments laid over it; checked as a file would be."""
    base = SessionConfig.load(config if config is not None else {})
    broker: dict[str, Any] = {}
    if cash != CASH:
        broker["cash"] = cash
    if (model := _model("commission", commission)) is not None:
        broker["commission"] = model
    if (model := _model("slippage", slippage)) is not None:
        broker["slippage"] = model
    if fill != "next_open":
        broker["fill"] = fill
    changes: dict[str, Any] = {}
    if broker:
        changes["broker"] = broker
    if derived:
        if not isinstance(derived, (str, list, tuple)):
            raise ConfigError(
                [Problem("derived", derived, 'is a sequence of intervals, such as ("5m", "15m")')], "backtest()"
            )
        changes["data"] = {"derived_intervals": [derived] if isinstance(derived, str) else list(derived)}
    if base.mode != "backtest":
        cure = "is no backtest; start it with a SystemManager: start(config, feed=...)"
        raise ConfigError([Problem("mode", base.mode, cure)], "backtest()")
    if base.on_error != "stop":
        changes["on_error"] = "stop"  # no other thread could resume a held run
    return base.overlaid(changes, where="backtest()")


def _refuse_nothing(data: Any, strategy: Any, settings: SessionConfig) -> None:
    """Refuse arguments of None, unless the config has that section."""
    problems = []
    if data is None and "data" not in settings.model_fields_set:
        cure = "is no data; give a DataFrame, a mapping {symbol: DataFrame}, a path, or a config with data"
        problems.append(Problem("data", data, cure))
    if strategy is None and not settings.strategies:
        cure = "is no strategy; give a subclass of nbbacktest.Strategy, an instance, or a config with strategies"
        problems.append(Problem("strategy", strategy, cure))
    if problems:
        raise ConfigError(problems, "backtest()")


def _model(name: str, value: Any) -> Any:
    """A cost model as the config writes it; None if it was left at 0."""
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if name == "commission" and callable(value):
        return {"model": "callable", "function": value}
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        cure = "is a fraction such as 0.001, or a model such as PercentCommission(rate=0.001)"
        raise ConfigError([Problem(name, value, cure)], "backtest()")
    return {"model": "percent", "rate": value} if value != 0 else None
