"""What the points of a sweep share: bars that are made once, as far as they can be kept."""

from __future__ import annotations

from typing import Any

import pytest

import nbbacktest as nb
from nbbacktest.system.backtest import settings_of
from nbbacktest.system.sweep import bench as module
from nbbacktest.system.sweep.bench import Bench
from nbbacktest.system.sweep.share import packed, unpacked
from tests.markets import minutes

SEEN: list[nb.Bar] = []


class Keeps(nb.Strategy):
    """Keeps the bars that it gets."""

    size: int = 1

    def on_bar(self, bar: nb.Bar) -> None:
        SEEN.append(bar)


def played(bench: Bench, **point: Any) -> list[nb.Bar]:
    """The bars that a run of that point sees."""
    SEEN.clear()
    assert bench.play(point)["error"] is None
    return list(SEEN)


@pytest.fixture
def bench() -> Bench:
    """A hundred bars and their derived ones."""
    made = Bench(settings_of({"exchange": "24/7"}, 1_000.0, 0.0, 0.0, "next_open", ("5m",)), None, Keeps, {})
    made.prepare(minutes(100), [{}])
    return made


def test_runs_get_the_same_bars(bench: Bench) -> None:
    """The second run makes none; in another process they are made anew, and are equal."""
    first, second, elsewhere = played(bench), played(bench, size=2), played(unpacked(packed(bench)))
    assert len(first) == 120
    assert all(one is other for one, other in zip(first, second, strict=True))
    assert first == elsewhere
    assert not any(one is other for one, other in zip(first, elsewhere, strict=True))


def test_many_bars_are_not_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Series beyond the limit make theirs in each run; those within it don't."""
    monkeypatch.setattr(module, "_KEPT", 100)
    first, second = played(bench), played(bench)
    assert first == second
    assert {one is other for one, other in zip(first, second, strict=True) if one.interval == "1m"} == {True}
    assert {one is other for one, other in zip(first, second, strict=True) if one.interval == "5m"} == {False}
