"""What is typed after `system`, as the name of a command and its arguments."""

from __future__ import annotations

from pathlib import Path

import pytest
from cyclopts import CycloptsError

from nbbacktest.grammar import JSON, SESSION, system_app


@pytest.fixture
def parse():
    """Parse a line to the command and the arguments that a face would be given."""
    app = system_app(
        lambda name, arguments: (name, arguments), {"status": (JSON, SESSION), "until": (SESSION,), "step": (SESSION,)}
    )
    app.result_action = "return_value"
    return lambda *words: app(list(words), exit_on_error=False, print_error=False)


def test_arguments_come_by_name_with_their_defaults(parse):
    """Whatever was left out is there with its default."""
    assert parse("pause") == ("pause", {})
    assert parse("start") == ("start", {"config": None, "speed": None, "paused": False})
    assert parse("start", "a.json", "--speed", "60", "--paused") == (
        "start", {"config": Path("a.json"), "speed": 60.0, "paused": True},
    )  # fmt: skip
    assert parse("step") == ("step", {"n": 1, "session": None})
    assert parse("speed", "0.5") == ("speed", {"x": 0.5})


@pytest.mark.parametrize(
    "words",
    [
        ["next", "fill"],
        ["next fill"],
        ["2024-10-03", "10:30"],
        ["--session", "a1", "10:30"],
        ["10:30", "--session", "a1"],
    ],
)
def test_times_and_events_need_no_quotes(parse, words):
    """All words that are no option are the time."""
    name, arguments = parse("until", *words)
    assert name == "until"
    assert arguments["when"] in ("next fill", "2024-10-03 10:30", "10:30")
    assert arguments["session"] == ("a1" if "--session" in words else None)


def test_a_face_s_options_stand_beside_the_command_s(parse):
    """They are handed over as well; a flag is False where it isn't given."""
    assert parse("status") == ("status", {"json_": False, "session": None})
    assert parse("status", "--json", "--session", "a1") == ("status", {"json_": True, "session": "a1"})


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["step", "many"], 'Invalid value for N: unable to convert "many" into int'),
        (["step", "1.5"], 'Invalid value for N: unable to convert "1.5" into int'),
        (["step", "0.6"], 'unable to convert "0.6" into int'),
        (["step", "inf"], 'unable to convert "inf" into int'),
        (["until"], "WHEN requires an argument"),
        (["speed"], "X requires an argument"),
        (["pause", "now"], "Unused Tokens"),
        (["puase"], 'Did you mean "pause"?'),
        (["start", "--spede", "1"], "Did you mean --speed?"),
    ],
)
def test_a_mistake_is_one_line(parse, words, told):
    """With what was meant, where that can be guessed."""
    with pytest.raises(CycloptsError) as caught:
        parse(*words)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
