"""Whole runs and their configs: `run`, `validate`, `schema`."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

import nbbacktest as nb
from nbbacktest.cli.exits import DONE, FAILED, INTERRUPTED, complain, console
from nbbacktest.core.errors import ConfigError, Problem, StrategyError


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
        _check_writable(save)
    find_local_modules()
    # Nobody can look at a run that is held at its error here, nor set it going again.
    settings = nb.SessionConfig.load(config).overlaid({"on_error": "stop"}, str(config))
    with contextlib.redirect_stdout(sys.stderr) if json_ else contextlib.nullcontext():
        result, status = _outcome(settings)
    if json_:
        sys.stdout.write(result.to_json() + "\n")
    else:
        from nbbacktest.report.terminal import print_report

        print_report(result)
    if save is not None:
        result.save(save)
        console(stderr=True).print(f"saved to {save}", markup=False, soft_wrap=True)
    return status


def validate(config: Path, /) -> int:
    """Check a session config; every problem is printed with its path, value and cure.

    Parameters
    ----------
    config
        The session config, a JSON file.
    """
    settings = nb.SessionConfig.load(config)
    sys.stdout.write(f"{config} is valid: {settings.session_name}\n")
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
        complain("interrupted: this is what was run until then", INTERRUPTED)
        return system.wait(), INTERRUPTED
    except StrategyError as error:
        complain(str(error), FAILED)
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
    with Progress(*columns, console=terminal, transient=True) as progress:
        task = progress.add_task("running", total=1.0, at="")
        while not system.is_stopped():
            shot = system.snapshot()
            progress.update(task, completed=shot.progress, at=str(shot.time or ""))
            with contextlib.suppress(TimeoutError):
                system.wait(timeout=0.1)


def find_local_modules() -> None:
    """Let a config name strategies in modules of the folder that the command is given in, as `python -m` does."""
    if "" not in sys.path:
        sys.path.insert(0, "")
