"""Which points a sweep has: the grid, what `where` leaves of it, and a sample. Knows no bars and runs nothing."""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from nbbacktest.core.errors import ConfigError, ParameterError, Problem, nearest
from nbbacktest.core.shown import said
from nbbacktest.core.user_code import unrun
from nbbacktest.trading.callbacks import check_callbacks
from nbbacktest.trading.parameters import check, parameters_of
from nbbacktest.trading.strategy import Strategy

MOST = 1_000_000
"""How many points of a grid are looked at; of a larger one, so many are drawn first."""

Point = dict[str, Any]


def axes_of(strategy: Any, grid: Any, fixed: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values of each parameter, each once, in their order; checked as the strategy's class checks them.

    Raises
    ------
    ConfigError
        Where `strategy` is no class or can't be run, or `grid` is no mapping with values in it.
    ParameterError
        With every unknown name and every value that doesn't fit.
    """
    if isinstance(strategy, Strategy):
        name = type(strategy).__name__
        cure = f"is an instance, and each point needs one of its own; give the class: {name}"
        raise ConfigError([Problem("strategy", strategy, cure)], "sweep()")
    if not (isinstance(strategy, type) and issubclass(strategy, Strategy)):
        raise ConfigError([Problem("strategy", strategy, "is no class derived from nbbacktest.Strategy")], "sweep()")
    check_callbacks(strategy)
    if not isinstance(grid, Mapping) or not grid:
        cure = 'is no grid; map parameters to their values, such as {"fast": range(5, 30, 5)}'
        raise ConfigError([Problem("grid", grid, cure)], "sweep()")
    axes = {name: _values(given) for name, given in grid.items()}
    problems = [
        Problem(f"grid[{name!r}]", grid[name], "has no value; give one at least") for name in axes if not axes[name]
    ]
    problems += [
        Problem(name, fixed[name], "is in the grid too; give it in one of the two places")
        for name in fixed
        if name in axes
    ]
    if problems:
        raise ConfigError(problems, "sweep()")
    return _checked(strategy, axes, fixed)


def points_of(
    axes: Mapping[str, Sequence[Any]], where: Callable[..., Any] | None, max_points: int | None, seed: int
) -> list[Point]:
    """The points, in the order of the grid, the last parameter changing fastest.

    Raises
    ------
    ConfigError
        Where none is left, there are too many, or `where` names what is no parameter of the grid or raises.
    """
    if max_points is not None and (isinstance(max_points, bool) or not isinstance(max_points, int) or max_points < 1):
        cure = "is how many points to draw; give a whole number above 0"
        raise ConfigError([Problem("max_points", max_points, cure)], "sweep()")
    total = math.prod(map(len, axes.values()))
    if total > MOST and max_points is None:
        cure = f"has {total:,} points, more than {MOST:,}; set max_points to draw some of them at random"
        raise ConfigError([Problem("grid", dict(axes), cure)], "sweep()")
    rng = random.Random(seed)  # noqa: S311 - a sample to look at, no secret
    numbers: Iterable[int] = range(total) if total <= MOST else rng.sample(range(total), MOST)
    fits = _predicate(where, axes)
    kept = [number for number in numbers if fits(_point(axes, number))]
    if not kept:
        cure = f"leaves none of {min(total, MOST):,} points; loosen it"
        raise ConfigError([Problem("where", where, cure)], "sweep()")
    if max_points is not None and max_points < len(kept):
        kept = rng.sample(kept, max_points)
    return [_point(axes, number) for number in sorted(kept)]


def _values(given: Any) -> list[Any]:
    """What is iterable is several values, but text is one."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        return [given]
    several: list[Any] = []
    for value in _plain(given):
        if not any(value is one or (type(value) is type(one) and value == one) for one in several[-1:]):
            several.append(value)
    try:
        return list({(type(value), value): value for value in several}.values())
    except TypeError:  # what has no hash is kept as often as it was given
        return several


def _plain(given: Iterable[Any]) -> Iterator[Any]:
    return iter(given.tolist()) if hasattr(given, "tolist") else iter(given)


def _checked(
    strategy: type[Strategy], axes: Mapping[str, Sequence[Any]], fixed: Mapping[str, Any]
) -> dict[str, list[Any]]:
    """Each value as the class takes it; all that don't fit are told of at once."""
    known, where = parameters_of(strategy, Strategy), strategy.__name__
    problems: list[Problem] = []
    checked: dict[str, list[Any]] = {}
    base = {**fixed, **{name: values[0] for name, values in axes.items()}}
    try:
        check(known, base, where)
    except ParameterError as error:
        problems += [one for one in error.problems if one.path not in axes]
    for name, values in axes.items():
        if name not in known:
            problems.append(Problem(name, values, f"no such parameter; {nearest(name, known)}"))
            continue
        own = {name: known[name]}
        checked[name] = []
        for value in values:
            try:
                checked[name].append(check(own, {name: value}, where)[name])
            except ParameterError as error:
                problems += error.problems
    if problems:
        raise ParameterError(problems, where)
    return checked


def _point(axes: Mapping[str, Sequence[Any]], number: int) -> Point:
    point = {}
    for name, values in reversed(list(axes.items())):
        number, place = divmod(number, len(values))
        point[name] = values[place]
    return {name: point[name] for name in axes}


def _predicate(where: Callable[..., Any] | None, axes: Mapping[str, Any]) -> Callable[[Point], bool]:
    if where is None:
        return lambda point: True
    if not callable(where):
        cure = "is no function of the grid's parameters, such as lambda fast, slow: fast < slow"
        raise ConfigError([Problem("where", where, cure)], "sweep()")
    if (reason := unrun(where)) is not None:
        raise ConfigError([Problem("where", where, reason)], "sweep()")
    try:
        given = inspect.signature(where).parameters.values()
    except (TypeError, ValueError):  # of built-in functions
        cure = "doesn't say which parameters it takes; write a function of the grid's, such as lambda fast, slow: fast < slow"
        raise ConfigError([Problem("where", where, cure)], "sweep()") from None
    takes_all = any(one.kind is one.VAR_KEYWORD for one in given)
    asked = [one.name for one in given if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
    unknown = [
        Problem("where", name, f"no such parameter in the grid; {nearest(name, axes)}")
        for name in asked
        if name not in axes
    ]
    if unknown:
        raise ConfigError(unknown, "sweep()")

    def fits(point: Point) -> bool:
        try:
            return bool(where(**(point if takes_all else {name: point[name] for name in asked})))
        except Exception as error:
            cure = f"raised {said(error)}"
            raise ConfigError([Problem("where", point, cure)], "sweep()") from error

    return fits
