"""Goes on with a run that a strategy's error holds or has ended, from just before that instant, with the class mended."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from nbbacktest.core.errors import LiveRunError, ReplayError, StrategyBlockedError
from nbbacktest.core.inputs import Retried
from nbbacktest.system.forks import ForkPlace, lead_to, standing
from nbbacktest.system.journey import Destination, Line
from nbbacktest.system.origin import Origin, Strategies
from nbbacktest.system.run import Run
from nbbacktest.trading.strategy import Strategy

if TYPE_CHECKING:
    from nbbacktest.system.manager import SystemManager


def retried(system: SystemManager, run: Run, origin: Origin | None, strategy: Strategies) -> Retried:
    """See `SystemManager.retry`."""
    if run.is_live:
        raise LiveRunError("retry")
    if run.is_engine_thread():
        raise RuntimeError("a strategy can't retry its own run")
    if run.error is None:
        raise RuntimeError("nothing has raised: retry() is for a run that an error holds, or has ended")
    if origin is None or run.world.chunks is not None:
        raise ReplayError("a run whose bars are streamed can't be retried; set data.stream to false")
    new = _mended(origin, strategy)
    try:
        at, goal = run.still(lambda goes_on: _before_error(run, goes_on=goes_on))
    except TimeoutError:
        raise StrategyBlockedError(
            f"{run.blocked_call()} has not returned; retry() waits for the end of its instant"
        ) from None
    trial = type(system)(reachable=False)
    try:
        trial.begin(new, paused=True)
        count = at.line.count_at(goal)
        lead_to(trial, run.world, ForkPlace(Line(at.line.inputs[:count]), goal), has_same_bars=True)
        found = trial.run
        if found is None:
            raise ReplayError("the mended run has ended")
        names = [[context.name for _, context in one.world.desk.contexts] for one in (run, found)]
        if names[0] != names[1]:
            raise ValueError(
                f"retry(): the run's strategies are {', '.join(names[0])}, and these are {', '.join(names[1])}; a mended class keeps its name"
            )
        try:
            at.line.verify(found.world, goal)
        except ReplayError as error:
            return Retried(False, _other_past(error))
        if not system.is_stopped():
            system.stop()
        system.go_on_from(found, new, Destination(goal, count), found.journey.standing())
    finally:
        trial.stop()
    time = system.snapshot().time
    where = f"after {time}" if time is not None else "before its first bar"
    return Retried(
        True, f"the mended class has the same past; the run is paused {where}, just before the instant that raised"
    )


def _before_error(run: Run, *, goes_on: bool) -> tuple[ForkPlace, int]:
    at = standing(run, goes_on=goes_on)
    return at, at.cursor - 1 if goes_on else at.cursor


def _other_past(error: ReplayError) -> str:
    found = (
        str(error)
        .partition(". ")[0]
        .removeprefix("the run doesn't repeat itself: ")
        .replace("the replay did", "the mended class does")
    )
    return f"the mended class has another past: {found}. Nothing has changed; fork(strategy=...) runs it from the start up to here"


def _mended(origin: Origin, strategy: Strategies) -> Origin:
    """The origin with its strategies mended: those given, or their classes as they are defined now."""
    old = origin.strategies
    if strategy is None:
        if old is None:
            raise ValueError(
                "retry(): the config names the strategies; give the mended class, as in retry(strategy=Mended)"
            )
        several: list[Any] = [*old] if isinstance(old, (list, tuple)) else [old]
        made = [_defined_now(one) for one in several]
        if all(one is other for one, other in zip(made, several, strict=True)):
            raise ValueError(
                "retry(): the classes are those that raised; define them anew, or give retry(strategy=...)"
            )
        return replace(origin, strategies=made)
    params = origin.params
    if old is None:
        if len(origin.config.strategies) > 1 or any(part.symbols is not None for part in origin.config.strategies):
            raise ValueError(
                "retry(): the config's strategies have symbols of their own; start the run anew with the mended class"
            )
        params = origin.config.strategies[0].params
    if isinstance(old, (list, tuple)) and isinstance(strategy, type):
        names = [one.__name__ if isinstance(one, type) else type(one).__name__ for one in old]
        if strategy.__name__ not in names:
            raise ValueError(
                f"retry({strategy.__name__}): the run's strategies are {', '.join(names)}; a mended class keeps its name"
            )
        strategy = [strategy if name == strategy.__name__ else one for name, one in zip(names, old, strict=True)]
    return replace(origin, strategies=strategy, params=params)


def _defined_now(one: type[Strategy] | Strategy) -> type[Strategy] | Strategy:
    """The class of that name as its module has it now; instances stay as they are."""
    if not isinstance(one, type):
        return one
    module = sys.modules.get(one.__module__)
    found = reduce(lambda part, name: getattr(part, name, None), one.__qualname__.split("."), module)
    return found if isinstance(found, type) and issubclass(found, Strategy) else one
