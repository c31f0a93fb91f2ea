"""The lines of a journal: a checksum, a space and JSON each. A torn last line is dropped, any other bad line refuses the file."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from nbbacktest.core.errors import JournalError

VERSION = 1
"""The version of the format."""

Count = Annotated[int, msgspec.Meta(ge=0)]


class _JournalEntry(msgspec.Struct, frozen=True, tag_field="kind"):
    pass


class SeriesFacts(msgspec.Struct, frozen=True):
    """The bars of one symbol at one interval, as they were loaded.

    Attributes
    ----------
    count, first, last : int
        The number of bars, the begin of the first and the end of the last, nanoseconds UTC; 0 if there is none.
    digest : str
        SHA-256 of their columns, in hex.
    """

    symbol: str
    interval: str
    count: Count
    first: int
    last: int
    digest: str


class CopyFacts(msgspec.Struct, frozen=True):
    """A frame that was handed over, and is kept in a file beside the journal.

    Attributes
    ----------
    symbol, interval : str or None
        The keys under which it was handed over; None if there were none.
    file : str
        The name of the file.
    """

    symbol: str | None
    interval: str | None
    file: str


class StrategyFacts(msgspec.Struct, frozen=True):
    """A strategy of the run.

    Attributes
    ----------
    name : str
        The class, as ``module:Name``.
    params : dict
        The parameters that it was given.
    symbols : list of str or None
        Those that it trades; None: all.
    digest : str or None
        SHA-256 of the class's source, in hex; None if the source can't be had.
    source : str or None
        The source itself, of a class of a notebook or of a script.
    lacks : str or None
        The reason why the strategy can't be made from this alone; None if it can.
    """

    name: str
    params: dict[str, Any]
    symbols: list[str] | None
    digest: str | None
    source: str | None
    lacks: str | None


class OriginEntry(_JournalEntry, frozen=True, tag="origin"):
    """The first line: the arguments that the run began with, and facts about its bars and strategies.

    Attributes
    ----------
    run, at : str
        The run's id; when it began, ISO 8601, UTC.
    versions : dict
        Of nbbacktest, Python, numpy and TA-Lib.
    config : dict
        The session config as it was run.
    folder : str
        The folder that the process was in; relative paths of the config begin there.
    data : str or None
        The path that was given in place of the config's data.
    is_handed : bool
        True if bars were handed over as objects, which the journal doesn't hold.
    copies : list of CopyFacts
        The frames among them that lie beside the journal.
    are_given : bool
        True if strategies were given in place of the config's.
    """

    version: int
    run: str
    at: str
    versions: dict[str, str]
    config: dict[str, Any]
    folder: str
    data: str | None
    is_handed: bool
    copies: list[CopyFacts]
    bars: list[SeriesFacts]
    strategies: list[StrategyFacts]
    are_given: bool


class InputEntry(_JournalEntry, frozen=True, tag="input"):
    """One thing that a hand did: the whole command in one line, written before it happens.

    Attributes
    ----------
    keep : int
        The number of inputs of the line before it that still stand.
    cursor : int
        Completed instants where it was done.
    seq : int
        Rises from command to command, over inputs and cuts.
    what, strategy, args
        The command, the name of the strategy that it was done for, and its arguments.
    by, at : str
        Which face did it, and when, ISO 8601, UTC.
    """

    keep: Count
    cursor: Count
    seq: Count
    what: str
    strategy: str | None
    args: dict[str, Any]
    by: str
    at: str


class CutEntry(_JournalEntry, frozen=True, tag="cut"):
    """An undo: of the line's inputs the first `keep` stand, and the run is at `cursor`. A redo: those in `again` follow them."""

    keep: Count
    cursor: Count
    seq: Count
    at: str
    again: list[dict[str, Any]] = []


class StandEntry(_JournalEntry, frozen=True, tag="stand"):
    """A line about the place that the run stands at.

    Attributes
    ----------
    cursor, horizon : int
        Completed instants, and the most that there have been on this line.
    inputs, line : int
        The number of inputs that were applied, and of those that the line has.
    fills : int
        The number of fills.
    digest : str
        SHA-256 of these fills, in hex.
    """

    cursor: Count
    horizon: Count
    inputs: Count
    line: Count
    fills: Count
    digest: str


class EndEntry(_JournalEntry, frozen=True, tag="end"):
    """The end of the run.

    Attributes
    ----------
    how : str
        ``"finished"`` at the end of the data, ``"stopped"`` by a command, ``"failed"`` by an error.
    fingerprint : str
        Of the result.
    error : str or None
        The error that ended the run.
    """

    how: Literal["finished", "stopped", "failed"]
    cursor: Count
    inputs: Count
    fingerprint: str
    error: str | None
    at: str


Entry = OriginEntry | InputEntry | CutEntry | StandEntry | EndEntry


class JournalFile(NamedTuple):
    """A journal as it was read.

    Attributes
    ----------
    entries : tuple
        Of all whole lines; empty if not even the first line is whole.
    size : int
        Bytes of these lines: what lies behind them is a torn line.
    """

    path: Path
    entries: tuple[Entry, ...]
    size: int

    @property
    def origin(self) -> OriginEntry:
        """The line that the run began with.

        Raises
        ------
        JournalError
            Not even that was written.
        """
        for entry in self.entries[:1]:
            if isinstance(entry, OriginEntry):
                return entry
        raise JournalError(self.path, None, "is empty: its run was ended before anything was written", "start it anew")


def line_of(entry: Entry) -> bytes:
    """The line of an entry, its end included.

    Raises
    ------
    TypeError, ValueError
        The entry holds what JSON can't.
    """
    # Not msgspec's encoder: it writes NaN as null.
    text = json.dumps(msgspec.to_builtins(entry), separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def read_journal(path: Path) -> JournalFile:
    """Read a journal.

    Raises
    ------
    JournalError
        There is none, it can't be read, or a line is bad that isn't the last, torn one.
    """
    if not path.is_file():
        what = "is no file" if path.exists() else "isn't there"
        raise JournalError(path, None, what, "name a run of `nbbacktest runs`, or the path of a journal")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise JournalError(path, None, f"can't be read: {error.strerror}", "read it as its owner") from None
    return parsed(raw, path)


def parsed(raw: bytes, path: Path) -> JournalFile:
    """The journal with the content `raw`; raises as `read_journal`."""
    size = raw.rfind(b"\n") + 1
    return JournalFile(path, tuple(_entries(raw[:size], path)), size)


def _entries(raw: bytes, path: Path) -> Iterator[Entry]:
    inputs = seq = 0
    for number, line in enumerate(raw.splitlines(keepends=True), start=1):
        entry = _entry(line, number, path)
        if isinstance(entry, OriginEntry) is not (number == 1):
            raise JournalError(path, number, "has the run's beginning at another place than the first line", _DAMAGED)
        if isinstance(entry, InputEntry | CutEntry):
            if entry.keep > inputs or entry.seq <= seq:
                raise JournalError(path, number, "doesn't follow from the lines before it: some are missing", _DAMAGED)
            inputs = entry.keep + (1 if isinstance(entry, InputEntry) else len(entry.again))
            seq = entry.seq
        yield entry


_DAMAGED = "take the file from a copy, or start the run anew"


def _entry(line: bytes, number: int, path: Path) -> Entry:
    text = line[9:-1]
    if line[-1:] != b"\n" or line[:9] != b"%08x " % zlib.crc32(text):
        cause = "is damaged: its checksum doesn't fit" if number > 1 else "is damaged, or the file is no journal"
        raise JournalError(path, number, cause, _DAMAGED)
    try:
        found = json.loads(text)
        version = found.get("version", VERSION)
        if version == VERSION:
            entry: Entry = msgspec.convert(found, type=Entry)
            return entry
    except (ValueError, AttributeError, RecursionError) as error:  # of msgspec too
        raise JournalError(path, number, f"is no line of a journal: {error}", _DAMAGED) from None
    cause = f"is of format {version!r}, and this version of nbbacktest reads format {VERSION}"
    raise JournalError(path, number, cause, f"read it with the version that wrote it: {found.get('versions')}")
