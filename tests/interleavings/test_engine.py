"""The engine's stages and its gate, under every schedule tried: nothing hangs, no bar is lost, a pause is exact."""

from __future__ import annotations

import pytest

from tests.interleavings import engine_world
from tests.interleavings.explore import laboratory, try_paths, try_seeds

SEEDS, BLOCKS = 8_000, 8
DEEPER = ("turns, ask", "ask in a window")
"""The cases that are small enough for all schedules with two departures."""


@pytest.mark.parametrize("block", range(BLOCKS))
def test_any_commands_in_any_schedule_leave_a_sound_engine(block):
    """Scenarios and schedules by chance: ends, states, bars, publications and times are as promised."""
    size = SEEDS // BLOCKS
    with laboratory():
        assert try_seeds(engine_world, range(block * size, (block + 1) * size)) == size


@pytest.mark.parametrize("case", engine_world.CASES)
def test_all_schedules_with_few_departures_are_sound(case):
    """Every schedule of a small case that departs once, or twice, from letting whoever goes on go on."""
    with laboratory():
        assert try_paths(engine_world, case, 2 if case in DEEPER else 1) > 50
