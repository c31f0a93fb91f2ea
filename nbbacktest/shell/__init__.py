"""The interactive shell: `nbbacktest` alone. Typed at a terminal, or a script through standard input."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from nbbacktest.display.interrupts import leave_in_order, restore
from nbbacktest.shell.interpreter import Interpreter


def interact() -> int:
    """Read and carry out commands until the input ends or `exit` is given; returns the exit status.

    A run that goes on then is stopped: the shell leaves nothing behind. The status of a script is that of its worst
    command; at a terminal it is 0.
    """
    import nbbacktest as nb

    interpreter = Interpreter(nb.get_system_manager())
    handlers: list[tuple[int, Any]] = []
    try:
        with contextlib.suppress(ValueError):  # not the main thread: whoever has it sees to signals
            handlers = leave_in_order()
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
    finally:
        with contextlib.suppress(OSError):  # the terminal is gone, and nobody to be told
            interpreter.close()
        restore(handlers)
