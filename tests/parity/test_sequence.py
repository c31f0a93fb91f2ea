"""What a bar brings in which order, where several orders of one position meet in it."""

from __future__ import annotations

import pytest

from tests.parity.scripted import Do, run_backtesting_py, run_ours, tape

FLAT = (100, 100, 100, 100)


@pytest.mark.parametrize(
    ("bar", "script"),
    [
        pytest.param((100, 135, 100, 130), [Do(3, "close")], id="target later in the bar"),
        pytest.param((100, 100, 85, 90), [Do(3, "close")], id="stop later in the bar"),
    ],
)
def test_a_close_at_the_open_comes_before_the_bar(bar: tuple[float, ...], script: list[Do]) -> None:
    """What is closed at a bar's open can't be closed again at a level that the bar reaches afterwards."""
    frame = tape(FLAT, FLAT, FLAT, bar)
    script = [Do(2, "buy", 10, stop_loss=90, take_profit=130), *script]
    mine = run_ours(frame, script)
    assert mine == run_backtesting_py(frame, script)
    assert mine.fills[-1].price == 100
