"""That the schedules see: each fault of a list is planted, and found; of those that can't be, the list says why."""

from __future__ import annotations

import pytest

from tests.interleavings import engine_world
from tests.interleavings.explore import FoundError, laboratory, try_paths, try_seeds
from tests.interleavings.mutants import MUTANTS, planted

SEEDS = 1300


def look() -> None:
    """Go through what has to be enough."""
    try_seeds(engine_world, range(SEEDS))
    for case in engine_world.CASES:
        try_paths(engine_world, case, 1)


@pytest.mark.parametrize("mutant", [one for one in MUTANTS if not one.harmless], ids=lambda mutant: mutant.name)
def test_a_planted_fault_is_found(mutant):
    """By a few schedules by chance, or by all of the small cases with one departure."""
    with laboratory(), planted(mutant), pytest.raises(FoundError):
        look()


@pytest.mark.parametrize("mutant", [one for one in MUTANTS if one.harmless], ids=lambda mutant: mutant.name)
def test_what_is_called_harmless_does_no_harm(mutant):
    """A change that is said to make no difference makes none: otherwise the reason beside it is wrong."""
    with laboratory(), planted(mutant):
        assert try_seeds(engine_world, range(SEEDS)) == SEEDS


def test_the_list_is_whole():
    """Thirty-nine faults of the gate, the stages and the monitor, of which four can't show."""
    assert (len(MUTANTS), sum(bool(one.harmless) for one in MUTANTS)) == (39, 4)
