"""The interactive shell that `nbbacktest` alone starts: at a terminal, or for a script on standard input."""

from __future__ import annotations

import contextlib
import sys

from nbbacktest.display.terminal_input import Leaving, leaving_in_order
from nbbacktest.shell.interpreter import Interpreter


def interact() -> int:
    """Read and carry out commands until the input ends or `exit` is given; returns the exit status.

    A run that is still under way is stopped. A script's status is the highest of its commands; at a terminal it is 0.
    """
    import nbbacktest as nb

    interpreter = Interpreter(nb.get_system_manager())
    with leaving_in_order():
        try:
            return _read(interpreter)
        except Leaving:
            with contextlib.suppress(OSError):
                interpreter.close(reporting=True)
            raise
        finally:
            with contextlib.suppress(OSError):  # the terminal is gone
                interpreter.close()


def _read(interpreter: Interpreter) -> int:
    if sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
        from nbbacktest.shell.terminal import converse

        converse(interpreter)
        return 0
    for line in sys.stdin or ():
        interpreter.execute(line)
        sys.stdout.flush()
        if interpreter.over:
            break
    return interpreter.worst
