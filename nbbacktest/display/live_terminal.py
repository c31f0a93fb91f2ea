"""The live page of a terminal: drawn ten times a second, with commands as single keys, until the run ends."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from nbbacktest.core.enums import SystemState
from nbbacktest.core.errors import NbBacktestError
from nbbacktest.display.run_meter import RunMeter
from nbbacktest.display.run_page import Keys, RunPage
from nbbacktest.display.terminal_input import Interrupts, Keyboard, Suspension
from nbbacktest.system.commands import COMMANDS
from nbbacktest.system.manager import SystemManager

if TYPE_CHECKING:
    from rich.console import Console

FRAME_SECONDS = 0.1
NOTICE_SECONDS = 4.0

_RUNNING: Keys = (("p", "pause"), ("q", "stop and report"), ("space", "pause, resume"))
_PAUSED: Keys = (("r", "resume"), ("s", "step"), ("q", "stop and report"), ("space", "pause, resume"))
_ASKED: Keys = (("r", "resume"), ("s", "step"), ("q", "stop and report"), ("Ctrl-C", "the same"))
_WITHOUT_KEYS: Keys = (("Ctrl-C", "pause"),)
_WITHOUT_KEYS_ASKED: Keys = (("Ctrl-C", "stop and report"),)
_QUESTION = "Paused. Go on, or stop here?"


class LiveTerminal:
    """Shows a started run until it ends.

    Parameters
    ----------
    system
        The run.
    cash : float
        The starting cash of its account.
    console
        A terminal.
    """

    def __init__(self, system: SystemManager, cash: float, console: Console) -> None:
        self._system = system
        self._meter = RunMeter(system, cash)
        self._console = console
        self._notice, self._until = "", 0.0
        self._asked = False  # a Ctrl-C has paused the run; the next one stops it

    def show(self) -> bool:
        """Draw the page and carry out keys until the run has ended; returns True if Ctrl-C ended it."""
        from rich.live import Live

        live = Live(console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop")
        keyboard = Keyboard()

        def leave() -> None:
            live.stop()
            keyboard.release()

        def back() -> None:
            keyboard.take()
            live.start()

        with Interrupts() as interrupts, keyboard, live, Suspension(leave, back) as suspension:
            while not self._system.is_stopped():
                suspension.heed()
                live.update(self._page(keyboard), refresh=True)
                key = keyboard.read(FRAME_SECONDS)
                interrupted = interrupts.taken()
                try:
                    if interrupted and interrupts.waiting(self._interrupt):
                        return True
                    if key is not None:
                        interrupts.waiting(partial(self._press, key))
                except KeyboardInterrupt:  # it was pressed while a command waited for the engine
                    self._system.stop()
                    return True
        return False

    # -- inside ---------------------------------------------------------------------------------------------

    def _page(self, keyboard: Keyboard) -> RunPage:
        reading = self._meter.read()
        if reading.state is not SystemState.PAUSED:
            self._asked = False
        if self._asked:
            return RunPage(reading, _ASKED if keyboard.present else _WITHOUT_KEYS_ASKED, _QUESTION)
        keys = _PAUSED if reading.state is SystemState.PAUSED else _RUNNING
        notice = self._notice if monotonic() < self._until else ""
        return RunPage(reading, keys if keyboard.present else _WITHOUT_KEYS, notice)

    def _interrupt(self) -> bool:
        """The first Ctrl-C pauses and asks, the second stops; returns True for the second."""
        if self._asked or self._system.is_stopped():
            self._command("stop")
            return True
        if not self._system.is_paused():
            self._command("pause")
        self._asked = True
        return False

    def _press(self, key: str) -> None:
        paused = self._system.is_paused()
        name = {"p": "pause", "r": "resume", "s": "step", "q": "stop", " ": "resume" if paused else "pause"}.get(key)
        if name is not None:
            self._command(name)
        elif key.isprintable():
            self._say(f"{key!r} is no key here")

    def _command(self, name: str) -> None:
        try:
            answer = COMMANDS[name](self._system)
        except NbBacktestError as error:
            self._say(str(error).partition(" Last events")[0])
            return
        self._asked = self._asked and name == "step"
        self._say(answer.message)

    def _say(self, text: str) -> None:
        self._notice, self._until = text.splitlines()[0], monotonic() + NOTICE_SECONDS
