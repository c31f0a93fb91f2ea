"""LEAN's own regression algorithms, run here: its published orders, fees and final equity are the right values."""

from __future__ import annotations

import pytest

from tests.lean.published import ASKED, Algorithm, folder
from tests.lean.suite import ALGORITHMS

CENT = 0.00501  # LEAN's figures are rounded to a cent

pytestmark = pytest.mark.skipif(folder() is None, reason=ASKED)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.name)
def test_a_regression_algorithm_ends_as_lean_publishes(algorithm: Algorithm):
    """Equal to the cent; or by a rule that is stated, and then the figure by LEAN's rule is LEAN's."""
    result, by_lean = algorithm.run()
    filled = int((result.orders["status"] == "filled").sum())
    assert len(result.orders) == algorithm.orders - algorithm.again
    assert filled == (algorithm.orders if algorithm.filled is None else algorithm.filled)
    fees = algorithm.fees if algorithm.fees_ours is None else algorithm.fees_ours
    assert result.stats["fees"] == pytest.approx(fees, abs=CENT)
    ours = algorithm.equity if algorithm.ours is None else algorithm.ours
    assert result.stats["final_equity"] == pytest.approx(ours, abs=CENT)
    if algorithm.ours is not None:
        assert by_lean == pytest.approx(algorithm.equity, abs=CENT)
        assert algorithm.rule
