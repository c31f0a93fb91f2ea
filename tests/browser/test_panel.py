"""The panel in a real page: what its buttons do, what its charts show, and that nothing else happens."""

from __future__ import annotations

import json
import statistics

import nbbacktest as nb

SHOWN = "import nbbacktest as nb\nsystem = nb.get_system_manager()\nsystem.panel()"
LONG = """\
import numpy as np, pandas as pd, nbbacktest as nb
n = 1_000_000
close = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 1e-4, n)))
frame = pd.DataFrame(
    {"open": np.r_[close[:1], close[:-1]], "high": close * 1.001, "low": close * 0.999, "close": close, "volume": 1000.0},
    index=pd.date_range("2015-01-01", periods=n, freq="1min"),
)
class Busy(nb.Strategy):
    def on_start(self):
        self.mean = self.indicator(lambda x: x, "close", name="mean")
    def on_bar(self, bar):
        for _ in range(1500):
            pass
system = nb.get_system_manager()
system.start({"exchange": "24/7", "timezone": "UTC"}, data=frame, strategies=Busy, paused=True)
system.panel()
"""
_PAUSES = """async (times) => {
  const state = () => document.querySelector(".nbbt-state").innerText;
  const becomes = (word) => new Promise((done) => {
    if (state().includes(word)) return done();
    const seen = new MutationObserver(() => { if (state().includes(word)) { seen.disconnect(); done(); } });
    seen.observe(document.querySelector(".nbbt-state"), { childList: true, subtree: true, characterData: true });
  });
  const counter = () => document.querySelector(".nbbt-progress-text").innerText;
  const took = [], moved = [];
  for (let i = 0; i < times; i++) {
    document.querySelector("button.nbbt-resume").click();
    await becomes("Running");
    await new Promise((done) => setTimeout(done, 300 + 37 * (i % 7)));
    const began = performance.now();
    document.querySelector("button.nbbt-pause").click();
    await becomes("Paused");
    took.push(performance.now() - began);
    await new Promise((done) => setTimeout(done, 150));
    const first = counter();
    await new Promise((done) => setTimeout(done, 250));
    if (counter() !== first) moved.push([first, counter()]);
  }
  return { took, moved };
}"""

_RANGES = """() => {
  const chart = document.querySelector(".nbbt-bars .js-plotly-plot");
  const shown = () => chart.layout.xaxis.range.map((edge) => +new Date(edge));
  window.ranges = [shown()];
  const look = () => {
    const now = shown();
    if (now.some((edge, n) => Math.abs(edge - window.ranges.at(-1)[n]) > 1000)) window.ranges.push(now);
    requestAnimationFrame(look);
  };
  look();
}"""
"""Keeps each range that the chart shows, one after another."""


def slow(speed: float) -> str:
    """A cell that shows a panel, with the speed of the next run set."""
    return SHOWN.replace("system.panel()", f"system.set_speed({speed})\nsystem.panel()")


def test_a_run_from_start_to_end(sheets):
    """Start moves bars; Pause holds them; Step moves one; Resume, speed and Stop do what they say; the end is the headless one."""
    sheet = sheets("buttons.ipynb", slow(3600))
    sheet.run_all()
    sheet.panel()
    sheet.click("start")
    sheet.page.wait_for_function(
        "() => document.querySelector('.nbbt-bars .js-plotly-plot').data[0].x?.length > 3", timeout=5_000
    )
    sheet.click("pause")
    sheet.wait_state("Paused")
    held = sheet.cursor()
    sheet.page.wait_for_timeout(600)
    assert sheet.cursor() == held
    sheet.click("step")
    sheet.reaches(held + 1)
    sheet.page.locator(".nbbt-steps input").fill("10")
    sheet.page.locator(".nbbt-steps input").press("Enter")
    sheet.click("step")
    sheet.reaches(held + 11)
    sheet.click("resume")
    sheet.wait_state("Running")
    sheet.page.locator(".nbbt-mode button", has_text="Data-driven").click()
    sheet.reaches(2340)
    sheet.wait_state("Stopped")
    expected = nb.SystemManager()
    expected.start()
    result = expected.wait()
    assert f"{result.stats['final_equity']:,.2f}" in sheet.text("figures")
    assert f"{len(result.fills)} fills" in sheet.text("figures")
    sheet.page.locator(".nbbt-mode button", has_text="Clock-driven").click()
    sheet.page.wait_for_timeout(400)
    sheet.click("start")
    sheet.wait_state("Running")
    sheet.click("stop")
    sheet.wait_state("Stopped")


def test_a_pause_at_full_speed_comes_at_once_and_holds(sheets):
    """Twenty pauses at full speed: each is shown soon after the click, and no bar moves after any of them."""
    sheet = sheets("latency.ipynb", LONG)
    sheet.run_all()
    sheet.panel()
    sheet.wait_state("Paused")
    sheet.page.wait_for_timeout(1_500)
    measured = sheet.page.evaluate(_PAUSES, 20)
    took = sorted(measured["took"])
    print(f"\npauses: median {statistics.median(took):.0f} ms, p95 {took[18]:.0f} ms, worst {took[-1]:.0f} ms")
    assert measured["moved"] == []
    assert statistics.median(took) < 250
    assert took[18] < 600
    sheet.click("stop")


def test_keys_pause_resume_and_step(sheets):
    """With the focus on the panel, space pauses and resumes and the right arrow steps; in a field they are typed."""
    sheet = sheets("keys.ipynb", SHOWN)
    sheet.run_all()
    sheet.panel()
    sheet.page.locator(".nbbt-mode button", has_text="Clock-driven").click()
    sheet.page.wait_for_timeout(300)
    sheet.click("start")
    sheet.wait_state("Running")
    sheet.page.locator(".nbbt-panel").focus()
    sheet.page.keyboard.press("Space")
    sheet.wait_state("Paused")
    held = sheet.cursor()
    sheet.page.keyboard.press("ArrowRight")
    sheet.reaches(held + 1)
    sheet.page.keyboard.press("Space")
    sheet.wait_state("Running")
    sheet.page.locator(".nbbt-until input").click()
    sheet.page.keyboard.press("Space")
    sheet.page.wait_for_timeout(400)
    assert "Running" in sheet.text("state")
    names = sheet.page.evaluate(
        "() => ['.nbbt-speed .noUi-handle', '.nbbt-progress', '.nbbt-mode'].map("
        "(one) => document.querySelector(one)?.getAttribute('aria-label'))"
    )
    assert all(names)
    sheet.click("stop")
    sheet.wait_state("Stopped")


def test_two_tabs_show_one_run(sheets):
    """Two pages on one notebook agree: what is clicked in one is seen in the other."""
    cells = slow(600)
    one = sheets("tabs.ipynb", cells)
    one.run_all()
    one.panel()
    one.save()
    one.click("start")
    one.wait_state("Running")
    two = sheets("tabs.ipynb")
    two.panel()
    two.wait_state("Running")
    two.click("pause")
    one.wait_state("Paused")
    two.wait_state("Paused")
    one.page.wait_for_timeout(700)
    assert one.cursor() == two.cursor() > 0
    assert one.points("bars") == two.points("bars") > 0
    one.click("stop")
    two.wait_state("Stopped")


def test_the_users_zoom_stays_until_follow_is_pressed(sheets):
    """A zoom in time ends following and holds while bars come; Follow brings the newest bars back."""
    sheet = sheets("zoom.ipynb", slow(3600))
    sheet.run_all()
    sheet.panel()
    sheet.click("start")
    sheet.wait_state("Running")
    sheet.page.wait_for_timeout(2_500)
    box = sheet.page.locator(".nbbt-bars .nsewdrag").first.bounding_box()
    assert box is not None
    sheet.page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 60)
    sheet.page.mouse.down()
    sheet.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 60, steps=5)
    sheet.page.evaluate(_RANGES)
    sheet.page.mouse.up()
    sheet.page.wait_for_function("() => !document.querySelector('button.nbbt-follow').classList.contains('mod-active')")
    sheet.page.wait_for_timeout(2_500)
    dragged, zoomed, *later = sheet.page.evaluate("() => window.ranges")
    assert zoomed[0] > dragged[0]
    assert zoomed[1] < dragged[1]
    assert later == []
    sheet.click("follow")
    sheet.page.wait_for_timeout(1_000)
    assert sheet.page.evaluate("() => window.ranges.at(-1)")[1] > zoomed[1]
    sheet.click("stop")
    sheet.wait_state("Stopped")


def test_a_cell_magic_leaves_a_picture_for_readers_without_a_kernel(sheets, lab):
    """After `%%backtest`, the saved notebook holds a picture and a summary under the panel; a rerun replaces the run."""
    cell = (
        "%%backtest --cash 50000\n"
        "import nbbacktest as nb\n"
        "class Buyer(nb.Strategy):\n"
        "    def on_bar(self, bar):\n"
        "        if not self.position(bar.symbol).size:\n"
        "            self.buy(bar.symbol, size=10)\n"
    )
    sheet = sheets("magic.ipynb", "%load_ext nbbacktest", cell)
    sheet.run_all()
    sheet.panel()
    sheet.reaches(2340)
    sheet.wait_state("Stopped")
    sheet.page.wait_for_selector(".jp-RenderedSVG, .jp-OutputArea img", timeout=15_000)
    sheet.run_cell(1)
    sheet.page.wait_for_timeout(3_000)
    assert sheet.page.locator(".nbbt-panel").count() == 1
    sheet.save()
    sheet.page.wait_for_timeout(1_000)
    outputs = json.loads((lab.folder / "magic.ipynb").read_text())["cells"][1]["outputs"]
    kinds = [set(output.get("data", {})) for output in outputs]
    assert {"image/svg+xml", "text/plain"} in kinds
    assert any("text/html" in kind and "text/plain" in kind for kind in kinds)
    assert any("Buyer()" in "".join(output.get("data", {}).get("text/plain", "")) for output in outputs)


def test_an_error_of_a_strategy_is_shown_folded_and_escaped(sheets):
    """A strategy that raises is named in the panel; its traceback is there, folded, as text and not as HTML."""
    cell = (
        "%%backtest\n"
        "import nbbacktest as nb\n"
        "class Broken(nb.Strategy):\n"
        "    def on_bar(self, bar):\n"
        "        if bar.time.hour == 10:\n"
        "            raise KeyError('<img src=x>')\n"
    )
    sheet = sheets("broken.ipynb", "%load_ext nbbacktest", cell)
    sheet.run_all()
    sheet.panel()
    failure = sheet.page.locator(".nbbt-failure")
    failure.wait_for()
    assert "Broken.on_bar raised" in failure.inner_text()
    assert sheet.page.locator(".nbbt-failure img").count() == 0
    assert not sheet.page.locator(".nbbt-failure pre").is_visible()
    sheet.page.locator(".nbbt-failure summary").click()
    assert "raise KeyError" in sheet.page.locator(".nbbt-failure pre").inner_text()


def test_a_click_behind_a_blocking_cell_spares_the_next_run(sheets):
    """A Stop that is pressed while a cell blocks ends at most the run that was shown, never the next one."""
    blocked = (
        "import time\ntime.sleep(1.5)\nsystem.stop()\n"
        "system.start({**nb.core.config.EXAMPLE, 'backtest': {'start_date': '2024-10-03', 'end_date': '2024-10-04',"
        " 'speed_multiplier': 60}})"
    )
    sheet = sheets("queued.ipynb", f"import nbbacktest.core.config\n{slow(60)}", blocked)
    sheet.run_cell(0)
    sheet.panel()
    sheet.click("start")
    sheet.wait_state("Running")
    sheet.page.evaluate("() => window.jupyterapp.commands.execute('notebook:move-cursor-down')")
    sheet.run_cell(1)
    sheet.page.wait_for_timeout(400)
    sheet.page.evaluate("() => document.querySelector('button.nbbt-stop').click()")
    sheet.page.wait_for_timeout(4_000)
    sheet.wait_state("Running")
    sheet.page.locator(".nbbt-progress", has_text="of 780").wait_for(timeout=5_000)
    sheet.click("stop")
    sheet.wait_state("Stopped")
