"""The course of a run by its journal: the line of inputs that stands, the places that are known, and the end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from nbbacktest.core.config import SessionConfig
from nbbacktest.core.digests import digest_of_source
from nbbacktest.core.errors import ConfigError, JournalError, ReplayError
from nbbacktest.core.user_code import imported
from nbbacktest.data.market import MarketData
from nbbacktest.system.journal.facts import series_facts, versions
from nbbacktest.system.journal.folder import WRITING, lock
from nbbacktest.system.journal.lines import (
    CutEntry,
    EndEntry,
    InputEntry,
    JournalFile,
    OriginEntry,
    SeriesFacts,
    StandEntry,
    StrategyFacts,
    read_journal,
)
from nbbacktest.system.journal.writer import FillsDigest
from nbbacktest.system.origin import Origin, Strategies
from nbbacktest.trading.orders import Fill
from nbbacktest.trading.strategy import Strategy


class Course(NamedTuple):
    """A place of a run, by its journal.

    Attributes
    ----------
    inputs : list of dict
        Those of the line that stands, in order: cursor, what, strategy, args, by.
    stands : list of StandEntry
        The known places of this line.
    cursor, applied : int
        The place at which the run stood last: completed instants, and inputs that were done.
    horizon : int
        The most completed instants on this line.
    seq : int
        Of the last command.
    end : EndEntry or None
        The end, if nothing came after it.
    """

    inputs: list[dict[str, Any]]
    stands: list[StandEntry]
    cursor: int
    applied: int
    horizon: int
    seq: int
    end: EndEntry | None


def course_of(journal: JournalFile) -> Course:
    """Follow a journal to its end."""
    inputs: list[dict[str, Any]] = []
    stands: list[StandEntry] = []
    cursor = applied = horizon = seq = 0
    end: EndEntry | None = None
    for entry in journal.entries[1:]:
        end = None
        if isinstance(entry, StandEntry):
            stands.append(entry)
            cursor, horizon = entry.cursor, max([entry.horizon, *(one["cursor"] for one in inputs)])
            # A place that was seen just before an input may be written just behind it.
            applied = entry.inputs if entry.line == len(inputs) else _count_at(inputs, cursor)
        elif isinstance(entry, InputEntry | CutEntry):
            del inputs[entry.keep :]
            stands = [one for one in stands if one.cursor <= entry.cursor and one.inputs <= entry.keep]
            inputs += [_input_of(entry)] if isinstance(entry, InputEntry) else entry.again
            cursor, seq = entry.cursor, entry.seq
            applied = _count_at(inputs, cursor)
            horizon = max([cursor, *(one["cursor"] for one in inputs)])  # a redo brings back what lay ahead
        elif isinstance(entry, EndEntry):
            end = entry
            if entry.how != "failed":  # that instant is to be delivered again
                cursor, applied, horizon = entry.cursor, entry.inputs, max(horizon, entry.cursor)
    return Course(inputs, stands, cursor, applied, horizon, seq, end)


def _count_at(inputs: Sequence[Mapping[str, Any]], cursor: int) -> int:
    return sum(one["cursor"] <= cursor for one in inputs)


def _input_of(entry: InputEntry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in ("cursor", "what", "strategy", "args", "by")}


class Claim(NamedTuple):
    """A journal that this process goes on with: no other process can, until `descriptor` is closed."""

    journal: JournalFile
    descriptor: int


def claimed(path: Path) -> Claim:
    """Lock a journal and read it; a torn line at its end is cut off.

    Raises
    ------
    JournalError
        A living process writes it, or it can't be read or written.
    """
    read_journal(path)
    try:
        descriptor = os.open(path, WRITING)
    except OSError as error:
        raise JournalError(path, None, f"can't be gone on with: {error.strerror}", _REPLAY) from None
    try:
        return Claim(_locked(path, descriptor), descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def _locked(path: Path, descriptor: int) -> JournalFile:
    is_free = True
    with suppress(OSError):  # a file system without locks
        is_free = lock(descriptor)
    if not is_free:
        cause = "is that of a run that goes on, in a process that lives"
        raise JournalError(path, None, cause, f"stop that run first; {_REPLAY}")
    found = read_journal(path)  # again: another process may have written, or removed it, until now
    if not os.path.samestat(os.fstat(descriptor), path.stat()):
        raise JournalError(path, None, "was replaced meanwhile", "try again")
    _ = found.origin
    os.ftruncate(descriptor, found.size)
    return found


_REPLAY = "nbbacktest.replay reads it all the same"


def origin_again(journal: JournalFile, data: Any, strategies: Strategies) -> Origin:
    """The origin of the run, to begin it again; `data` and `strategies` take the place of what the journal doesn't hold.

    Raises
    ------
    JournalError
        The config can't be run any more, or bars or strategies can't be had without being handed over.
    """
    facts, path = journal.origin, journal.path
    try:
        config = SessionConfig.load(facts.config)
    except ConfigError as error:
        raise JournalError(
            path, 1, f"has a config that can't be read any more: {error}", "start the run anew"
        ) from error
    if data is None:
        data = _bars_again(facts, path)
    params: Mapping[str, Any] | None = None
    found = (
        [_class_again(number, one, path) for number, one in enumerate(facts.strategies)]
        if strategies is None
        else strategies
    )
    several: list[Any] = list(found) if isinstance(found, (list, tuple)) else [found]
    if strategies is None and not facts.are_given:
        return Origin(config, data)  # the config makes them
    if all(isinstance(one, type) for one in several) and len(several) == len(facts.strategies):
        params = facts.strategies[0].params
        if any(one.params != params for one in facts.strategies):
            several, params = [kind(**one.params) for kind, one in zip(several, facts.strategies, strict=True)], None
    return Origin(config, data, several, params)


def _bars_again(facts: OriginEntry, path: Path) -> Any:
    if facts.copies:
        import pandas as pd

        found: dict[str | None, Any] = {}
        for one in facts.copies:
            try:
                frame = pd.read_parquet(path.parent / one.file)
            except (OSError, ValueError) as error:
                cause = f"has a copy of the bars, {one.file}, that can't be read: {error}"
                raise JournalError(path, 1, cause, _HAND_OVER) from None
            if one.interval is None:
                found[one.symbol] = frame
            else:
                found.setdefault(one.symbol, {})[one.interval] = frame
        return found.get(None, found)
    if facts.is_handed:
        raise JournalError(path, 1, "is of a run on bars that were handed over, which it doesn't hold", _HAND_OVER)
    return facts.data


_HAND_OVER = "hand them over again, with data=; journal.bars = 'copy' keeps them in future runs"


def _class_again(number: int, facts: StrategyFacts, path: Path) -> type[Strategy]:
    cure = "hand it over with strategies="
    if facts.lacks is not None:
        raise JournalError(path, 1, f"has a strategy, {facts.name}, that {facts.lacks}", cure)
    try:
        found = imported(f"strategies.{number}", facts.name, lambda one: isinstance(one, type))
    except ConfigError as error:
        if facts.source is not None:
            cure = f"define it first, as the journal has it, or {cure}"
        why = error.problems[0].cure
        raise JournalError(path, 1, f"has a strategy, {facts.name}, that isn't there any more: {why}", cure) from error
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise JournalError(path, 1, f"has a strategy, {facts.name}, which is no Strategy any more", cure)
    return found


def refuse_other_bars(journal: JournalFile, market: MarketData) -> None:
    """Refuse bars that aren't those that the run began with.

    Raises
    ------
    JournalError
        With the symbol.
    """
    now = {(one.symbol, one.interval): one for one in series_facts(market)}
    for was in journal.origin.bars:
        found = now.pop((was.symbol, was.interval), None)
        if found != was:
            have = "there are none" if found is None else f"now they are {_told(found, market)}"
            cause = f"is of other bars: {was.symbol}'s {was.interval} bars were {_told(was, market)}, and {have}"
            raise JournalError(journal.path, 1, cause, "give the bars of that run, with data=")
    if now:
        symbols = ", ".join(sorted({symbol for symbol, _ in now}))
        raise JournalError(journal.path, 1, f"is of a run without bars of {symbols}", "leave them out")


def _told(facts: SeriesFacts, market: MarketData) -> str:
    first, last = (market.stamps.stamp(moment) for moment in (facts.first, facts.last))
    return f"{facts.count:,} from {first} to {last} (SHA-256 {facts.digest[:8]})"


def verify(journal: JournalFile, course: Course, fills: Sequence[Fill], strategies: Sequence[Strategy]) -> None:
    """Hold the fills of a re-execution, up to the course's horizon, against those of the places that are known.

    Raises
    ------
    ReplayError
        They differ: between which places, and what is another than it was.
    """
    digest, before = FillsDigest(), 0
    for stand in sorted(course.stands, key=lambda stand: stand.fills):
        if len(fills) >= stand.fills and digest.upto(fills, stand.fills) == stand.digest:
            before = stand.cursor
            continue
        facts = journal.origin
        others = [
            one.name
            for one, strategy in zip(facts.strategies, strategies, strict=False)
            if one.digest is not None and one.digest != digest_of_source(type(strategy))
        ]
        why = f"the source of {', '.join(others)} is another than it was" if others else None
        if facts.versions != versions():
            why = f"{why + ', and ' if why else ''}it ran with {facts.versions}, now there are {versions()}"
        likely = "random numbers without a seed, the wall clock, a global or class attribute, a file"
        raise ReplayError(
            f"the run of {journal.path} doesn't repeat itself: the {stand.fills:,} fills up to instant {stand.cursor:,} are "
            f"others than they were, and those up to instant {before:,} are the same. Likely causes: {why or likely}"
        )
