"""Schedules on the command line: one again, with its steps; or more of them than a test goes through."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import nullcontext

from tests.interleavings import engine_world, live_world, system_world, threadless_world
from tests.interleavings.choices import Path
from tests.interleavings.explore import FoundError, by_path, by_seed, laboratory, try_paths, try_seeds
from tests.interleavings.judged import Outcome
from tests.interleavings.mutants import MUTANTS, planted

WORLDS = {world.NAME: world for world in (engine_world, system_world, live_world, threadless_world)}


def main() -> int:
    """Show one schedule, or go through many; 1 where there was a fault."""
    parser = argparse.ArgumentParser("python -m tests.interleavings", description=__doc__)
    parser.add_argument("world", choices=WORLDS)
    parser.add_argument("--seed", type=int, help="show the schedule of this seed")
    parser.add_argument("--case", help="the case whose schedules are meant")
    parser.add_argument("--path", help="with --case: show the schedule with these departures")
    parser.add_argument("--departures", type=int, default=1, help="with --case: go through all with so many (1)")
    parser.add_argument("--seeds", type=int, default=10_000, help="go through so many (10,000)")
    parser.add_argument("--from", type=int, default=0, dest="begin", help="the first of them (0)")
    parser.add_argument(
        "--mutant", choices=[one.name for one in MUTANTS], help="with this fault planted", metavar="NAME"
    )
    asked = parser.parse_args()
    world = WORLDS[asked.world]
    mutants = {one.name: one for one in MUTANTS}
    with laboratory(), planted(mutants[asked.mutant]) if asked.mutant else nullcontext():
        if asked.seed is not None:
            return _show(by_seed(world, asked.seed))
        if asked.path is not None:
            return _show(by_path(world, asked.case, Path.read(asked.path))[0])
        began = time.process_time()
        try:
            if asked.case is not None:
                count = try_paths(world, asked.case, asked.departures)
            else:
                count = try_seeds(world, range(asked.begin, asked.begin + asked.seeds))
        except FoundError as found:
            print(found)
            return 1
    print(f"{count} schedules, {time.process_time() - began:.0f} s of a processor: no fault")
    return 0


def _show(outcome: Outcome) -> int:
    print(*outcome.trace, sep="\n")
    print(f"\n{outcome.scenario}")
    for name, argument, answer in outcome.answers:
        print(f"{name}({'' if argument is None else argument}): {answer}")
    print(*outcome.problems or ["no fault"], sep="\n")
    return bool(outcome.problems)


if __name__ == "__main__":
    sys.exit(main())
