"""The runs that journals are kept of, as a list for people, and the offer of the one that was killed last."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from nbbacktest.core.config import JournalConfig
from nbbacktest.core.errors import JournalError
from nbbacktest.system.journal.course import course_of
from nbbacktest.system.journal.folder import NAME, killed_runs, runs_folder, runs_in, state_of
from nbbacktest.system.journal.lines import read_journal


class KeptRun(NamedTuple):
    """A run in the list.

    Attributes
    ----------
    run, at, name : str
        Its id; when it began, ISO 8601, UTC; the config's `session_name`.
    strategies : list of str
        Their classes' names.
    instants, inputs : int
        The completed instants when it last told, and the inputs by hand that stand.
    state : str
        ``"running"``, ``"killed"``, ``"ended"``; ``"damaged"`` of a journal that can't be read.
    journal : str
        The path of its journal.
    problem : str or None
        The reason why it can't be read.
    """

    run: str
    at: str
    name: str
    strategies: list[str]
    instants: int
    inputs: int
    state: str
    journal: str
    problem: str | None = None


def kept_runs(settings: JournalConfig | None = None) -> list[KeptRun]:
    """All runs of the folder, newest first.

    Raises
    ------
    JournalError
        The folder can't be read.
    """
    return list(_listed(runs_folder(settings or JournalConfig())))


def _listed(folder: Path) -> Iterator[KeptRun]:
    for run in reversed(runs_in(folder)):
        journal = run / NAME
        try:
            found = read_journal(journal)
            if not found.entries:
                continue  # ended, or killed, before anything happened; or about to begin
            origin, course = found.origin, course_of(found)
        except JournalError as error:
            yield KeptRun(run.name, "", "", [], 0, 0, "damaged", str(journal), str(error))
            continue
        yield KeptRun(
            run.name,
            origin.at,
            str(origin.config.get("session_name", "Backtest")),
            [one.name.rpartition(":")[2] for one in origin.strategies],
            course.cursor,
            len(course.inputs),
            state_of(journal),
            str(journal),
        )


def offer(settings: JournalConfig | None = None) -> str | None:
    """The line that offers the newest run whose process died, if it died within a day; None if there is none."""
    try:
        journal = next(killed_runs(runs_folder(settings or JournalConfig())), None)
        if journal is None:
            return None
        found = read_journal(journal)
        origin, course = found.origin, course_of(found)
    except JournalError:
        return None
    if abs((datetime.now().astimezone() - datetime.fromisoformat(origin.at)).total_seconds()) > _OFFERED_SECONDS:
        return None
    strategies = ", ".join(one.name.rpartition(":")[2] for one in origin.strategies)
    hands = f", {len(course.inputs)} inputs by hand" if course.inputs else ""
    return (
        f"A run was cut off: {strategies}, {course.cursor:,} instants{hands} ({origin.run}). "
        "system.recover() goes on with it"
    )


_OFFERED_SECONDS = 86_400
