"""Values of users as text, whatever their own code raises."""

from __future__ import annotations

from nbbacktest.core.errors import Problem
from nbbacktest.core.shown import said, shown, spoken


class Mute:
    """Can't be written."""

    def __repr__(self):
        raise RuntimeError("no words")


class MuteError(Exception):
    """Neither can this."""

    def __str__(self):
        raise RuntimeError("no words")


def test_what_can_be_written_is_written():
    """As repr and str do."""
    assert shown([1, "a"]) == "[1, 'a']"
    assert spoken(1.5) == 1.5
    assert said(ValueError("x")) == "ValueError: x"


def test_what_can_not_be_written_is_named():
    """Its class and what was raised, also within a list, and in an error's text."""
    assert shown(Mute()) == "<Mute, whose repr raised RuntimeError>"
    assert spoken([Mute()]) == "<list, whose repr raised RuntimeError>"
    assert said(MuteError()) == "MuteError: its str raised RuntimeError"
    assert str(Problem("p", Mute(), "give another")) == "p = <Mute, whose repr raised RuntimeError>: give another"
