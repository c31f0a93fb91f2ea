"""The program `nbbacktest`: its commands, `main`, and its exit status.

Exit status 0 done, 1 the run failed, 2 wrong usage or config, 3 no running session, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal

from cyclopts import App

import nbbacktest as nb
from nbbacktest.cli import data, feed, journals, run, system
from nbbacktest.cli.output import DONE, FAILED, complain, drop_unwritable, ending, take_any_text
from nbbacktest.report.console import console

app = App(
    name="nbbacktest",
    help="The backtester that you can pause. Alone it is an interactive shell.",
    version=nb.__version__,
    help_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app.command(system.app)
app.command(run.run)
app.command(run.validate)
app.command(run.schema)
app.command(system.sessions)
app.command(journals.runs)
app.command(journals.resume)
app.command(journals.replay)
app.command(data.data)
app.command(feed.feed)


@app.command
def completion(name: Literal["bash", "zsh", "fish"], /, *, install: bool = False) -> int:
    """Complete commands, options and files at the prompt of your shell: print the script for it, or install it.

    Parameters
    ----------
    name
        Your shell.
    install
        Write the script to where that shell looks for it, instead of printing it, and have it read at the start.
    """
    if install:
        place = app.install_completion(shell=name)
        sys.stdout.write(f"completion for {name} is in {place}; it works in the next shell that you open\n")
    else:
        sys.stdout.write(app.generate_completion(shell=name) + "\n")
    return DONE


def _call(tokens: list[str]) -> object:
    return app(tokens, exit_on_error=False, print_error=False, console=console())


def _shell() -> int:
    from nbbacktest.shell import interact

    return interact()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    take_any_text()
    try:
        # No function is the parser's default: it would take a misspelt command for its argument.
        status = _call(tokens) if tokens else _shell()
        sys.stdout.flush()
    except BrokenPipeError:
        return FAILED  # the reader of the output has gone
    except (Exception, KeyboardInterrupt) as error:
        told = ending(error)
        if told is None:
            raise
        return complain(*told)
    finally:
        drop_unwritable()
    return status if isinstance(status, int) else DONE
