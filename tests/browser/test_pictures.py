"""The panel's looks, kept as pictures: light and dark, wide and narrow, in each of its states."""

from __future__ import annotations

import pytest
from PIL import Image

CELL = """\
import nbbacktest as nb
import talib

class Cross(nb.Strategy):
    fast: int = 10
    slow: int = 30
    def on_start(self):
        self.f = {s: self.indicator(talib.SMA, "close", self.fast, symbol=s) for s in self.symbols}
        self.s = {s: self.indicator(talib.SMA, "close", self.slow, symbol=s) for s in self.symbols}
        self.r = {s: self.indicator(talib.RSI, "close", 14, symbol=s) for s in self.symbols}
    def on_bar(self, bar):
        if bar.interval != self.base_interval:
            return
        if FAILS and bar.time.hour == 12:
            raise ValueError("no bars after lunch")
        above = self.f[bar.symbol][-1] > self.s[bar.symbol][-1]
        held = self.position(bar.symbol).size
        if above and not held:
            self.buy(bar.symbol, size=300, stop_loss=bar.close * 0.99, take_profit=bar.close * 1.01)
        elif held and not above:
            self.close(bar.symbol)

system = nb.SystemManager()
system.set_speed(SPEED)
panel = nb.ControlPanel(system, start=lambda: system.start(strategies=Cross) and "System started successfully")
panel
"""


def cell(*, speed: float = 3600, fails: bool = False) -> str:
    return CELL.replace("SPEED", str(speed)).replace("FAILS", str(fails))


def picture(sheet, path) -> None:
    sheet.page.wait_for_timeout(700)
    sheet.page.locator(".nbbt-panel").first.screenshot(path=path)
    with Image.open(path) as image:
        colours = image.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    assert len(colours) > 100, f"{path} is nearly empty"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pictures_of_every_state(sheets, pictures, dark):
    """Empty, running, paused, ended and failed, at full width."""
    theme = "dark" if dark else "light"
    sheet = sheets(f"states-{theme}.ipynb", cell(), cell(fails=True), width=1250, height=1700)
    sheet.theme("JupyterLab Dark" if dark else "JupyterLab Light")
    sheet.simple()
    sheet.run_cell(0)
    sheet.panel()
    picture(sheet, pictures / f"{theme}-empty.png")
    sheet.click("start")
    sheet.wait_state("Running")
    sheet.page.wait_for_timeout(4_000)
    picture(sheet, pictures / f"{theme}-running.png")
    sheet.click("pause")
    sheet.wait_state("Paused")
    picture(sheet, pictures / f"{theme}-paused.png")
    sheet.page.locator(".nbbt-mode button", has_text="Data-driven").click()
    sheet.click("resume")
    sheet.reaches(2340)
    picture(sheet, pictures / f"{theme}-ended.png")
    sheet.page.evaluate("() => window.jupyterapp.commands.execute('notebook:move-cursor-down')")
    sheet.run_cell(1)
    sheet.page.wait_for_function("() => document.querySelectorAll('.nbbt-sync .js-plotly-plot').length === 2")
    sheet.page.locator("button.nbbt-start").nth(1).click()
    sheet.page.locator(".nbbt-failure").wait_for()
    sheet.page.locator(".nbbt-failure summary").click()
    sheet.page.wait_for_timeout(800)
    sheet.page.locator(".nbbt-panel").nth(1).screenshot(path=pictures / f"{theme}-failed.png")


def test_pictures_at_600_pixels(sheets, pictures):
    """Nothing is cut off or laid over something else in a panel 600 pixels wide."""
    sheet = sheets("narrow.ipynb", cell(), width=760, height=2200)
    sheet.theme("JupyterLab Light")
    sheet.simple()
    sheet.run_cell(0)
    sheet.panel()
    sheet.page.add_style_tag(content=".nbbt-panel { width: 600px !important; }")
    sheet.click("start")
    sheet.wait_state("Running")
    sheet.page.wait_for_timeout(3_000)
    sheet.click("pause")
    sheet.wait_state("Paused")
    picture(sheet, pictures / "narrow-paused.png")
    wide = "() => [...document.querySelectorAll('.nbbt-panel *')].filter((one) => one.getBoundingClientRect().right > "
    wide += "document.querySelector('.nbbt-panel').getBoundingClientRect().right + 1 && !one.closest('svg')).length"
    assert sheet.page.evaluate(wide) == 0
    sheet.click("stop")
    sheet.wait_state("Stopped")
