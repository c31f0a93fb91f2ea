"""`replay`: the result of a journal's run, executed again without a face and held against the journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbbacktest.core.config import JournalConfig
from nbbacktest.core.errors import StrategyError
from nbbacktest.report.result import Result
from nbbacktest.system.journal.recovery import Recovery, repeat_of
from nbbacktest.system.manager import SystemManager
from nbbacktest.system.origin import Strategies


def replay(journal: str | Path, *, data: Any = None, strategies: Strategies = None) -> Result:
    """Execute the run of a journal again, with all that was done to it by hand, and hold it against the journal.

    Parameters
    ----------
    journal : str or path
        The path of a journal, or the id of a run that is kept, or a part of it.
    data, strategies
        Bars and strategies that the journal doesn't hold: bars that were handed over as objects, classes that can't be imported,
        instances.

    Returns
    -------
    Result
        Of the whole run; if it never came to its end, or was stopped or failed, until there.

    Raises
    ------
    JournalError
        The journal can't be read, or is of other bars.
    ReplayError
        The run doesn't repeat itself: its fills, or its end, are others.
    """
    return repeated(repeat_of(journal, JournalConfig(), data, strategies))


def repeated(recovery: Recovery) -> Result:
    """The result of a recovery's run; raises as `replay`."""
    system = SystemManager(reachable=False)
    try:
        recovery.follow(system)
        result = _ended(system, recovery)
    finally:
        system.stop()
    recovery.judge(result)
    return result


def _ended(system: SystemManager, recovery: Recovery) -> Result:
    end = recovery.course.end
    if end is None or end.how == "stopped":
        system.stop()
    elif not system.is_stopped():
        system.resume()
    try:
        return system.wait()
    except StrategyError as error:
        if end is None or end.how != "failed":
            raise
        result: Result = error.result
        return result
