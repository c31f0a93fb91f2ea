"""What the page for those who come from another engine says of it: each engine's code, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.parity import peers  # noqa: F401 - skips where a peer is missing, and quiets its progress bar

PAGE = Path(__file__).parents[2] / "docs" / "coming-from.md"
BLOCK = re.compile(
    r"^```python (?P<peer>\w+)\n(?P<code>.*?)^```\n(?:```text\n(?P<output>.*?)^```\n)?", re.DOTALL | re.MULTILINE
)
BLOCKS = {block["peer"]: block for block in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("peer", ["backtesting", "backtrader"])
@pytest.mark.filterwarnings("ignore")  # the peers' own
def test_the_peers_code_runs_and_prints_what_the_page_says(peer, markets, capsys):
    """On the page's bars, the peer's own code ends with the account that the page shows for all engines."""
    exec(compile(BLOCKS[peer]["code"], f"{PAGE}: {peer}", "exec"), {"prices": markets["GOOG"], "__name__": peer})
    assert capsys.readouterr().out == BLOCKS[peer]["output"]


def test_all_engines_end_alike():
    """Every account that the page shows is the same, the one in its first lines included."""
    text = PAGE.read_text(encoding="utf-8")
    shown = re.findall(r"^```text\n([\d.]+)\n```$", text, re.MULTILINE)
    assert len(shown) == 3
    assert {f"{float(value):,.2f}" for value in shown} == {re.search(r"\*\*([\d,.]+)\*\*", text)[1]}


def test_what_is_not_run_is_read():
    """The side of zipline is shown only; it is Python all the same."""
    assert BLOCKS.keys() == {"backtesting", "backtrader", "zipline"}
    compile(BLOCKS["zipline"]["code"], "zipline", "exec")
