"""A notebook forks its run with a cell, and compares both."""

from __future__ import annotations

import pytest

from tests.integration.test_journal_kernel import kernel, said

CELL = """%%backtest --no-panel --wait
import nbbacktest as nb
class Mine(nb.Strategy):
    size: int = 1
    def on_bar(self, bar):
        if bar.interval == "1m" and len(self.bars(bar.symbol)) % 30 == 0:
            self.buy(bar.symbol, self.size)
"""
GOES_BACK = """
system = nb.get_system_manager()
system.rewind("2024-10-03 12:00")
"""
FORK = """%%backtest --no-panel --fork other
class Other(nb.Strategy):
    def on_bar(self, bar):
        if bar.interval == "1m" and len(self.bars(bar.symbol)) % 20 == 0:
            self.buy(bar.symbol, 2)
"""
COMPARES = """
print(other.get_state(), system.get_state(), other.snapshot().cursor == system.snapshot().cursor)
for one in (system, other):
    one.resume()
    one.wait()
found = nb.divergence(system, other)
print(found.sentence)
print(type(found.plot()).__name__)
"""


@pytest.mark.timeout(170)
def test_a_cell_forks_the_run_of_another_cell(tmp_path):
    with kernel(tmp_path) as (_, client):
        said(client, "%load_ext nbbacktest")
        said(client, CELL)
        said(client, GOES_BACK)
        assert said(client, FORK) == ("other is paused at 2024-10-03 12:00:00-04:00: other.resume() lets it go on\n")
        lines = said(client, COMPARES).splitlines()
    assert lines[0] == "paused paused True"
    assert lines[1].startswith(
        "forked at 2024-10-03 12:00 with Other from the start of the run on; first difference at 09:50"
    )
    assert lines[2] == "Figure"
