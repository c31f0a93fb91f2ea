"""The parser of the commands, with the same names, options and help for the command line, the shell and the magics."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from cyclopts import App, CoercionError, Parameter, Token

from nbbacktest.system.commands import COMMANDS, parameters

Call = Callable[[str, dict[str, Any]], Any]
"""Called with a command's name and its arguments by name; the parser returns what it returns."""


class Option(NamedTuple):
    """An option that a face adds to a command for its own use; the command itself doesn't get it.

    Attributes
    ----------
    name : str
        As a parameter of Python; ``json_`` is typed as ``--json``.
    type : object
        A flag if it is bool.
    help : str
        One line.
    """

    name: str
    type: Any
    help: str


def _whole(_type: Any, tokens: Sequence[Token]) -> int:
    """The whole number that was typed; cyclopts alone would round 1.5."""
    text = tokens[0].value
    try:
        number = float(text)
        if number.is_integer():
            return int(number) if "." in text or "e" in text.lower() else int(text)
    except (ValueError, OverflowError):
        pass
    raise CoercionError(token=tokens[0], target_type=int)


Whole = Annotated[int, Parameter(converter=_whole)]
"""A whole number; 1.5 is refused, 2.0 is taken."""

JSON = Option("json_", bool, "Answer as JSON.")
SESSION = Option("session", str | None, "Which running session, by the start of its id; the only one where left out.")


def system_app(call: Call, options: Mapping[str, Sequence[Option]]) -> App:
    """A parser of ``system COMMAND ...`` that hands each command to `call`.

    Parameters
    ----------
    call
        Carries a command out.
    options
        For each command, the options that the face adds to its parameters.
    """
    app = App(name="system", help="Command a run: start it, hold it, move it, look at it.", help_format="plaintext")
    for place, name in enumerate(COMMANDS):
        app.command(_typed(name, call, options.get(name, ())), name=name, sort_key=place)
    return app


def _typed(name: str, call: Call, options: Sequence[Option]) -> Callable[..., Any]:
    given = [_as_typed(parameter) for parameter in parameters(name)]
    added = [
        inspect.Parameter(
            option.name, inspect.Parameter.KEYWORD_ONLY, default=False if option.type is bool else None,
            annotation=_annotated(option.type, option.name, option.help),
        )
        for option in options
    ]  # fmt: skip
    signature = inspect.Signature([*given, *added])

    def command(*values: Any, **named: Any) -> Any:
        bound = signature.bind(*values, **named)
        bound.apply_defaults()
        return call(name, dict(bound.arguments))

    command.__name__ = command.__qualname__ = name
    command.__doc__ = COMMANDS[name].__doc__
    command.__signature__ = signature  # type: ignore[attr-defined]
    return command


def _as_typed(parameter: inspect.Parameter) -> inspect.Parameter:
    """A positional parameter is typed without its name, a keyword parameter as an option."""
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
        return parameter.replace(annotation=_annotated(parameter.annotation, parameter.name))
    annotation = parameter.annotation
    if parameter.name == "config":
        annotation = Path | None  # so that a terminal completes the names of files
    elif annotation is str:
        annotation = Annotated[str, Parameter(n_tokens=-1, accepts_keys=False, converter=_joined)]
    elif annotation is int:
        annotation = Whole
    return parameter.replace(kind=inspect.Parameter.POSITIONAL_ONLY, annotation=annotation)


def _annotated(annotation: Any, name: str, text: str | None = None) -> Any:
    typed = f"--{name.strip('_').replace('_', '-')}"
    if text is None:  # the help of a parameter is in the docstring
        return Annotated[annotation, Parameter(name=typed, negative="", show_default=False)]
    return Annotated[annotation, Parameter(name=typed, negative="", show_default=False, help=text)]


def _joined(_type: Any, tokens: Sequence[Token]) -> str:
    """All words as one text: times and events have spaces, and need no quotes."""
    return " ".join(token.value for token in tokens)
