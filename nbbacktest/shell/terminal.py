"""The shell at a terminal: a prompt with the run's state, history and completion, and a line with its progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.styles import Style

import nbbacktest as nb
from nbbacktest.core.enums import SystemState
from nbbacktest.core.formats import money, printed
from nbbacktest.display.terminal_input import Leaving, leaving_asked
from nbbacktest.report.result import Result
from nbbacktest.shell.completion import candidates
from nbbacktest.shell.interpreter import Interpreter, outcome
from nbbacktest.trading.snapshot import Snapshot

if TYPE_CHECKING:
    from prompt_toolkit.document import Document
    from prompt_toolkit.formatted_text import StyleAndTextTuples

REFRESH_SECONDS = 0.5
_WELCOME = "nbbacktest {version}: 'help' lists the commands, Tab completes, 'exit' or Ctrl-D leaves"
_COLOURS = {SystemState.RUNNING: "ansigreen", SystemState.PAUSED: "ansiyellow", SystemState.STOPPED: "ansibrightblack"}

_STYLE = [
    ("completion-menu", "bg:#303030 #d0d0d0"),
    ("completion-menu.completion.current", "noreverse bg:#005f87 #ffffff bold"),
    ("completion-menu.meta.completion", "bg:#262626 #9e9e9e"),
    ("completion-menu.meta.completion.current", "bg:#005f87 #ffffff"),
    ("bottom-toolbar", "noreverse ansicyan"),
]


def converse(interpreter: Interpreter) -> None:
    """Ask for lines and carry them out until there are no more."""
    news = _News(interpreter)
    session: PromptSession[str] = PromptSession(
        message=news.prompt,
        bottom_toolbar=news.toolbar,
        history=_history(),
        completer=_Completer(interpreter, news),
        complete_while_typing=False,
        auto_suggest=AutoSuggestFromHistory(),
        refresh_interval=REFRESH_SECONDS,
        enable_suspend=True,
        style=Style(_STYLE),
    )
    sys.stdout.write(_WELCOME.format(version=nb.__version__) + "\n")
    try:
        while not interpreter.over:
            try:
                # Output of the run goes above the prompt.
                with patch_stdout(raw=True):
                    line = _asked(session)
            except KeyboardInterrupt:
                continue  # Ctrl-C drops the line, as in shells
            except EOFError:
                break
            interpreter.execute(line)
    finally:
        news.close()


def _asked(session: PromptSession[str]) -> str:
    """Ask for one line. The end of the session (SIGTERM) ends the prompt as Ctrl-D does, by its event loop."""
    app = session.app
    came: list[Leaving] = []

    def leave() -> None:
        if app.is_running and app.future is not None and not app.future.done():
            app.exit(exception=came[0])

    def ask(leaving: Leaving) -> None:
        came.append(leaving)
        if app.loop is not None:
            app.loop.call_soon_threadsafe(leave)

    def begun() -> None:
        if came:  # it came before the event loop was there
            leave()

    with leaving_asked(ask):
        return session.prompt(pre_run=begun)


class _News:
    """The last published state of the run, for the prompt: reading it never waits for a bar that is being processed."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._system = interpreter.system
        self.shot: Snapshot | None = None  # written by the dispatcher's thread alone
        self._ends = [self._system.on_progress(self._progress), self._system.on_end(self._end)]

    def close(self) -> None:
        for end in self._ends:
            end()

    def prompt(self) -> StyleAndTextTuples:
        state = self._system.get_state()
        return [("", "nbbacktest "), (f"{_COLOURS[state]} bold", f"[{state.name}]"), ("", "> ")]

    def toolbar(self) -> str | None:
        shot = self.shot
        if shot is None or self._system.is_stopped():
            return None
        return f" {shot.time or 'before the first bar'}   {shot.progress:.1%}   equity {money(shot.equity)} "

    def _progress(self, shot: Snapshot) -> None:
        self.shot = shot

    def _end(self, result: Result) -> None:
        self.shot = None
        metrics = result.record.metrics
        if (
            metrics["session"]["progress"] == 1.0 or metrics["error"]
        ):  # otherwise a command has stopped the run, and its answer said so
            sys.stdout.write(printed(outcome(result)) + "\n")
            sys.stdout.flush()


class _Completer(Completer):
    def __init__(self, interpreter: Interpreter, news: _News) -> None:
        self._interpreter, self._news = interpreter, news

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Offer the words that fit under the cursor; prompt_toolkit calls this."""
        del complete_event  # Tab, or nothing
        for found in candidates(self._interpreter.app, document.text_before_cursor, self._news.shot):
            yield Completion(found.text, start_position=-found.replaces, display_meta=found.told)


def _history() -> History:
    path = history_file()
    return FileHistory(str(path)) if path is not None else InMemoryHistory()


def history_file() -> Path | None:
    """The file of the lines that were typed, which only its user can read; None if it can't be made."""
    path = _state_folder() / "nbbacktest" / "history"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError:
        return None
    return path


def _state_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
