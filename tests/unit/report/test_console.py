"""The console of the terminal faces: what is said is shown, and never obeyed."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbbacktest.core.formats import printed
from nbbacktest.report.console import console

HOSTILE = "\x1b]0;mine\x07\x1b[31mred\x9b2J\u202e[/][bold]"


def drawn(renderable) -> str:
    out = io.StringIO()
    console(file=out).print(renderable)
    return out.getvalue()


def makers():
    from rich.panel import Panel
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text

    def table(text):
        made = Table(title=text)
        made.add_column(text, no_wrap=True)
        made.add_row(text)
        made.add_row(Text(text, style="bold"))
        return made

    return {
        "str": str,
        "text": Text,
        "styled": lambda text: Text("a").append(text, style="red").append("b"),
        "table": table,
        "panel": lambda text: Panel(text, title=Text(text)),
        "rule": lambda text: Rule(Text(text)),
    }


@pytest.mark.parametrize("kind", makers())
@given(text=st.text(max_size=30))
def test_no_text_commands_a_terminal(kind, text):
    """Whatever it is drawn in: nothing comes out that a terminal would obey, and nothing raises."""
    for one in (text, HOSTILE + text):
        out = drawn(makers()[kind](one))
        assert printed(out) == out


def test_styles_stay_where_they_were():
    """What is escaped grows, and the colours move along."""
    from rich.text import Text

    out = io.StringIO()
    made = console(file=out)
    segments = list(made.render(Text("a\x1b").append("red\x1b", style="red").append("b")))
    assert [(s.text, str(s.style)) for s in segments if s.text.strip()] == [
        ("a\\x1b", "none"), ("red\\x1b", "red"), ("b", "none"),
    ]  # fmt: skip


def test_brackets_are_no_markup():
    """A name may have them."""
    assert drawn("[bold]x[/]").strip() == "[bold]x[/]"
