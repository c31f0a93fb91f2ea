"""The console of every terminal face, and the line of progress of a sweep.

Control characters in texts of users and of other processes are shown, and never sent to the terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import accumulate
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TextIO

from nbbacktest.core.formats import printed

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

_EVERY_SECONDS = 0.2


def console(*, stderr: bool = False, file: TextIO | None = None) -> Console:
    """A rich console that adds no colours of its own.

    Control characters in texts, such as an escape sequence in a session's name, are written escaped, and brackets and
    colons are themselves.
    """
    made: Console = _harmless()(stderr=stderr, file=file, highlight=False, markup=False, emoji=False)
    return made


@cache
def _harmless() -> Any:
    """The class of the consoles, made when the first one is needed: it imports rich."""
    from rich.console import Console
    from rich.text import Span, Text

    class Harmless(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printed(text), **options)

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Any:
            """Escape control characters: every text that is drawn passes through this method."""
            if isinstance(renderable, Text) and printed(renderable.plain) != renderable.plain:
                renderable = _escaped(renderable)
            return super().render(renderable, options)

    def _escaped(text: Text) -> Text:
        places = [0, *accumulate(len(printed(sign)) for sign in text.plain)]
        made = text.blank_copy(printed(text.plain))
        made.spans = [Span(places[one.start], places[one.end], one.style) for one in text.spans]
        return made

    return Harmless


class Progress:
    """A line of progress that shows nothing."""

    def show(self, done: int, total: int) -> None:
        """Show that `done` of `total` points are done."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


class _Line(Progress):
    """A line that is overwritten, a few times a second at most."""

    def __init__(self) -> None:
        self._began = monotonic()
        self._shown = 0.0

    def show(self, done: int, total: int) -> None:
        now = monotonic()
        if done < total and now - self._shown < _EVERY_SECONDS:
            return
        self._shown = now
        spent = now - self._began
        rest = f"{spent / done * (total - done):.0f} s left" if 0 < done < total else f"{spent:.1f} s"
        self.write(f"{done:,} of {total:,} points, {rest}")

    def write(self, text: str) -> None:
        """Replace the line by `text`."""
        raise NotImplementedError


class _Terminal(_Line):
    def write(self, text: str) -> None:
        sys.stderr.write(f"\r\x1b[2K{text}")
        sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        sys.stderr.write("\r\x1b[2K")
        sys.stderr.flush()


class _Notebook(_Line):
    def __init__(self) -> None:
        super().__init__()
        self._handle: Any = None

    def write(self, text: str) -> None:
        from IPython.display import display

        bundle = {"text/plain": text}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)


@contextmanager
def line_of_progress(total: int) -> Iterator[Progress]:
    """The line of progress that fits a notebook or a terminal; an empty one elsewhere, and for a single point."""
    line: Progress = Progress()
    if total > 1 and _in_kernel():
        line = _Notebook()
    elif total > 1 and sys.stderr is not None and sys.stderr.isatty():
        line = _Terminal()
    with line:
        yield line


def _in_kernel() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
