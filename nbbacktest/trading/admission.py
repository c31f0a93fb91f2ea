"""What a desk asks before it takes strategies and bars: what can't be run is refused here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from nbbacktest.core.config import BrokerConfig
from nbbacktest.core.errors import ConfigError, Problem
from nbbacktest.engine.series import Series
from nbbacktest.trading.context import StrategyContext
from nbbacktest.trading.strategy import Strategy


def numbered(words: list[str]) -> list[str]:
    """Number what would be called the same: Cross, Cross #2."""
    seen: Counter[str] = Counter()
    names = []
    for word in words:
        seen[word] += 1
        names.append(word if seen[word] == 1 else f"{word} #{seen[word]}")
    return names


def refuse_doubles(strategies: Sequence[Strategy]) -> None:
    """Refuse an object that stands twice among the strategies, or is in another run.

    Raises
    ------
    ConfigError
        With each of them.
    """
    problems = []
    for number, strategy in enumerate(strategies):
        where = f"strategies[{number}]"
        if any(strategy is other for other in strategies[:number]):
            problems.append(Problem(where, strategy, "the same object twice; make one for each place"))
        context = strategy._strategy_context  # noqa: SLF001 - as above
        if isinstance(context, StrategyContext) and context.is_taken:
            problems.append(Problem(where, strategy, "it is still in another run; stop that one, or make a new object"))
    if problems:
        raise ConfigError(problems, "strategies")


def refuse_what_bars_lack(broker: BrokerConfig, series: Sequence[Series], base: Sequence[Series]) -> None:
    """Refuse rules that need what the bars don't have: volume, or intervals coarser than the base.

    Raises
    ------
    ConfigError
        With each such rule.
    """
    problems = []
    if broker.volume_share is not None:
        without = [s.symbol for s in base if len(s.columns) and not s.is_open and not s.columns.volume.any()]
        if without:
            cure = f"the bars of {', '.join(without)} have no volume, so that nothing would fill; leave the cap out"
            problems.append(Problem("broker.volume_share", broker.volume_share, cure))
    if broker.stop_and_target == "finer" and len(series) == len(base):
        cure = "there is no coarser interval that base bars could lie in; name derived intervals, or use 'pessimistic'"
        problems.append(Problem("broker.stop_and_target", "finer", cure))
    if problems:
        raise ConfigError(problems)
