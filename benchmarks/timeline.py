"""How fast a panel's timeline answers, in a real page: JupyterLab, a kernel and Chromium, all on this machine.

A run of 100,000 bars that rests at its end. The time from a move of the slider to the page that has drawn that instant; and
from letting the slider go to the run that is there, its badge and its chart with it. Run as `python -m benchmarks.timeline` in
the project's folder.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from random import Random

from benchmarks.panel import sheet_of
from tests.browser.lab import Lab, Sheet, browser

BARS = 100_000
MOVES, DROPS = 60, 30
CELL = """\
import numpy as np, pandas as pd, nbbacktest as nb
from nbbacktest.strategies import SmaCross
n = BARS
close = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 1e-4, n)))
frame = pd.DataFrame(
    {"open": np.r_[close[:1], close[:-1]], "high": close * 1.001, "low": close * 0.999, "close": close, "volume": 1000.0},
    index=pd.date_range("2015-01-01", periods=n, freq="1min"),
)
system = nb.get_system_manager()
system.start({"exchange": "24/7", "timezone": "UTC"}, data=frame, strategies=SmaCross, paused=True)
system.step(n - 1)
system.panel()
""".replace("BARS", str(BARS))
_WATCH = """() => {
  const handle = document.querySelector(".nbbt-timeline .noUi-handle");
  const place = () => Math.round(handle.getAttribute("aria-valuenow"));
  // The chart follows, so its last candle is the bar that was completed last.
  const chart = () => {
    const x = document.querySelector(".nbbt-bars .js-plotly-plot").data[0].x;
    return x?.length ? 1 + Math.round((x.at(-1) - Date.UTC(2015, 0, 1)) / 60_000) : 0;
  };
  const badge = () => document.querySelector(".nbbt-past").innerText.replaceAll(",", "");
  const watch = (kind, event, word) => {
    const began = event.timeStamp;
    return new Promise((done) => {
      const look = () => {
        const at = place();
        if (at !== before && badge().startsWith(`${word} ${at} of`) && chart() === at) done(performance.now() - began);
        else if (performance.now() - began > 5_000) done(5_000);
        else requestAnimationFrame(look);
      };
      const before = kind === "pointermove" ? place() : -1;
      setTimeout(look);
    });
  };
  window.nbbtNext = (kind, word) => (window.nbbtSeen = new Promise((done) =>
    window.addEventListener(kind, (event) => watch(kind, event, word).then(done), { capture: true, once: true })));
}"""


def measured(sheet: Sheet) -> tuple[list[float], list[float]]:
    """Milliseconds of each move until it was drawn, and of each drop until the run was there."""
    page, dice = sheet.page, Random(5)
    page.evaluate(_WATCH)
    track = page.locator(".nbbt-timeline .noUi-base").bounding_box()
    handle = page.locator(".nbbt-timeline .noUi-handle").bounding_box()
    assert track is not None
    assert handle is not None
    height = handle["y"] + handle["height"] / 2
    moves, drops = [], []
    page.mouse.move(handle["x"] + handle["width"] / 2, height)
    while len(drops) < DROPS:
        page.mouse.down()
        for _ in range(MOVES // DROPS):
            page.evaluate("() => { nbbtNext('pointermove', 'looking at'); }")
            page.mouse.move(track["x"] + dice.uniform(0.02, 0.95) * track["width"], height)
            moves.append(page.evaluate("() => window.nbbtSeen"))
            page.wait_for_timeout(max(170 - moves[-1], 0))  # of a drag that goes on, six places a second are drawn
        page.mouse.move(track["x"] + dice.uniform(0.02, 0.95) * track["width"], height)
        page.evaluate("() => { nbbtNext('pointerup', 'in the past:'); }")
        page.mouse.up()
        drops.append(page.evaluate("() => window.nbbtSeen"))
        page.wait_for_timeout(300)
    return sorted(moves), sorted(drops)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        lab = Lab(Path(folder), Path.cwd())
        try:
            lab.start()
            sheet = sheet_of(
                chromium.new_context(viewport={"width": 1400, "height": 1500}), lab, "timeline.ipynb", CELL
            )
            sheet.run_all()
            sheet.panel()
            sheet.reaches(BARS - 1)
            sheet.page.wait_for_timeout(1_500)
            moves, drops = measured(sheet)
        finally:
            lab.stop()
    for name, took in (("move to drawn", moves), ("let go to there", drops)):
        print(
            f"{name}, {len(took)} at {BARS:,} bars: median {statistics.median(took):.0f} ms,"
            f" p95 {took[round(0.95 * len(took)) - 1]:.0f} ms, worst {took[-1]:.0f} ms"
        )


if __name__ == "__main__":
    main()
