"""The one door: ``python -m benchmarks.run [NAME ...] [--quick] [--repeats N] [--limit SECONDS] [--docs]``.

A name is a case of the comparison (``a`` to ``g``, or ``peers`` for all) or one of ``overhead``, ``latency``, ``clock``, ``scale``,
``streaming`` and ``rewind``; none means everything. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from benchmarks import report
from benchmarks.bars import HOUSE
from benchmarks.cases import CASES
from benchmarks.environments import NotThereError, python_of
from benchmarks.race import FailedError, table
from benchmarks.table import Table, received

OWN = ("overhead", "latency", "clock", "scale", "streaming", "rewind")


def main(arguments: list[str] | None = None) -> int:
    """Measure what was asked for, print it, keep it, draw it; the exit status is 1 where something failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(CASES)}, peers, {', '.join(OWN)}")
    parser.add_argument("--quick", action="store_true", help="small sizes and few repeats: minutes in all")
    parser.add_argument("--repeats", type=int, help="processes an engine (5, or 2 where quick)")
    parser.add_argument("--limit", type=float, default=60, help="seconds that one process may take (%(default)s)")
    parser.add_argument("--docs", action="store_true", help="fill docs/performance.md from all that is in the report")
    asked = parser.parse_args(arguments)
    names = [each for name in asked.names for each in (CASES if name == "peers" else [name])]
    if unknown := set(names) - set(CASES) - set(OWN):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join((*CASES, 'peers', *OWN))}")
    quick = asked.quick or os.environ.get("QUICK", "") not in {"", "0"}
    repeats = asked.repeats or (2 if quick else 5)
    if not names and not asked.docs:
        names = [*CASES, *OWN]
    failed = False
    for name in names:
        try:
            found = (
                [table(CASES[name], quick=quick, repeats=repeats, limit=asked.limit)]
                if name in CASES
                else own(name, quick=quick)
            )
        except FailedError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
            continue
        report.keep(name, found, quick=quick)
        print(f"\n## {name}\n\n{report.section(report.load(), name)}", flush=True)
    if asked.docs:
        report.write_page()
    draw(docs=asked.docs)
    print(f"The report: {HOUSE / 'report.md'}")
    return int(failed)


def own(name: str, *, quick: bool) -> list[Table]:
    """One of nbbacktest's own measurements, in a fresh process."""
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{name}", *(["quick"] if quick else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=HOUSE.parent)
    if done.returncode:
        raise FailedError(f"it ended with status {done.returncode}")
    return received(done.stdout)


def draw(*, docs: bool) -> None:
    """The pictures beside the report, and with ``docs`` those on the page."""
    try:
        python = python_of("plot")
    except NotThereError as error:
        print(f"no picture: {error}", file=sys.stderr)
        return
    folder = HOUSE.parent / "docs" / "pictures" if docs else HOUSE
    command = [python, "-m", "benchmarks.plot", str(HOUSE / "report.json"), str(folder)]
    subprocess.run(command, check=True, cwd=HOUSE.parent)


if __name__ == "__main__":
    sys.exit(main())
