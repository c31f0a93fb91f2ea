"""What the points of a sweep share: bars that are made once, as far as they can be kept."""

from __future__ import annotations

from typing import Any

import pytest

import nbbacktest as nb
from nbbacktest.system.backtest import settings_of
from nbbacktest.system.sweep import worker as module
from nbbacktest.system.sweep.worker import SweepWorker, packed, unpacked
from tests.markets import minutes

SEEN: list[nb.Bar] = []


class Keeps(nb.Strategy):
    """Keeps the bars that it gets."""

    size: int = 1

    def on_bar(self, bar: nb.Bar) -> None:
        SEEN.append(bar)


def played(worker: SweepWorker, **point: Any) -> list[nb.Bar]:
    """The bars that a run of that point sees."""
    SEEN.clear()
    assert worker.run(point)["error"] is None
    return list(SEEN)


@pytest.fixture
def worker() -> SweepWorker:
    """A hundred bars and their derived ones."""
    made = SweepWorker(settings_of({"exchange": "24/7"}, 1_000.0, 0.0, 0.0, "next_open", ("5m",)), None, Keeps, {})
    made.prepare(minutes(100), [{}])
    return made


def test_runs_get_the_same_bars(worker: SweepWorker) -> None:
    """The second run makes none; in another process they are made anew, and are equal."""
    first, second, elsewhere = played(worker), played(worker, size=2), played(unpacked(packed(worker)))
    assert len(first) == 120
    assert all(one is other for one, other in zip(first, second, strict=True))
    assert first == elsewhere
    assert not any(one is other for one, other in zip(first, elsewhere, strict=True))


def test_many_bars_are_not_kept(worker: SweepWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Series beyond the limit make theirs in each run; those within it don't."""
    monkeypatch.setattr(module, "_KEPT", 100)
    first, second = played(worker), played(worker)
    assert first == second
    assert {one is other for one, other in zip(first, second, strict=True) if one.interval == "1m"} == {True}
    assert {one is other for one, other in zip(first, second, strict=True) if one.interval == "5m"} == {False}
