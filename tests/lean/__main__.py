"""Prints the table of docs/parity.md: ``NBBACKTEST_LEAN_DATA=lean/Data python -m tests.lean``."""

from __future__ import annotations

import sys

from tests.lean.published import ASKED, folder
from tests.lean.suite import ALGORITHMS


def main() -> int:
    """One row an algorithm, as it runs."""
    if folder() is None:
        print(ASKED, file=sys.stderr)
        return 2
    print("| LEAN's algorithm | orders | filled | fees | final equity | ours | by LEAN's rule |")
    print("|---|---|---|---|---|---|---|")
    for algorithm in ALGORITHMS:
        result, by_lean = algorithm.run()
        ours, filled = float(result.stats["final_equity"]), int((result.orders["status"] == "filled").sum())
        same = abs(ours - algorithm.equity) < 0.00501
        cells = (
            algorithm.name.removesuffix("Algorithm").removesuffix("Regression"), f"{algorithm.orders:,}", f"{filled:,}",
            f"{algorithm.fees:,.2f}", f"{algorithm.equity:,.2f}", "equal" if same else f"{ours:,.2f}",
            "" if by_lean is None else f"{by_lean:,.2f}",
        )  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
