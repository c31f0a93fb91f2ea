"""Forks: another manager goes on where a run stands, with something that differs.

What differs from the place on (parameters, costs) is an input by hand of the fork; the past up to there is the run's own, and is
held against its record. Another strategy, or another config, has a past of its own: it is run from its start up to that place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.costs import CallableCommission
from nbbacktest.core.enums import InputKind
from nbbacktest.core.errors import (
    ConfigError,
    DataError,
    LiveRunError,
    NbBacktestError,
    OrderError,
    Problem,
    ReplayError,
    StrategyBlockedError,
    StrategyError,
    nearest,
)
from nbbacktest.core.formats import said, shown
from nbbacktest.core.inputs import Fork, Input, InputPlace, plain_arguments
from nbbacktest.core.model import Model
from nbbacktest.system.inputs import Recorded, cost_words, refuse_unknown
from nbbacktest.system.journey import Destination, Line
from nbbacktest.system.origin import Origin, Strategies
from nbbacktest.system.run import Run
from nbbacktest.system.world import World

if TYPE_CHECKING:
    from nbbacktest.system.manager import SystemManager

_COSTS = ("commission", "slippage", "borrow", "interest")
_SAME_BARS = frozenset(
    {"session_name", "on_error", "strategies", "broker", "limits", "seed", "journal", "lag", "metadata"}
)
"""The sections of a config that change no bar."""


_EXAMPLES = {
    "params": "{'fast': 5}",
    "costs": "{'commission': {'model': 'percent', 'rate': 0.002}}",
    "config": "{'broker': {'fill': 'next_close'}}",
}


class Changes(NamedTuple):
    """The arguments of `SystemManager.fork`.

    Attributes
    ----------
    params : mapping or None
        By parameter, or by strategy and parameter.
    strategy : Strategy class, instance or list of them, or None
    costs : mapping or None
        Cost models by name.
    config : mapping or None
        Sections that are laid over the config.
    """

    params: Mapping[str, Any] | None = None
    strategy: Strategies = None
    costs: Mapping[str, Any] | None = None
    config: Mapping[str, Any] | None = None

    @property
    def is_whole(self) -> bool:
        """True if the fork differs from its start on."""
        return self.strategy is not None or self.config is not None

    @property
    def keeps_bars(self) -> bool:
        """True if the fork's bars are those of the run."""
        return self.config is None or self.config.keys() <= _SAME_BARS

    def applied_to(self, origin: Origin) -> Origin:
        """The origin of the fork of a run of `origin`.

        Raises
        ------
        TypeError, ConfigError
            If an argument makes no sense.
        """
        for name, example in _EXAMPLES.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, Mapping):
                raise TypeError(f"fork({name}={value!r}): give a mapping, such as {example}")
        if self.config is not None:
            config = origin.config.overlaid(dict(self.config), "fork(config=...)")
            if config.mode != "backtest":
                cure = "is no backtest; only a backtest can be forked"
                raise ConfigError([Problem("mode", config.mode, cure)], "fork(config=...)")
            origin = replace(origin, config=config, market=origin.market if self.keeps_bars else None)
            if "strategies" in self.config:
                origin = replace(origin, strategies=None, params=None)
        if self.strategy is not None:
            own = [*self.strategy] if isinstance(self.strategy, (list, tuple)) else self.strategy
            origin = replace(origin, strategies=own, params=dict(self.params or {}))
        return origin


class ForkPlace(NamedTuple):
    """The place at which a run stands.

    Attributes
    ----------
    line : Line
        Up to there.
    cursor : int
    """

    line: Line
    cursor: int

    @property
    def place(self) -> InputPlace:
        """With its number of inputs."""
        return InputPlace(self.cursor, len(self.line.inputs))


def forked(run: Run, origin: Origin | None, changes: Changes, other: SystemManager) -> SystemManager:
    """Pause `other` where `run`, which is of `origin`, stands; see `SystemManager.fork`."""
    new = changes.applied_to(origin or Origin(run.config))
    if run.is_live:
        raise LiveRunError("fork")
    if run.is_engine_thread():
        raise RuntimeError("a strategy can't fork its own run; pause() and stop() are what it may call")
    if run.world.chunks is not None and not changes.is_whole:
        raise ReplayError("a run whose bars are streamed can't be forked where it stands; set data.stream to false")
    costs = _costs_of(run.config, changes.costs)
    try:
        run.still(lambda goes_on: _make(run, new, other, changes, costs, goes_on=goes_on))
    except StrategyBlockedError:
        raise
    except TimeoutError:
        blocked = f"{run.blocked_call()} has not returned; fork() waits for the end of its instant"
        raise StrategyBlockedError(blocked) from None
    return other


def _make(
    run: Run, origin: Origin, other: SystemManager, changes: Changes, costs: Mapping[str, Any], *, goes_on: bool
) -> None:
    at = standing(run, goes_on=goes_on)
    inputs = _inputs(run.world, at.place, changes, costs)
    if changes.is_whole:
        _refuse_ids(at.line.inputs)
    try:
        if changes.is_whole:
            other.begin(origin, paused=True)
            lead_to(other, run.world, at, has_same_bars=changes.keeps_bars)
        else:
            other.go_on_from(run, origin, Destination(at.cursor, len(at.line.inputs)), at.line)
        new = _present(other)
        for one in inputs:
            new.act(one.what, one.strategy, one.arguments, by=one.by)
    except BaseException:
        other.stop()
        raise
    new.fork = Fork(at.place, _time_at(run.world, at.cursor), _words(changes, costs), changes.is_whole)


def standing(run: Run, *, goes_on: bool) -> ForkPlace:
    """Where `run` stands, which is at rest or has ended."""
    if goes_on:
        line = run.journey.standing()
        return ForkPlace(line, line.past.horizon if line.past is not None else 0)
    run.wait(None)
    completed = run.analysis.completed
    return ForkPlace(run.journey.stopped(completed), completed)


def _time_at(world: World, cursor: int) -> Any:
    return world.market.stamps.instant(int(world.timeline.instants[cursor - 1])) if cursor else None


# -- what differs ---------------------------------------------------------------------------------------------


def _costs_of(config: SessionConfig, costs: Mapping[str, Any] | None) -> dict[str, Any]:
    """The costs as JSON values, checked."""
    if not costs:
        return {}
    found = {name: value.model_dump() if isinstance(value, Model) else value for name, value in costs.items()}
    for name in found:
        if name not in _COSTS:
            cure = f"is no cost; {nearest(str(name), _COSTS)}. fork(config=...) changes other rules, from the start of the run on"
            raise ConfigError([Problem(str(name), costs[name], cure)], "fork(costs=...)")
    terms = config.overlaid({"broker": found}, "fork(costs=...)").broker
    if (
        isinstance(terms.commission, CallableCommission)
        and "commission" in found
        and not isinstance(terms.commission.function, str)
    ):
        cure = "is a function, which no line of inputs can hold; name it as 'module:name'"
        raise ConfigError([Problem("commission", terms.commission.function, cure)], "fork(costs=...)")
    whole = terms.model_dump(mode="json")
    return {name: whole[name] for name in found}


def _inputs(world: World, place: InputPlace, changes: Changes, costs: Mapping[str, Any]) -> list[Input]:
    """The inputs by which the fork differs from its place on; refused here if they make no sense in `world`."""
    found: list[tuple[InputKind, str | None, Mapping[str, Any]]] = []
    if changes.params and changes.strategy is None:
        found += [(InputKind.CHANGE, name, params) for name, params in _by_strategy(world, changes.params)]
    if costs:
        found.append((InputKind.COSTS, None, costs))
    time = _time_at(world, place.cursor)
    inputs = [Input(place, time, what, name, plain_arguments("fork", values), "fork") for what, name, values in found]
    if changes.config is None or "strategies" not in changes.config:
        for one in inputs:
            refuse_unknown(world, one)
    return inputs


def _by_strategy(world: World, params: Mapping[str, Any]) -> list[tuple[str | None, Mapping[str, Any]]]:
    names = [context.name for _, context in world.desk.contexts]
    if any(name in names and isinstance(value, Mapping) for name, value in params.items()):
        for name, value in params.items():
            if not isinstance(value, Mapping):
                raise OrderError(
                    f"fork(params=...): {name}={value!r} stands beside strategies by name; give it for one of them"
                )
        return [*params.items()]
    return [(None, params)]


def _refuse_ids(inputs: Sequence[Recorded]) -> None:
    for one in inputs:
        if one.input.what in (InputKind.CANCEL, InputKind.REPLACE):
            raise OrderError(
                f"fork(): {one.input!r} means an order of this past by its id, and the fork has another past; undo it, or "
                "rewind before it, and fork there"
            )


def _words(changes: Changes, costs: Mapping[str, Any]) -> str:
    parts = []
    if changes.strategy is not None:
        several = changes.strategy if isinstance(changes.strategy, (list, tuple)) else [changes.strategy]
        parts.append(" and ".join(one.__name__ if isinstance(one, type) else shown(one) for one in several))
    for name, value in (changes.params or {}).items():
        if isinstance(value, Mapping):
            parts += [f"{name}.{key}={shown(part)}" for key, part in value.items()]
        else:
            parts.append(f"{name}={shown(value)}")
    if costs:
        parts.append(cost_words(costs))
    for name, value in (changes.config or {}).items():
        if isinstance(value, Mapping):
            parts += [f"{name}.{key}={shown(part)}" for key, part in value.items()]
        else:
            parts.append(f"{name}={shown(value)}")
    return ", ".join(parts)


# -- a past of its own ----------------------------------------------------------------------------------------


def lead_to(other: SystemManager, world: World, at: ForkPlace, *, has_same_bars: bool) -> None:
    """Take a fork that was started anew to the time of `at`, with the inputs by hand of that line at their times."""
    run = _present(other)
    speed = run.coordinator.speed
    run.coordinator.set_speed(0.0)
    instants = world.timeline.instants
    for one in at.line.inputs:
        _go(run, int(instants[one.input.place.cursor - 1]) if one.input.place.cursor else None)
        bars = one.bars if has_same_bars else None
        with suppress(NbBacktestError):  # refused there; it stays in the line as such
            run.act(one.input.what, one.input.strategy, one.input.arguments, bars, one.input.by)
        _refuse_ended(run)
    _go(run, int(instants[at.cursor - 1]) if at.cursor else None)
    run.coordinator.set_speed(speed)


def _go(run: Run, moment: int | None) -> None:
    """Rest at the last instant up to `moment`."""

    def place() -> int:
        return 0 if moment is None else int(np.searchsorted(run.instants, moment, side="right"))

    while run.gate.cursor < place():
        run.gate.run_to(place)
        _refuse_ended(run)


def _refuse_ended(run: Run) -> None:
    if not run.gate.closed:
        return
    run.wait(None)
    error = run.error
    if isinstance(error, StrategyError):
        raise error
    why = "it was stopped" if error is None else said(error)
    raise DataError(f"the fork has ended before it came to the place where the run stands: {why}")


def _present(system: SystemManager) -> Run:
    run = system.run
    if run is None:
        raise RuntimeError("nothing was started yet; call start() first")
    return run
