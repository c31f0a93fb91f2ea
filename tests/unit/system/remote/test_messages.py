"""What may be asked of a run from outside, and what is refused."""

from __future__ import annotations

import json
import pickle
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nbbacktest as nb
from nbbacktest.core.errors import RemoteCommandError, RemoteError
from nbbacktest.system.commands import COMMANDS
from nbbacktest.system.remote import messages
from nbbacktest.system.remote.messages import MessageError, answer, read_answer, read_request, refusal, request

REQUESTS = [
    ("pause", {}),
    ("resume", {}),
    ("step", {}),
    ("step", {"n": 3}),
    ("until", {"when": "10:30"}),
    ("back", {"n": 3}),
    ("back-until", {"when": "last fill"}),
    ("rewind", {"to": "10:30", "before": True}),
    ("break", {"when": "fill EXE", "once": True}),
    ("breaks", {"remove": 3}),
    ("remove", {"symbol": "EXE", "close": True}),
    ("speed", {"x": 60}),
    ("speed", {"x": 0.5}),
    ("stop", {}),
    ("look", {"at": "10:30"}),
    ("status", {}),
    ("session", {}),
]


def message(**fields) -> bytes:
    return json.dumps({"version": 1, "command": "pause", "arguments": {}} | fields).encode()


@pytest.mark.parametrize(("command", "arguments"), REQUESTS)
def test_what_is_asked_is_what_is_read(command, arguments):
    """Every command that is offered goes through, with its arguments."""
    assert read_request(request(command, arguments)) == (command, arguments)


def test_every_command_but_start_is_offered():
    """The commands of all faces can be asked for from outside, apart from the one that takes a path."""
    assert set(messages.offered()) == set(COMMANDS) - {"start"}


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"", "isn't JSON"),
        (b"{", "isn't JSON"),
        (b"\xff\xfe", "isn't UTF-8"),
        (b"[1]", "is an object, not"),
        (b"[" * 60_000, "nested too deeply"),
        (b'{"version": 1, "version": 1}', "twice"),
        (b'{"version": 1, "command": "speed", "arguments": {"x": NaN}}', "NaN is no JSON number"),
        (b'{"version": 1, "command": "speed", "arguments": {"x": 1e999}}', "'x' of 'speed' is a number"),
        (b'{"version": 1, "command": "step", "arguments": {"n": ' + b"9" * 5_000 + b"}}", "isn't JSON"),
        (pickle.dumps({"version": 1}), "isn't UTF-8"),
        (message(version=2), "version 2 isn't spoken here, 1 is"),
        (message(version=True), "version True isn't spoken here"),
        (message(extra=1), "unknown key 'extra'"),
        (message(command="start", arguments={"config": "x.json"}), "there is no command 'start' here"),
        (message(command="stoop"), "did you mean 'stop'?"),
        (message(command=None), "there is no command None here"),
        (message(command="__class__"), "there is no command '__class__' here"),
        (message(command="x" * 50_000), "there is no command"),
        (message(arguments=[1]), "are an object, not [1]"),
        (message(command="pause", arguments={"system": 1}), "'pause' takes no 'system'"),
        (message(command="step", arguments={"m": 1}), "'step' takes no 'm'"),
        (message(command="step", arguments={"n": "1"}), "'n' of 'step' is a whole number, not '1'"),
        (message(command="step", arguments={"n": True}), "is a whole number, not True"),
        (message(command="step", arguments={"n": 1.5}), "is a whole number, not 1.5"),
        (message(command="step", arguments={"n": None}), "is a whole number, not None"),
        (message(command="until"), "'until' needs 'when'"),
        (message(command="until", arguments={"when": "x" * 300}), "is a text of at most 200 characters"),
        (message(command="session", arguments={"x": 1}), "'session' takes no 'x'"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_in_a_short_line(sent, words):
    """Bytes, JSON, keys, commands and types that aren't known: one error that says which, however long they are."""
    with pytest.raises(MessageError) as caught:
        read_request(sent)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300


@given(st.binary(max_size=400))
def test_no_bytes_do_anything_but_be_refused(sent):
    """Whatever bytes come, they are refused with the one error that is meant for that."""
    with pytest.raises(MessageError):
        read_request(sent)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.sampled_from([*messages.offered(), "start", "exec"]), JSON)
def test_whatever_json_comes_is_known_or_refused(version, command, arguments):
    """An object of any values is a request that names a known command with arguments of its types, or is refused."""
    try:
        found, given_arguments = read_request(message(version=version, command=command, arguments=arguments))
    except MessageError:
        return
    assert found in messages.offered()
    assert all(type(value) in (int, float, str) for value in given_arguments.values())


def test_too_long_a_request_is_not_even_sent():
    """The client refuses by itself what the other side wouldn't read, and what JSON can't hold."""
    with pytest.raises(MessageError, match="65,536"):
        request("until", {"when": "x" * 70_000})
    with pytest.raises(MessageError, match="can't be sent as JSON"):
        request("until", {"when": object()})


@pytest.mark.parametrize(
    "error",
    [
        nb.InvalidTransition("stopped", "pause", ["start"], ["stop: running -> stopped"]),
        nb.StrategyBlockedError("Slow.on_bar has not returned after 10 s"),
        ValueError("2024-10-03 has passed"),
        TypeError("speed is a number, not None"),
        RuntimeError("nothing was started yet"),
        MessageError("there is no command 'x' here"),
        RemoteError("the session has ended"),
    ],
)
def test_an_error_comes_over_as_what_it_was(error):
    """Errors that a command raises are raised on the other side with their class and their text."""
    with pytest.raises(type(error)) as caught:
        read_answer(refusal(error))
    assert str(caught.value) == str(error)
    assert type(caught.value) is type(error)


def test_the_parts_of_a_refused_transition_come_over():
    """State, command and what is allowed can be asked of the error on the other side too."""
    with pytest.raises(nb.InvalidTransition) as caught:
        read_answer(refusal(nb.InvalidTransition("stopped", "pause", ["start"])))
    assert (caught.value.state, caught.value.command, caught.value.allowed) == ("stopped", "pause", ("start",))


def test_an_error_of_an_unknown_class_keeps_its_name():
    """What has no class here says what it was, and no class is looked up by the name that came."""
    with pytest.raises(RemoteCommandError, match="ZeroDivisionError: division by zero") as caught:
        read_answer(refusal(ZeroDivisionError("division by zero")))
    assert caught.value.kind == "ZeroDivisionError"


@pytest.mark.parametrize("sent", [b"", b"{}", b"[]", b'{"ok": true}', b'{"ok": false, "error": "x"}', b'{"ok": 1}'])
def test_an_answer_in_no_known_form_is_an_error(sent):
    """What can't be read as an answer is a RemoteError, never a KeyError."""
    with pytest.raises(RemoteError, match="can't be read"):
        read_answer(sent)


def test_an_answer_comes_over():
    """An answer is a mapping, and the same mapping on the other side."""
    assert read_answer(answer({"value": True, "data": {"a": [1, 2.5, None]}})) == {
        "value": True,
        "data": {"a": [1, 2.5, None]},
    }
