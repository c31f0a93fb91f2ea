"""A live run, its feed and its inbox, under every schedule tried."""

from __future__ import annotations

import pytest

from tests.interleavings import live_world
from tests.interleavings.explore import laboratory, try_paths, try_seeds

SEEDS, BLOCKS = 1_200, 3


@pytest.mark.parametrize("block", range(BLOCKS))
def test_any_pushes_and_commands_in_any_schedule_leave_a_sound_live_run(block):
    """Bars that come at once, late, twice or wrong: each is delivered once and in order, or counted as dropped."""
    size = SEEDS // BLOCKS
    with laboratory():
        assert try_seeds(live_world, range(block * size, (block + 1) * size)) == size


@pytest.mark.parametrize("case", live_world.CASES)
def test_all_schedules_of_a_live_run_with_one_departure_are_sound(case):
    """Every schedule of a small case that departs once from letting whoever goes on go on."""
    with laboratory():
        assert try_paths(live_world, case, 1) > 50
