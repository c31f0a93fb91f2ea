"""The command line: parses, calls, prints.

Exit status 0 done, 1 the run failed, 2 wrong usage or config, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

import nbbacktest as nb
from nbbacktest.core.errors import ConfigError, DataError, MissingExtraError, NbBacktestError, Problem, StrategyError
from nbbacktest.feeding import feed

if TYPE_CHECKING:
    from rich.console import Console

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130

app = App(
    name="nbbacktest",
    help="The backtester that you can pause.",
    version=nb.__version__,
    help_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)


@app.command
def run(
    config: str,
    /,
    *,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
    save: Path | None = None,
) -> int:
    """Run a session config without a face, and report at the end.

    Parameters
    ----------
    config
        The session config, a JSON file.
    json_
        Print the result as JSON instead of the report; what strategies print goes to stderr.
    save
        Keep the whole result in this file; nbbacktest.Result.load reads it.
    """
    if save is not None:
        _check_writable(save)
    _find_local_modules()
    # Nobody can look at a run that is held at its error here, nor set it going again.
    settings = nb.SessionConfig.load(config).overlaid({"on_error": "stop"}, config)
    with contextlib.redirect_stdout(sys.stderr) if json_ else contextlib.nullcontext():
        result, status = _outcome(settings)
    if json_:
        sys.stdout.write(result.to_json() + "\n")
    else:
        from nbbacktest.report.terminal import print_report

        print_report(result)
    if save is not None:
        result.save(save)
        _console(stderr=True).print(f"saved to {save}", highlight=False, markup=False, soft_wrap=True)
    return status


@app.command
def validate(config: str, /) -> int:
    """Check a session config; every problem is printed with its path, value and cure.

    Parameters
    ----------
    config
        The session config, a JSON file.
    """
    settings = nb.SessionConfig.load(config)
    sys.stdout.write(f"{config} is valid: {settings.session_name}\n")
    return DONE


@app.command
def schema(name: Literal["config", "status"] = "config", /) -> int:
    """Print a JSON schema.

    Parameters
    ----------
    name
        config: the session config. status: the JSON status.
    """
    sys.stdout.write(json.dumps(nb.schema(name), indent=2) + "\n")
    return DONE


app.command(feed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = app(tokens, exit_on_error=False, print_error=False, console=_console())
        sys.stdout.flush()
    except CycloptsError as error:
        return _complain(str(error), MISUSED)
    except (ConfigError, DataError, MissingExtraError) as error:
        return _complain(str(error), MISUSED)
    except NbBacktestError as error:
        return _complain(str(error), FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read us has gone: there is nobody left to tell, and nothing to write at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _complain(f"{error}; check the path and the disk", FAILED)
    return status if isinstance(status, int) else DONE


def _outcome(settings: nb.SessionConfig) -> tuple[nb.Result, int]:
    """Run to the end, or to what ends it before; the result until then, and the exit status."""
    system = nb.SystemManager()
    try:
        system.start(settings)
        _follow(system)
        return system.wait(), DONE
    except KeyboardInterrupt:
        if system.get_coordinator() is None:
            raise  # bars are still being read: there is nothing to report
        system.stop()
        _complain("interrupted: this is what was run until then", INTERRUPTED)
        return system.wait(), INTERRUPTED
    except StrategyError as error:
        _complain(str(error), FAILED)
        return error.result, FAILED


def _check_writable(save: Path) -> None:
    """Refuse, before a long run, a place that its result can't be saved to."""
    folder = save.absolute().parent
    if not folder.is_dir():
        raise ConfigError([Problem("--save", str(save), f"there is no folder {folder}; make it first")], "the command")
    if save.is_dir():
        raise ConfigError([Problem("--save", str(save), "is a folder; name a file in it")], "the command")


def _follow(system: nb.SystemManager) -> None:
    """Show how far the run is, where somebody watches."""
    console = _console(stderr=True)
    if not console.is_terminal:
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[at]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("running", total=1.0, at="")
        while not system.is_stopped():
            shot = system.snapshot()
            progress.update(task, completed=shot.progress, at=str(shot.time or ""))
            with contextlib.suppress(TimeoutError):
                system.wait(timeout=0.1)


def _find_local_modules() -> None:
    """Let a config name strategies in modules of the folder that the command is given in, as `python -m` does."""
    if "" not in sys.path:
        sys.path.insert(0, "")


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


def _complain(message: str, status: int) -> int:
    """Say it where complaints go; returns the exit status, for the caller to pass on."""
    _console(stderr=True).print(f"nbbacktest: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    return status
