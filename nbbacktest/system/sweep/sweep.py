"""`sweep`: one strategy over a grid of its parameters, spread over processes, threads or a cluster."""

from __future__ import annotations

import inspect
import logging
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from nbbacktest.core.errors import ConfigError, ParameterError, Problem, SweepInterrupted, nearest
from nbbacktest.core.formats import said, shown
from nbbacktest.core.user_code import unrun
from nbbacktest.report.console import Progress, line_of_progress
from nbbacktest.report.result import Result
from nbbacktest.report.sweep import SweepResult, check_statistic, rehearse, score_of
from nbbacktest.system.backtest import CASH, backtest, settings_of
from nbbacktest.system.origin import ConfigSource, copied, own_copy
from nbbacktest.system.sweep.pool import run_all
from nbbacktest.system.sweep.worker import ERROR, Point, Row, SweepWorker
from nbbacktest.trading.callbacks import check_callbacks
from nbbacktest.trading.strategy import Strategy, check, parameters_of

logger = logging.getLogger("nbbacktest")


def sweep(
    data: Any,
    strategy: type[Strategy],
    grid: Mapping[str, Any],
    *,
    executor: Executor | None = None,
    where: Callable[..., Any] | None = None,
    maximize: str | Callable[[Mapping[str, Any]], float] = "sharpe",
    max_points: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], object] | bool = True,
    cash: float = CASH,
    commission: Any = 0.0,
    slippage: Any = 0.0,
    fill: str = "next_open",
    derived: Sequence[str] = (),
    config: ConfigSource | None = None,
    **strategy_params: Any,
) -> SweepResult:
    """Run a strategy with every combination of some parameters' values.

    Each point's statistics are those of `backtest` with its parameters. Bars are loaded once and shared by all workers.

    Parameters
    ----------
    data : DataFrame, mapping, path or DataSource
        As for `backtest`.
    strategy : Strategy class
        Defined anywhere, in a notebook too.
    grid : mapping
        By parameter, its values: ``{"fast": range(5, 30, 5), "slow": [50, 100]}``.
    executor : concurrent.futures.Executor, optional
        Runs the points: any executor, such as a ThreadPoolExecutor or Dask's ``client.get_executor()``; it stays
        yours to shut down. None takes processes that end with the sweep, one a core; the caller runs points too if the
        work is little, and alone if it is less than a process's start. The first point is run by the caller, so
        that a mistake shows at once.
    where : callable, optional
        The points to run, by some or all of the grid's parameters: ``lambda fast, slow: fast < slow``.
    maximize : str or callable
        The measure of the best point: a statistic, or a function of a point's row (parameters and statistics by name).
        A function is tried on an invented row before any point is run, and on the first point's before the others;
        what it raises is logged, and raised by `best`.
    max_points : int, optional
        Run no more points than these, drawn at random of those that `where` leaves.
    seed : int
        Of that draw: the same seed draws the same points.
    progress : callable or bool
        Called with the numbers of points that are done and of all, in the caller's thread. True shows a line in a
        notebook or a terminal, and nothing elsewhere; False shows nothing. What it raises is logged, and harms nothing.
    cash, commission, slippage, fill, derived, config
        As for `backtest`.
    **strategy_params
        Values of parameters that stay the same.

    Returns
    -------
    SweepResult
        A point that failed is a row with its error.

    Raises
    ------
    ConfigError, DataError
        Before anything is started.
    SweepInterrupted
        On Ctrl-C, a KeyboardInterrupt; `.result` has the points that were done.

    Examples
    --------
    ::

        found = nb.sweep(frame, Cross, {"fast": range(5, 30, 5), "slow": range(20, 120, 20)},
                         where=lambda fast, slow: fast < slow)
        found.frame
        found.heatmap("fast", "slow")
        result = found.run()            # the best point's, whole
    """
    axes = axes_of(strategy, grid, strategy_params)
    check_statistic(maximize)
    if executor is not None and not callable(getattr(executor, "submit", None)):
        cure = "is no executor; give one such as concurrent.futures.ThreadPoolExecutor(), or leave it out for processes"
        raise ConfigError([Problem("executor", executor, cure)], "sweep()")
    if not (isinstance(progress, bool) or callable(progress)):
        cure = "is no function of two numbers; give one, or True or False"
        raise ConfigError([Problem("progress", progress, cure)], "sweep()")
    if (reason := unrun(progress)) is not None:
        raise ConfigError([Problem("progress", progress, reason)], "sweep()")
    points = points_of(axes, where, max_points, seed)
    fits = _fits(lambda: rehearse(maximize, points[0]))
    settings = settings_of(config, cash, commission, slippage, fill, derived)
    if data is None and "data" not in settings.model_fields_set:
        cure = "is no data; give a DataFrame, a mapping {symbol: DataFrame}, a path, or a config with data"
        raise ConfigError([Problem("data", data, cure)], "sweep()")
    worker = SweepWorker(settings, data, strategy, strategy_params)
    worker.prepare(data, points)

    swept = own_copy(data)  # later changes of the frames must not reach the points that are run again

    def run(point: Point) -> Result:
        return backtest(swept, strategy, config=settings, **copied({**strategy_params, **point}))

    rows: dict[int, Row] = {}

    def result() -> SweepResult:
        done = [(points[number], rows[number]) for number in sorted(rows)]
        return SweepResult(done, list(axes), maximize, run, total=len(points), strategy=strategy.__name__)

    with line_of_progress(len(points)) if progress is True else Progress() as line:
        show = _harmless(progress) if callable(progress) else line.show

        def told(number: int, row: Row) -> None:
            if fits and not rows and row[ERROR] is None:
                _fits(lambda: score_of(maximize, row, points[number]))
            rows[number] = row
            show(len(rows), len(points))

        try:
            run_all(worker, points, executor, told)
        except KeyboardInterrupt as stop:
            message = f"interrupted after {len(rows)} of {len(points)} points; they are in this exception's .result"
            raise SweepInterrupted(message, result()) from stop
    return result()


def _fits(score: Callable[[], object]) -> bool:
    """True if `maximize` works. Its error is logged once, early; the points are run, and can be ranked by something else."""
    try:
        score()
    except ConfigError as error:
        logger.warning("%s; the points are run all the same: interrupt, or rank them by top(by=...)", error.problems[0])
        return False
    return True


def _harmless(progress: Callable[[int, int], object]) -> Callable[[int, int], object]:
    """Log the first error of `progress`, and call it no more; the sweep goes on."""
    gone = False

    def show(done: int, total: int) -> None:
        nonlocal gone
        try:
            if not gone:
                progress(done, total)
        except Exception:
            gone = True
            logger.exception("progress = %s raised; the sweep goes on without it", shown(progress))

    return show


MOST = 1_000_000
"""The most points of a grid that are looked at; of a larger grid, so many are drawn first."""


def axes_of(strategy: Any, grid: Any, fixed: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values of each parameter, each once, in their order; checked as the strategy's class checks them.

    Raises
    ------
    ConfigError
        `strategy` is no class or can't be run, or `grid` is no mapping with values in it.
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
        None is left, there are too many, or `where` raises or names a parameter that isn't in the grid.
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
    """An iterable is several values, but a text is one."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        return [given]
    several: list[Any] = []
    for value in _plain(given):
        if not any(value is one or (type(value) is type(one) and value == one) for one in several[-1:]):
            several.append(value)
    try:
        return list({(type(value), value): value for value in several}.values())
    except TypeError:  # values without a hash can't be compared with a set: repeated ones stay
        return several


def _plain(given: Iterable[Any]) -> Iterator[Any]:
    return iter(given.tolist()) if hasattr(given, "tolist") else iter(given)


def _checked(
    strategy: type[Strategy], axes: Mapping[str, Sequence[Any]], fixed: Mapping[str, Any]
) -> dict[str, list[Any]]:
    """Each value as the class takes it; one error names all values that don't fit."""
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
