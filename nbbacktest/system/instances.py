"""Strategy objects that are given as they are: each run begins with the state that its object was given with."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nbbacktest.trading.context import StrategyContext
from nbbacktest.trading.strategy import Strategy

_KEPT = "_as_given"


@dataclass(slots=True)
class _Kept:
    """What is kept beside a strategy's own attributes.

    Attributes
    ----------
    given : dict
        Its attributes as they were before its run.
    left : dict
        Those that its run has left, the same objects; what is another one now, its owner has set since.
    """

    given: dict[str, Any]
    left: dict[str, Any] = field(default_factory=dict)


def begin(strategy: Strategy) -> None:
    """Give a strategy back what it was given with, and keep that for its next run.

    What its owner has set since its last run stays. One that is in a run is left alone.
    """
    context = vars(strategy).get("_strategy_context")
    if isinstance(context, StrategyContext) and context.is_taken:
        return
    given = _as_given(strategy)
    vars(strategy).clear()
    vars(strategy).update(given)
    vars(strategy)[_KEPT] = _Kept(copied(given))


def end(strategy: Strategy) -> None:
    """Note what a run has left of a strategy."""
    kept = vars(strategy).get(_KEPT)
    if kept is not None:
        kept.left = {name: value for name, value in vars(strategy).items() if name != _KEPT}


def twin(strategy: Strategy) -> Strategy:
    """Another object of the same class with what this one was given with."""
    other = copy.copy(strategy)
    vars(other).clear()
    vars(other).update(_as_given(strategy))
    return other


def _as_given(strategy: Strategy) -> dict[str, Any]:
    """Copies of a strategy's attributes as they were before its run, with what its owner has set since that."""
    state = dict(vars(strategy))
    kept = state.pop(_KEPT, None)
    if kept is None:
        return copied(state)
    left = kept.left or state  # where it never came to an end, all is the run's
    own = {name: value for name, value in state.items() if name not in left or value is not left[name]}
    return copied({**kept.given, **own})


def copied(state: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of values by name, in which objects that two attributes share are still shared; what can't be copied is shared."""
    memo: dict[int, Any] = {}
    copied = {}
    for name, value in state.items():
        try:
            copied[name] = copy.deepcopy(value, memo)
        except Exception:  # noqa: BLE001 - a lock, a file, an object of another library
            copied[name] = value
    return copied
