"""The messages between a client and a control server: JSON objects with known keys. Refuses all others; evaluates nothing."""

from __future__ import annotations

import inspect
import json
import math
from types import NoneType
from typing import Any, NoReturn, get_args

from nbbacktest.core.errors import (
    InvalidTransition,
    NbBacktestError,
    RemoteCommandError,
    RemoteError,
    StrategyBlockedError,
    nearest,
)

VERSION = 1
LIMIT = 65_536
"""The longest request, in bytes."""
ANSWER_LIMIT = 64 * 1024 * 1024
"""The longest answer that is read: the status of a run of very many symbols."""
SHOWN = 60
"""The most characters of a wrong value that an error repeats."""

SESSION = "session"
"""A request beside the commands: the state of the session, answered without asking the engine."""
WAITING = ("step", "until", "back", "back-until", "rewind", "undo", "redo")
"""The commands that wait for the run to reach a place, however long that takes."""


class MessageError(NbBacktestError, ValueError):
    """A message that isn't a valid request."""


def offered() -> tuple[str, ...]:
    """The commands of `nbbacktest.system.commands` that another process may ask for: all but `start`, which takes a path."""
    from nbbacktest.system.commands import COMMANDS

    return tuple(name for name in COMMANDS if name != "start")


def request(command: str, arguments: dict[str, Any]) -> bytes:
    """A request as it is sent."""
    try:
        message = json.dumps({"version": VERSION, "command": command, "arguments": arguments}, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise MessageError(f"the arguments of {command!r} can't be sent as JSON: {error}") from None
    if len(message) > LIMIT:
        raise MessageError(f"a request may have {LIMIT:,} bytes, and this one has {len(message):,}")
    return message.encode()


def read_request(message: bytes) -> tuple[str, dict[str, Any]]:
    """The command and its arguments, which are those of its function, with their types.

    Raises
    ------
    MessageError
        Anything else.
    """
    found = _object(message)
    if found.get("version") != VERSION or isinstance(found["version"], bool):
        raise MessageError(
            f"version {_short(found.get('version'))} isn't spoken here, {VERSION} is: update the other side"
        )
    if unknown := set(found) - {"version", "command", "arguments"}:
        raise MessageError(f"unknown key {_short(min(unknown))} in the message")
    command, arguments = found.get("command"), found.get("arguments", {})
    known = offered()
    if not isinstance(command, str) or command not in (*known, SESSION):
        hint = nearest(command[:SHOWN], known) if isinstance(command, str) else f"known are: {', '.join(known)}"
        raise MessageError(f"there is no command {_short(command)} here; {hint}")
    if not isinstance(arguments, dict):
        raise MessageError(f"the arguments of {command!r} are an object, not {_short(arguments)}")
    return command, _checked(command, arguments)


def answer(value: dict[str, Any]) -> bytes:
    """An answer as it is sent."""
    return json.dumps({"version": VERSION, "ok": True, "answer": value}, allow_nan=False).encode()


def refusal(error: BaseException) -> bytes:
    """An error as it is sent: the name of its class, its text, and the arguments of an `InvalidTransition`."""
    found: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, InvalidTransition):
        found["parts"] = [error.state, error.command, list(error.allowed), list(error.history)]
    return json.dumps({"version": VERSION, "ok": False, "error": found}).encode()


def read_answer(message: bytes) -> dict[str, Any]:
    """The content of an answer.

    Raises
    ------
    InvalidTransition, StrategyBlockedError, ValueError, TypeError, RuntimeError, RemoteCommandError
        The error of the command over there.
    RemoteError
        No answer in this form.
    """
    try:
        found = _object(message)
    except MessageError as error:
        raise RemoteError(f"the session's answer can't be read: {error}") from None
    if found.get("ok") is True and isinstance(found.get("answer"), dict):
        return dict(found["answer"])
    refused = found.get("error")
    if not isinstance(refused, dict) or not isinstance(refused.get("message"), str):
        raise RemoteError(f"the session's answer can't be read: {_short(found)}")
    raise _rebuilt(str(refused.get("type")), refused["message"], refused.get("parts"))


_REBUILT: dict[str, type[Exception]] = {
    "StrategyBlockedError": StrategyBlockedError,
    "ValueError": ValueError,
    "TypeError": TypeError,
    "RuntimeError": RuntimeError,
    "RemoteError": RemoteError,
    "MessageError": MessageError,
}


def _rebuilt(kind: str, text: str, parts: Any) -> Exception:
    if kind == "InvalidTransition" and isinstance(parts, list) and len(parts) == 4:
        return InvalidTransition(*parts)
    known = _REBUILT.get(kind)
    return RemoteCommandError(kind, text) if known is None else known(text)


def _object(message: bytes) -> dict[str, Any]:
    try:
        found = json.loads(message.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise MessageError("the message is nested too deeply") from None
    except UnicodeDecodeError:
        raise MessageError("the message isn't UTF-8") from None
    except MessageError:
        raise
    except ValueError as error:
        raise MessageError(f"the message isn't JSON: {str(error)[:SHOWN]}") from None
    if not isinstance(found, dict):
        raise MessageError(f"a message is an object, not {_short(found)}")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise MessageError("a key is twice in the message")
    return found


def _no_constant(name: str) -> NoReturn:
    raise MessageError(f"{name} is no JSON number")


def _checked(command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    if command == SESSION:
        known: dict[str, inspect.Parameter] = {}
    else:
        from nbbacktest.system.commands import parameters

        known = {parameter.name: parameter for parameter in parameters(command)}
    for name in arguments:
        if name not in known:
            raise MessageError(f"{command!r} takes no {_short(name)}; {nearest(name[:SHOWN], known)}")
    for name, parameter in known.items():
        if name in arguments:
            _check_type(command, name, parameter.annotation, arguments[name])
        elif parameter.default is parameter.empty:
            raise MessageError(f"{command!r} needs {name!r}")
    return arguments


def _check_type(command: str, name: str, kind: Any, value: Any) -> None:
    parts = [part for part in get_args(kind) if part is not NoneType]  # `float | None` takes a number or null
    if parts:
        if value is None:
            return
        (kind,) = parts
    fits = {
        bool: isinstance(value, bool),
        int: isinstance(value, int) and abs(value) < 2**53,
        float: isinstance(value, (int, float)) and abs(value) < 2**53 and math.isfinite(value),
        str: isinstance(value, str) and len(value) <= 200,
    }
    if (isinstance(value, bool) and kind is not bool) or not fits.get(kind, False):
        word = {
            bool: "true or false",
            int: "a whole number",
            float: "a number",
            str: "a text of at most 200 characters",
        }.get(kind, "not given")
        raise MessageError(f"{name!r} of {command!r} is {word}, not {_short(value)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
