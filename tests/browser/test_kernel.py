"""What becomes of a run and its panel where the page interrupts its kernel, or starts it anew."""

from __future__ import annotations

import psutil

RUN = """\
%%backtest --wait --speed 600
import nbbacktest as nb
class Idle(nb.Strategy):
    def on_bar(self, bar):
        pass
"""
LOAD = "import os\nos.environ.pop('NBBACKTEST_REMOTE', None)\n%load_ext nbbacktest\nprint(os.getpid())"


def printed(sheet, cell: int) -> str:
    said = sheet.page.locator(".jp-Notebook .jp-Cell").nth(cell).locator(".jp-OutputArea-output pre").first
    said.wait_for()
    return said.inner_text()


def test_an_interrupt_pauses_and_a_restart_leaves_nothing(sheets, lab):
    """An interrupted wait pauses the run, which goes on by a click; a new kernel finds nothing of the old one."""
    sheet = sheets("kernel.ipynb", LOAD, RUN, "%backtest status")
    sheet.run_cell(0)
    process = int(printed(sheet, 0))
    sheet.run_cell(1)
    sheet.panel()
    sheet.wait_state("Running")
    sheet.page.evaluate("() => window.jupyterapp.commands.execute('notebook:interrupt-kernel')")
    sheet.wait_state("Paused")
    held = sheet.cursor()
    sheet.run_cell(2)
    assert "State: PAUSED" in printed(sheet, 2)
    sheet.click("step")
    sheet.reaches(held + 1)
    entries = lab.folder / "home" / "runtime" / "nbbacktest"
    written = {one for one in entries.rglob("*") if not one.is_dir()}
    assert written
    sheet.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    sheet.page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'", timeout=30_000
    )
    sheet.run_cell(0)
    sheet.page.wait_for_function(
        "(old) => { const said = document.querySelector('.jp-Notebook .jp-Cell .jp-OutputArea-output pre');"
        " return said && said.innerText.trim() !== old; }",
        arg=str(process),
    )
    assert not psutil.pid_exists(process)
    assert not [one for one in written if one.exists()]
    sheet.run_cell(1)
    sheet.wait_state("Running")
    sheet.page.evaluate("() => window.jupyterapp.commands.execute('notebook:interrupt-kernel')")
    sheet.wait_state("Paused")
    sheet.click("stop")
    sheet.wait_state("Stopped")
