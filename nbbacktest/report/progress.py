"""One line that says how far something is, where somebody looks: in a notebook or a terminal, and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Self

_EVERY_SECONDS = 0.2


class Progress:
    """Shows nothing."""

    def show(self, done: int, total: int) -> None:
        """Take note of how many are done."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


class _Line(Progress):
    """A line that is written again and again, a few times a second at most."""

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
        """Put it in place of what was shown before."""
        raise NotImplementedError


class _Terminal(_Line):
    def write(self, text: str) -> None:
        sys.stderr.write(f"\r\x1b[2K{text}")
        sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        sys.stderr.write("\r\x1b[2K")  # the results speak for themselves
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
    """The line that fits where this runs; one for what has a single point would tell nobody anything."""
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
