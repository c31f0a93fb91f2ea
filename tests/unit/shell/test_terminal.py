"""The prompt as an event loop has it: what a signal does there. What it looks like, tests/e2e show at a real terminal."""

from __future__ import annotations

import random
import signal
import sys

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

import nbbacktest as nb
from nbbacktest.display.terminal_input import Leaving, leaving_in_order
from nbbacktest.shell.interpreter import Interpreter
from nbbacktest.shell.terminal import converse

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM raises nothing there")


class Raiser:
    """Raises SIGTERM at the function call numbered `at`; without one it only counts them."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.calls = at, 0

    def __call__(self, _frame, event: str, _argument) -> None:
        if event == "call":
            self.calls += 1
            if self.calls == self.at:
                signal.raise_signal(signal.SIGTERM)


def asked(raiser: Raiser) -> None:
    """A dialogue of one line that leaves the shell, under a profile function."""
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        typed.send_text("exit\r")
        interpreter = Interpreter(nb.SystemManager())
        sys.setprofile(raiser)
        try:
            converse(interpreter)
        finally:
            sys.setprofile(None)


def test_the_end_of_a_session_is_raised_out_of_no_callback_of_the_event_loop(tmp_path, monkeypatch, capsys):
    """At any point of a prompt SIGTERM ends the shell as an exit does: an event loop swallows what its callbacks raise."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    asked(Raiser())  # imports what a prompt needs
    counters = Raiser(), Raiser()  # a prompt that takes longer is drawn again
    for counter in counters:
        asked(counter)
    codes = []
    for point in random.Random(15).sample(range(1, min(counter.calls for counter in counters)), 60):
        raiser = Raiser(point)
        try:
            with leaving_in_order():
                asked(raiser)
        except Leaving as leaving:
            codes.append(leaving.code)
        else:
            assert raiser.calls < point, f"the signal at call {point} was lost"
    shown = capsys.readouterr()
    assert "Unhandled exception" not in shown.out + shown.err
    assert "Traceback" not in shown.out + shown.err
    assert len(codes) >= 30
    assert set(codes) == {128 + signal.SIGTERM}
