"""Whole runs and their configs: `run`, `validate`, `schema`."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from cyclopts import Parameter

import nbbacktest as nb
from nbbacktest.cli.output import DONE, FAILED, INTERRUPTED, complain
from nbbacktest.core.errors import ConfigError, Problem, StrategyError
from nbbacktest.core.files import try_target
from nbbacktest.core.formats import printed, printed_json
from nbbacktest.display.terminal_input import Leaving, Suspension, leaving_in_order, uninterrupted
from nbbacktest.report.console import console


def run(
    config: Path,
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
        _check_target(save)
    find_local_modules()
    # With "pause" the run would be held at an error, and nothing here could resume it.
    settings = nb.SessionConfig.load(config).overlaid({"on_error": "stop"}, str(config))
    with leaving_in_order(), contextlib.redirect_stdout(sys.stderr) if json_ else contextlib.nullcontext():
        outcome = _outcome(settings)
        with uninterrupted():
            # Saved before the report: printing fails if the reader of the output has gone.
            failure = _saved(outcome.result, save) if save is not None else None
    if outcome.complaint is not None:
        complain(outcome.complaint, outcome.status)
    if json_:
        sys.stdout.write(printed_json(outcome.result.to_json()) + "\n")
    else:
        from nbbacktest.report.terminal import print_report

        print_report(outcome.result.analysis)
    if failure is not None:
        raise failure
    if save is not None:
        console(stderr=True).print(f"saved to {save}", markup=False, soft_wrap=True)
    return outcome.status


def validate(config: Path, /) -> int:
    """Check a session config; every problem is printed with its path, value and cure.

    Parameters
    ----------
    config
        The session config, a JSON file.
    """
    settings = nb.SessionConfig.load(config)
    sys.stdout.write(printed(f"{config} is valid: {settings.session_name}") + "\n")
    return DONE


def schema(name: Literal["config", "status"] = "config", /) -> int:
    """Print a JSON schema.

    Parameters
    ----------
    name
        config: the session config. status: the JSON status.
    """
    sys.stdout.write(json.dumps(nb.schema(name), indent=2) + "\n")
    return DONE


class _FinishedRun(NamedTuple):
    """The result of a run, the exit status, and a message if the run didn't reach its end."""

    result: nb.Result
    status: int
    complaint: str | None = None


def _outcome(settings: nb.SessionConfig) -> _FinishedRun:
    """Run to the end, or to an interrupt, a signal or a strategy's error."""
    system = nb.SystemManager()
    try:
        system.start(settings)
        _follow(system)
        return _FinishedRun(system.wait(), DONE)
    except KeyboardInterrupt:
        if system.get_coordinator() is None:
            raise  # bars are still being read: there is no result yet
        system.stop()
        return _FinishedRun(system.wait(), INTERRUPTED, "interrupted: this is what was run until then")
    except Leaving as leaving:
        if system.get_coordinator() is None:
            raise
        system.stop()
        return _FinishedRun(system.wait(), int(leaving.code or 0), leaving.reason)
    except StrategyError as error:
        return _FinishedRun(error.result, FAILED, str(error))


def _check_target(save: Path) -> None:
    """Raise before the run if its result can't be saved to `save`."""
    try:
        try_target(save)
    except OSError as error:
        why = error.strerror or str(error).removeprefix(f"{save} ")
        raise ConfigError([Problem("--save", str(save), why)], "the command") from None


def _saved(result: nb.Result, save: Path) -> OSError | None:
    """Save the result; returns the disk's error, so that the report is printed before it is raised."""
    try:
        result.save(save)
    except OSError as error:
        return error
    return None


def _follow(system: nb.SystemManager) -> None:
    """Show a progress bar on standard error, if that is a terminal."""
    terminal = console(stderr=True)
    if not terminal.is_terminal:
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[at]}"),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=terminal, transient=True)
    with progress, Suspension(progress.stop, progress.start) as suspension:
        task = progress.add_task("running", total=1.0, at="")
        while not system.is_stopped():
            suspension.heed()
            shot = system.snapshot()
            progress.update(task, completed=shot.progress, at=str(shot.time or ""))
            with contextlib.suppress(TimeoutError):
                system.wait(timeout=0.1)


def find_local_modules() -> None:
    """Let a config name strategies in modules of the current folder.

    The folder comes last, so that a file such as json.py doesn't shadow an installed module of the same name.
    """
    if "" in sys.path:
        sys.path.remove("")
    sys.path.append("")
