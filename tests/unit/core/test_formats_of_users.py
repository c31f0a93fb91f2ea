"""Values of users as text, whatever their own code raises."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.errors import Problem
from nbbacktest.core.formats import printed, said, shown, spoken


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


@given(st.text(st.characters()))
def test_what_is_printed_commands_no_terminal(text):
    """No control character but line ends and tabs, none that turns the direction; all else stays as it is."""
    told = printed(text)
    assert not [c for c in told if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\n\t"]
    assert not [
        c
        for c in told
        if unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    ]
    assert printed(told) == told
    kept = "".join(c for c in text if unicodedata.category(c)[0] not in "CZ" or c in " \n\t")
    assert printed(kept) == kept


def test_an_escape_sequence_is_seen():
    """As Python writes it."""
    assert printed("a\x1b[31mb\x9b\u202ec\r\n\td") == "a\\x1b[31mb\\x9b\\u202ec\\r\n\td"
