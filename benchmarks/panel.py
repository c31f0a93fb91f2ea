"""What a panel costs and how fast it answers, in a real page: JupyterLab, a kernel and Chromium, all on this machine.

The kernel's processor time of full-speed runs with a page drawing them, against the same runs in the same kernel with the
panel closed, in turns; and the time from a click on Pause to the word "Paused" in the page. Run as
`python -m benchmarks.panel` in the project's folder.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path

from tests.browser.lab import Lab, Sheet, browser
from tests.browser.test_panel import _PAUSES, LONG

PAIRS = 6
PAUSES = 20
COST = """\
import json, os, threading, time

ENGINE = {"nbbacktest-coordinator", "nbbacktest-processor", "nbbacktest-analysis"}

def spent():
    \"\"\"Seconds on a processor by thread.\"\"\"
    times = {}
    for one in os.listdir("/proc/self/task"):
        try:
            times[int(one)] = int(open(f"/proc/self/task/{one}/schedstat").read().split()[0]) / 1e9
        except (FileNotFoundError, ProcessLookupError):
            pass
    return times

def run(manager):
    before, began, wall = spent(), time.process_time(), time.perf_counter()
    manager.start({"exchange": "24/7", "timezone": "UTC"}, data=frame, strategies=Busy)
    engine = {one.native_id for one in threading.enumerate() if one.name in ENGINE} | {threading.get_native_id()}
    last = {}
    while not manager.is_stopped():
        time.sleep(0.1)
        last.update(spent())
    total = time.process_time() - began
    beside = sum(seconds - before.get(one, 0.0) for one, seconds in last.items() if one not in engine)
    assert len(engine) == 4, engine
    return total, time.perf_counter() - wall, beside

def measure():
    for _ in range(PAIRS):
        bare.append((*run(other), 0))
        before = panel.charts.bars._acknowledged
        shown.append((*run(system), panel.charts.bars._acknowledged - before))

bare, shown = [], []
other = nb.SystemManager()
system.stop()
panel = system.panel()
measuring = threading.Thread(target=measure)
measuring.start()
""".replace("PAIRS", str(PAIRS))
TOLD = "measuring.join()\nprint(json.dumps([bare, shown]))"


def sheet_of(context: object, lab: Lab, name: str, *cells: str) -> Sheet:
    lab.write(name, *cells)
    sheet = Sheet(context, lab)  # type: ignore[arg-type]
    sheet.open(name)
    return sheet


def pauses(context: object, lab: Lab) -> list[float]:
    """Milliseconds from the click to the word, at full speed."""
    sheet = sheet_of(context, lab, "pauses.ipynb", LONG)
    sheet.run_all()
    sheet.panel()
    sheet.wait_state("Paused")
    sheet.page.wait_for_timeout(1_500)
    measured = sheet.page.evaluate(_PAUSES, PAUSES)
    if measured["moved"]:
        sys.exit(f"bars moved after a pause: {measured['moved']}")
    lab.end_kernels()
    return sorted(measured["took"])


def cost(context: object, lab: Lab) -> tuple[list[list[float]], list[list[float]]]:
    """Of each run the process's seconds, wall seconds, seconds of threads beside the engine's, and frames acknowledged."""
    # The first cell's strategy takes 15 us a bar: long enough for frames, and every one of its bars is the same work.
    sheet = sheet_of(context, lab, "cost.ipynb", LONG.replace("n = 1_000_000", "n = 300_000"), COST, TOLD)
    sheet.run_cell(0)
    sheet.panel()
    sheet.run_cell(1)
    sheet.page.wait_for_timeout(1_000)
    for _ in range(2 * PAIRS):
        sheet.page.locator(".nbbt-bars").scroll_into_view_if_needed()
        sheet.page.wait_for_timeout(9_000)
    sheet.run_cell(2)
    output = sheet.page.locator(".jp-Notebook .jp-Cell").nth(2).locator(".jp-OutputArea-output pre")
    output.first.wait_for(timeout=200_000)
    found = json.loads(output.last.inner_text())
    lab.end_kernels()
    return found[0], found[1]


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        lab = Lab(Path(folder), Path.cwd())
        try:
            lab.start()
            context = chromium.new_context(viewport={"width": 1400, "height": 1500})
            took = pauses(context, lab)
            bare, shown = cost(context, lab)
        finally:
            lab.stop()
    print(
        f"click to 'Paused', {PAUSES} at full speed: median {statistics.median(took):.0f} ms,"
        f" p95 {took[round(0.95 * len(took)) - 1]:.0f} ms, worst {took[-1]:.0f} ms"
    )
    for name, index in (("processor", 0), ("wall", 1)):
        ratios = [there[index] / alone[index] - 1 for alone, there in zip(bare, shown, strict=True)]
        best = min(run[index] for run in shown) / min(run[index] for run in bare) - 1
        print(
            f"{name} time of a run with a panel: {best:+.1%} best against best, {statistics.median(ratios):+.1%} median of"
            f" {len(ratios)} pairs ({min(ratios):+.1%} to {max(ratios):+.1%}); {min(run[index] for run in bare):.2f} s without"
        )
    for name, runs in (("without", bare), ("with", shown)):
        shares = [run[2] / run[0] for run in runs]
        print(
            f"threads beside the engine's, {name} a panel: {statistics.median(shares):.1%} of the process's time"
            f" ({min(shares):.1%} to {max(shares):.1%})"
        )
    print(f"frames that the page drew and acknowledged, a run: {[int(run[3]) for run in shown]}")


if __name__ == "__main__":
    main()
