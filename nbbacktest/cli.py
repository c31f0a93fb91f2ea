"""The command line: parses, calls, prints. Exit status 0 done, 1 the run failed, 2 wrong usage or config."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

import nbbacktest as nb
from nbbacktest.core.errors import ConfigError, DataError, MissingExtraError, NbBacktestError, StrategyError

if TYPE_CHECKING:
    from rich.console import Console

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130

app = App(
    name="nbbacktest",
    help="The backtester that you can pause.",
    version=nb.__version__,
    help_format="plaintext",
    result_action="return_value",
)


@app.command
def run(
    config: str,
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
        Print the result as JSON instead of the report.
    save
        Keep the whole result in this file; nbbacktest.Result.load reads it.
    """
    if save is not None and not save.resolve().parent.is_dir():
        _complain(f"--save {save}: the folder {save.resolve().parent} doesn't exist; make it first")
        return MISUSED
    _find_local_modules()
    system = nb.SystemManager()
    system.start(config)
    status = DONE
    try:
        _follow(system)
        result = system.wait()
    except KeyboardInterrupt:
        system.stop()
        result, status = system.wait(), INTERRUPTED
        _complain("interrupted: this is what was run until then")
    except StrategyError as error:
        result, status = error.result, FAILED
        _complain(str(error))
    if json_:
        sys.stdout.write(result.to_json() + "\n")
    else:
        from nbbacktest.report.terminal import print_report

        print_report(result)
    if save is not None:
        result.save(save)
        _console(stderr=True).print(f"saved to {save}", highlight=False)
    return status


@app.command
def validate(config: str) -> int:
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
def schema(name: Literal["config", "status"] = "config") -> int:
    """Print a JSON schema.

    Parameters
    ----------
    name
        config: the session config. status: the JSON status.
    """
    sys.stdout.write(json.dumps(nb.schema(name), indent=2) + "\n")
    return DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = app(tokens, exit_on_error=False, print_error=False, console=_console())
    except CycloptsError as error:
        _complain(str(error))
        return MISUSED
    except (ConfigError, DataError, MissingExtraError) as error:
        _complain(str(error))
        return MISUSED
    except NbBacktestError as error:
        _complain(str(error))
        return FAILED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has gone; there is nobody left to tell
        return FAILED
    return status if isinstance(status, int) else DONE


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
            try:
                system.wait(timeout=0.1)
            except TimeoutError:
                continue
            except NbBacktestError:
                return  # the caller's wait raises it again, where it is handled


def _find_local_modules() -> None:
    """Let a config name strategies in modules of the folder that the command is given in, as `python -m` does."""
    if "" not in sys.path:
        sys.path.insert(0, "")


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


def _complain(message: str) -> None:
    _console(stderr=True).print(f"nbbacktest: {message}", style="red", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
