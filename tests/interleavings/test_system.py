"""The whole manager, under every schedule tried: with threads, and on a host without them."""

from __future__ import annotations

import pytest

import nbbacktest as nb
from tests.interleavings import system_world, threadless_world
from tests.interleavings.explore import laboratory, try_paths, try_seeds

SEEDS, BLOCKS = 2_400, 6


@pytest.mark.parametrize("block", range(BLOCKS))
def test_any_commands_in_any_schedule_leave_a_sound_manager(block):
    """Whatever is commanded, from threads, callbacks and subscribers: what ends undisturbed has its fingerprint."""
    size = SEEDS // BLOCKS
    with laboratory():
        assert try_seeds(system_world, range(block * size, (block + 1) * size)) == size


@pytest.mark.parametrize("case", system_world.CASES)
def test_all_schedules_of_a_manager_with_one_departure_are_sound(case):
    """Every schedule of a small case that departs once from letting whoever goes on go on."""
    with laboratory():
        assert try_paths(system_world, case, 1) > 20


def test_without_threads_any_commands_turns_and_interrupts_leave_a_sound_manager():
    """Commands, an event loop's turns and Ctrl-C in any order: the result is that of a run with threads."""
    with laboratory():
        assert try_seeds(threadless_world, range(1_000)) == 1_000


@pytest.mark.parametrize("derived", [False, True])
def test_what_runs_here_is_what_runs_with_threads(derived):
    """The undisturbed run under the scheduler has the fingerprint of one in real threads."""
    real = nb.backtest(
        system_world.market(4, derived), system_world.Trader, config=system_world.config(derived)
    ).fingerprint
    with laboratory():
        assert system_world.undisturbed(4, derived) == real
