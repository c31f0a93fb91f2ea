"""A real kernel that can start no thread of the engine's: the quickstart, and a panel's buttons."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFUSE = """
import threading

_start = threading.Thread.start

def _refuse(self):
    if self.name.startswith("nbbacktest"):
        raise RuntimeError("can't start new thread")
    _start(self)

threading.Thread.start = _refuse
"""
PANEL = [
    """
import asyncio
import nbbacktest as nb
from nbbacktest.core.lifecycle import Command
from nbbacktest.strategies import SmaCross

config = {"data": {"symbols": ["EXE"]}, "backtest": {"start_date": "2024-10-03", "end_date": "2024-10-04"}}
system = nb.SystemManager()
system.start(config, strategies=SmaCross, paused=True)
panel = system.panel()

async def click(command):
    panel.controls.buttons[command].click()
    for _ in range(300):
        await asyncio.sleep(0.01)
        if not panel._dispatcher._moves._queued and not panel._dispatcher._prompt._queued:
            return

def place():
    return panel.controls.bridge.cursor, system.snapshot().cursor, str(system.get_state())

panel
""",
    """
panel.controls.count.value = 7
await click(Command.STEP)
await click(Command.STEP)
await asyncio.sleep(0.9)
print(place())
""",
    """
system.set_speed(60)
await click(Command.RESUME)
await asyncio.sleep(0.1)
print(system.get_state())
""",
    """
await click(Command.PAUSE)
print(system.get_state())
stood = system.snapshot().cursor
await asyncio.sleep(0.2)
print(system.snapshot().cursor == stood)
""",
    """
system.set_speed(0)
await click(Command.RESUME)
result = await system.finished()
await asyncio.sleep(0.9)
print(place() == (780, 780, "stopped"), panel.controls.buttons[Command.START].disabled)
print(result.fingerprint == nb.backtest(None, SmaCross, config=config).fingerprint)
""",
]


@pytest.fixture
def kernel():
    """A notebook's client, whose kernel has refused threads in its first cell."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NBBACKTEST_THREADS": "off"}

    def execute(cells):
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in (REFUSE, *cells)]
        )  # fmt: skip
        client = nbclient.NotebookClient(
            notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(ROOT / "notebooks")}}
        )
        client.execute(env=environment)
        return notebook.cells[1:]

    return execute


def texts(cell) -> list[str]:
    """What a cell printed and showed as text."""
    printed = "".join(one["text"] for one in cell.outputs if one["output_type"] == "stream")
    return [printed, *(one["data"]["text/plain"] for one in cell.outputs if one["output_type"] == "execute_result")]


@pytest.mark.timeout(120)
def test_the_quickstart_needs_no_threads(kernel):
    """Every cell gives the text that is in the notebook, to the cent."""
    import nbformat

    written = nbformat.read(ROOT / "notebooks" / "01_quickstart.ipynb", as_version=4)
    cells = [cell for cell in written.cells if cell.cell_type == "code" and not cell.metadata.get("tags")]
    assert len(cells) > 5
    for before, now in zip(cells, kernel([cell.source for cell in cells]), strict=True):
        assert texts(now) == texts(before)


@pytest.mark.timeout(120)
def test_the_panels_buttons_are_heard_between_slices(kernel):
    """Steps are exact, a pause holds, a resumed run goes on between cells, and the panel shows what is."""
    shown = [texts(cell)[0] for cell in kernel(PANEL)]
    assert shown[1:] == [
        "(14, 14, 'paused')\n",
        "running\n",
        "paused\nTrue\n",
        "True False\nTrue\n",
    ]
