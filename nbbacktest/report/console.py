"""The console of every terminal face: what names, errors and other sides say is shown, and never obeyed."""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TextIO

from nbbacktest.core.shown import printed

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType


def console(*, stderr: bool = False, file: TextIO | None = None) -> Console:
    """A rich console that writes what it is given, without colours of its own making.

    Control characters in texts, such as an escape sequence in a session's name, are written escaped, and brackets and
    colons are themselves.
    """
    made: Console = _harmless()(stderr=stderr, file=file, highlight=False, markup=False, emoji=False)
    return made


@cache
def _harmless() -> Any:
    """The console's class; rich is imported where something is drawn."""
    from rich.console import Console
    from rich.text import Span, Text

    class Harmless(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printed(text), **options)

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Any:
            """All that is drawn comes by here, and in the end it is text."""
            if isinstance(renderable, Text) and printed(renderable.plain) != renderable.plain:
                renderable = _escaped(renderable)
            return super().render(renderable, options)

    def _escaped(text: Text) -> Text:
        places = [0, *accumulate(len(printed(sign)) for sign in text.plain)]
        made = text.blank_copy(printed(text.plain))
        made.spans = [Span(places[one.start], places[one.end], one.style) for one in text.spans]
        return made

    return Harmless
