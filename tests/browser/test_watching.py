"""Watching a long run in a real page: frames come often, messages are small, and nothing piles up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

STATM = Path("/proc/self/statm")

SHOWN = """\
import json, os, resource
import numpy as np, pandas as pd, nbbacktest as nb

n = 1_000_000
close = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 1e-4, n)))
frame = pd.DataFrame(
    {"open": np.r_[close[:1], close[:-1]], "high": close * 1.001, "low": close * 0.999, "close": close, "volume": 1000.0},
    index=pd.date_range("2015-01-01", periods=n, freq="1min"),
)

class Crossing(nb.Strategy):
    def on_start(self):
        mean = lambda values, count: pd.Series(values).rolling(count).mean().to_numpy()
        self.fast = self.indicator(mean, "close", 20, name="fast")
        self.slow = self.indicator(mean, "close", 50, name="slow")
    def on_bar(self, bar):
        above, held = self.fast[-1] > self.slow[-1], self.position(bar.symbol).size
        if above and not held:
            self.buy(bar.symbol, size=100)
        elif held and not above:
            self.close(bar.symbol)

system = nb.get_system_manager()
system.start({"exchange": "24/7", "timezone": "UTC"}, data=frame, strategies=Crossing, paused=True)
system.step(n // 2)
system.set_speed(60)
panel = system.panel()
panel
"""
TOLD = """\
held = panel.charts.bars
print(json.dumps({
    "memory": int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
    "waiting": held._last_trace_edit_id - held._acknowledged, "frames": held._last_trace_edit_id,
}))
"""
WATCHED_SECONDS = 20
_FRAMES = """() => {
  window.frames = { bars: 0, equity: 0, sync: 0 };
  for (const name of Object.keys(window.frames)) {
    document.querySelector(`.nbbt-${name} .js-plotly-plot`).on("plotly_afterplot", () => window.frames[name]++);
  }
}"""


def told(sheet, number: int) -> dict[str, int]:
    """What the cell prints now."""
    sheet.run_cell(number)
    output = sheet.page.locator(".jp-Notebook .jp-Cell").nth(number).locator(".jp-OutputArea-output pre")
    output.first.wait_for()
    return json.loads(output.last.inner_text())


@pytest.mark.skipif(not STATM.exists(), reason="reads memory from /proc")
def test_a_long_run_by_the_clock_stays_smooth(sheets):
    """At 60 times over a million bars: several frames a second, none over 300 KB, none waiting, no memory taken."""
    sheet = sheets("watching.ipynb", SHOWN, TOLD, TOLD)
    sizes: list[int] = []
    sheet.page.on("websocket", lambda socket: socket.on("framereceived", lambda payload: sizes.append(len(payload))))
    sheet.reload()
    sheet.run_cell(0)
    sheet.panel()
    sheet.wait_state("Paused")
    sheet.click("resume")
    sheet.wait_state("Running")
    sheet.page.wait_for_timeout(5_000)
    before = told(sheet, 1)
    sizes.clear()
    sheet.page.evaluate(_FRAMES)
    sheet.page.wait_for_timeout(1_000 * WATCHED_SECONDS)
    frames = sheet.page.evaluate("() => window.frames")
    after = told(sheet, 2)
    sheet.page.locator(".nbbt-mode button", has_text="Data-driven").click()
    sheet.reaches(1_000_000, timeout=60_000)
    heaviest = max(sizes)
    grown = after["memory"] - before["memory"]
    print(
        f"\n{max(frames.values()) / WATCHED_SECONDS:.1f} frames a second {frames}, heaviest message {heaviest:,} bytes,"
        f" {after['waiting']} waiting, memory {grown / 1e6:+.1f} MB of {before['memory'] / 1e6:.0f}"
    )
    assert max(frames.values()) > 1.5 * WATCHED_SECONDS  # six a second on a machine that has time
    assert frames["bars"] > 0
    assert heaviest < 300_000
    assert after["waiting"] <= 2
    assert grown < 30e6
