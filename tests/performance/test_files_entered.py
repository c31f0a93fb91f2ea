"""The files that a reader follows from a DataFrame to the first `on_bar`: counted by the profiler, floor by floor."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from inspect import CO_OPTIMIZED
from pathlib import Path
from typing import Any

import pytest

import nbbacktest as nb
from tests.held import Quiet
from tests.markets import minutes

PACKAGE = Path(nb.__file__).parent
MOST = {"core": 9, "data": 9, "engine": 10, "trading": 12, "system": 13}
"""Files whose functions are entered, by floor: all of the way."""


class First(nb.Strategy):
    """Tells when its first bar has come."""

    seen = False

    def on_bar(self, bar: nb.Bar) -> None:
        type(self).seen = True


def entered(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The package's files of which a function is entered by a run up to its first `on_bar`, imports aside."""
    frame = minutes(20)
    nb.backtest(frame, Quiet)  # what is imported late is there now
    monkeypatch.setattr(First, "seen", False)
    files: set[str] = set()

    def called(frame: Any, event: str, _: Any) -> None:
        # Bodies of modules and classes run when they are imported: they aren't optimized code.
        if event == "call" and frame.f_code.co_flags & CO_OPTIMIZED and not First.seen:
            files.add(frame.f_code.co_filename)

    before = sys.getprofile(), threading.getprofile()
    threading.setprofile(called)
    sys.setprofile(called)
    try:
        nb.backtest(frame, First)
    finally:
        sys.setprofile(before[0])
        threading.setprofile(before[1])
    assert First.seen
    own = (Path(file) for file in files if Path(file).is_relative_to(PACKAGE))
    return {path.relative_to(PACKAGE).as_posix() for path in own}


def test_few_files_lie_between_a_frame_and_the_first_bar(monkeypatch: pytest.MonkeyPatch):
    """No floor has more than its number of them; `data.sources` has the way in five steps, `system.builder` the rest."""
    found = entered(monkeypatch)
    counts = Counter(name.partition("/")[0] for name in found)
    assert {floor: count for floor, count in counts.items() if count > MOST.get(floor, 0)} == {}, sorted(found)
