"""Digests of bars and of a user's code: journals and recipes of results know them by these."""

from __future__ import annotations

import hashlib
import inspect
import linecache
import re
import tokenize
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from nbbacktest.core.records import BarColumns

_COLUMNS = {"time": "<i8", "end": "<i8"} | dict.fromkeys(("open", "high", "low", "close", "volume"), "<f8")


Digests = tuple[tuple[str, str | None], ...]


class CodeDigests:
    """Digests of classes' sources by their names, computed when they are first asked for, since reading sources takes a while.

    It can be pickled where the classes can't.
    """

    def __init__(self, classes: Sequence[type] = (), known: Digests | None = None) -> None:
        self._classes = classes
        self._known = known

    @property
    def values(self) -> Digests:
        """The name of each class, and the digest of its source; None if that can't be had."""
        if self._known is None:
            self._known = tuple((kind.__qualname__, digest_of_source(kind)) for kind in self._classes)
        return self._known

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return CodeDigests, ((), self.values)


def digest_of(columns: BarColumns, *, with_values: bool = True) -> str:
    """SHA-256 of the columns, in hex; without values, which aren't there if bars are streamed, of the times alone."""
    digest = hashlib.sha256()
    for name, kind in _COLUMNS.items():
        if with_values or kind == "<i8":
            digest.update(np.ascontiguousarray(getattr(columns, name), dtype=kind).data)
    return digest.hexdigest()


def source_of(kind: type) -> str | None:
    """The source of a class and of its parents that are a user's; None if it can't be had."""
    parts = []
    for one in kind.__mro__:
        if not one.__module__.startswith("nbbacktest.") and one is not object:
            text = _source(one)
            if text is None:
                return None
            parts.append(text)
    return "\n".join(parts) if parts else _source(kind)


def digest_of_source(kind: type) -> str | None:
    """SHA-256 of `source_of`, in hex."""
    source = source_of(kind)
    return None if source is None else hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()


def _source(kind: type) -> str | None:
    # Not `inspect.getsource`: of a class it parses the whole file, while all other threads wait.
    own = [one.__code__ for one in vars(kind).values() if inspect.isfunction(one) and one.__module__ == kind.__module__]
    if not own:
        return None
    first = min(own, key=lambda code: code.co_firstlineno)
    lines = linecache.getlines(first.co_filename)[:]
    head = re.compile(rf"\s*class\s+{re.escape(kind.__name__)}\b")
    for start in range(min(first.co_firstlineno, len(lines)) - 1, -1, -1):
        if head.match(lines[start]):
            with suppress(tokenize.TokenError, SyntaxError):
                return "".join(inspect.getblock(lines[start:]))
    return None
