"""`sweep`: one strategy over a grid of its parameters, spread over processes, threads or a cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from nbbacktest.core.errors import ConfigError, Problem, SweepInterrupted
from nbbacktest.core.shown import shown
from nbbacktest.core.user_code import unrun
from nbbacktest.report.console import Progress, line_of_progress
from nbbacktest.report.result import Result
from nbbacktest.report.sweep import SweepResult, check_statistic, rehearse, score_of
from nbbacktest.system.backtest import CASH, backtest, settings_of
from nbbacktest.system.instances import copied
from nbbacktest.system.origin import ConfigSource, own_copy
from nbbacktest.system.sweep.bench import ERROR, Bench, Row
from nbbacktest.system.sweep.grid import Point, axes_of, points_of
from nbbacktest.system.sweep.pool import play_all
from nbbacktest.trading.strategy import Strategy

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
        Who runs the points: any executor, such as a ThreadPoolExecutor or Dask's ``client.get_executor()``; it stays
        yours to shut down. None takes processes that end with the sweep, one a core; the caller plays along where the
        work is little, and alone where it is less than a process's start. The first point is run by the caller, so
        that a mistake shows at once.
    where : callable, optional
        Which points to run, by some or all of the grid's parameters: ``lambda fast, slow: fast < slow``.
    maximize : str or callable
        What makes a point the best: a statistic, or a function of a point's row (parameters and statistics by name).
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
        On Ctrl-C, a KeyboardInterrupt; what was done until then is in `.result`.

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
    bench = Bench(settings, data, strategy, strategy_params)
    bench.prepare(data, points)

    swept = own_copy(data)  # what becomes of the frames later must not reach the points that are run again

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
            play_all(bench, points, executor, told)
        except KeyboardInterrupt as stop:
            message = f"interrupted after {len(rows)} of {len(points)} points; they are in this exception's .result"
            raise SweepInterrupted(message, result()) from stop
    return result()


def _fits(score: Callable[[], object]) -> bool:
    """Whether `maximize` works. Log what `maximize` raises while there is little done: the points can be ranked by something else, and are run."""
    try:
        score()
    except ConfigError as error:
        logger.warning("%s; the points are run all the same: interrupt, or rank them by top(by=...)", error.problems[0])
        return False
    return True


def _harmless(progress: Callable[[int, int], object]) -> Callable[[int, int], object]:
    """What it raises is logged once; it isn't called any more, and the sweep goes on."""
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
