"""`nbbacktest.divergence`: two systems, two results, or one of each, side by side."""

from __future__ import annotations

from typing import Any

from nbbacktest.core.inputs import Fork
from nbbacktest.report.divergence import Divergence
from nbbacktest.report.parting import ComparedRun
from nbbacktest.report.result import Result
from nbbacktest.system.manager import SystemManager
from nbbacktest.trading.record import RunRecord


def divergence(system: SystemManager | Result, other: SystemManager | Result) -> Divergence:
    """Compare two runs: the first fill, order, cash flow or logged line that differs, and why; statistics and equity of both.

    They are compared up to the last instant that both have completed. Ids of orders don't count. A run that goes on is held for a
    moment.

    Parameters
    ----------
    system, other : SystemManager or Result
        The left and the right run, such as a run and its fork.

    Raises
    ------
    TypeError
        For what is neither.
    RuntimeError
        If a system has started nothing yet, or a strategy's call asks.

    Examples
    --------
    >>> import nbbacktest as nb
    >>> system = nb.SystemManager(reachable=False)
    >>> system.start(paused=True) and system.step(100)
    True
    >>> other = system.fork(costs={"commission": {"model": "percent", "rate": 0.002}})
    >>> bool(nb.divergence(system, other))
    False
    >>> system.step(300) and other.step(300)
    True
    >>> nb.divergence(system, other).first.kind
    'fill'
    >>> system.stop() and other.stop()
    True
    """
    (record, is_over, fork), (record2, is_over2, fork2) = _of(system), _of(other)
    names = ("left", "right")
    if (fork is None) is not (fork2 is None):
        names = ("run", "fork") if fork is None else ("fork", "run")
    return Divergence(ComparedRun(names[0], record, is_over, fork), ComparedRun(names[1], record2, is_over2, fork2))


def _of(one: Any) -> tuple[RunRecord, bool, Fork | None]:
    if isinstance(one, Result):
        return one.record, True, None
    if not isinstance(one, SystemManager):
        raise TypeError(f"divergence() compares SystemManagers and Results, not {one!r}")
    run = one.run
    if run is None:
        raise RuntimeError("nothing was started yet; call start() first")
    if run.is_engine_thread():
        raise RuntimeError("a strategy can't compare its own run; it may do so when it rests")
    if run.done:
        return run.result().record, True, run.fork
    return run.still(lambda _goes_on: run.record()), run.done, run.fork
