"""Completion of the word before the cursor: commands, options, configs, times, sessions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nbbacktest.core.errors import NbBacktestError
from nbbacktest.shell.interpreter import first_line
from nbbacktest.system.break_terms import KINDS
from nbbacktest.system.commands import COMMANDS
from nbbacktest.system.targets import EVENTS, NUMBERED
from nbbacktest.trading.snapshot import Snapshot

if TYPE_CHECKING:
    from cyclopts import App

CONFIG_FOLDER = "session_configs"
_TAKES_CONFIG = ("start", "run", "validate")
_TIMES = 6


class Candidate(NamedTuple):
    """A word that fits, a note about it, and how many characters before the cursor it replaces."""

    text: str
    told: str
    replaces: int


def candidates(app: App, line: str, shot: Snapshot | None) -> list[Candidate]:
    """The words that may stand at the end of `line`.

    Parameters
    ----------
    app
        The shell's commands.
    line
        The text that is typed up to the cursor.
    shot
        The run as it is now; times are offered from there on.
    """
    words = line.split()
    current = words.pop() if words and not line[-1].isspace() else ""
    if words and words[0] in COMMANDS:
        words = ["system", *words]
    node, path = app, list[str]()
    while words and words[0] in _names(node):
        path.append(words.pop(0))
        node = node[path[-1]]
    if path == ["help"]:
        node, path = app, []
        while words and words[0] in _names(node):
            node = node[words.pop(0)]
        return _fitting(_commands(node), current) if not words else []
    if not path or path == ["system"]:
        found = dict(_commands(node))
        if not path and not words:
            found |= {name: told for name, told in _commands(app["system"]) if name not in found}
        return _fitting(found.items(), current) if not words else []
    if words and words[-1] == "--session":
        return _fitting(_sessions(), current)
    if current.startswith("-"):
        return _fitting(_options(node), current)
    return _arguments(path[-1], words, current, shot)


def _arguments(command: str, words: list[str], current: str, shot: Snapshot | None) -> list[Candidate]:
    if command in _TAKES_CONFIG and not [word for word in words if not word.startswith("-")]:
        return [Candidate(path, "", len(current)) for path in _configs(current)]
    offered = {"until": _times(shot), "back-until": _events(), "break": _events(), "rewind": _places()}.get(command)
    if offered is not None:
        typed = " ".join([*words, current])
        return [Candidate(c.text, c.told, len(typed)) for c in _fitting(offered, typed)]
    if command == "schema" and not words:
        return _fitting([("config", "the session config"), ("status", "the JSON status")], current)
    return []


def _fitting(found: Iterable[tuple[str, str]], current: str) -> list[Candidate]:
    return [Candidate(name, told, len(current)) for name, told in found if name.startswith(current)]


def _names(node: App) -> list[str]:
    return [name for name in node if not name.startswith("-")]


def _commands(node: App) -> Iterator[tuple[str, str]]:
    for name in _names(node):
        yield name, first_line(node[name])


def _options(node: App) -> Iterator[tuple[str, str]]:
    for argument in node.assemble_argument_collection(parse_docstring=True):
        for name in argument.names:
            if name.startswith("--"):
                yield name, argument.parameter.help or ""
    yield "--help", "What it does."


def _configs(current: str) -> list[str]:
    """JSON files and folders that begin with `current`; if nothing is typed, those of `CONFIG_FOLDER` too."""
    folder, start = os.path.split(current)
    places = [folder] if current else ["", CONFIG_FOLDER]
    found = []
    for place in places:
        try:
            entries = sorted(Path(place or ".").expanduser().iterdir())
        except OSError:
            continue
        for entry in entries:
            if not entry.name.startswith(start) or entry.name.startswith(".") or entry.name == "schema.json":
                continue
            if entry.is_dir() and current:
                found.append(os.path.join(place, entry.name, ""))  # noqa: PTH118 - with the slash at its end
            elif entry.suffix == ".json":
                found.append(os.path.join(place, entry.name))  # noqa: PTH118 - `~` and `./` stay as they were typed
    return found


def _events() -> Iterator[tuple[str, str]]:
    yield from KINDS.items()


def _places() -> Iterator[tuple[str, str]]:
    yield "start", "before the first bar"
    yield "end", "the furthest that the run has come"
    for event in NUMBERED:
        yield f"last {event}", f"or its number: {event} 3"


def _times(shot: Snapshot | None) -> Iterator[tuple[str, str]]:
    for event in EVENTS:
        yield event, "rests after it"
    if shot is None or shot.time is None or shot.time.tzinfo is None:
        return
    for half_hours in range(1, _TIMES + 1):
        moment = shot.time.floor("30min") + timedelta(minutes=30 * half_hours)
        yield f"{moment:%H:%M}", "the exchange's clock"


def _sessions() -> Iterator[tuple[str, str]]:
    from nbbacktest.system.remote.client import sessions

    try:
        found = [entry for entry in sessions() if entry.alive]
    except NbBacktestError:
        return
    for entry in found:
        yield entry.id, f"{entry.name}, {entry.state}"
