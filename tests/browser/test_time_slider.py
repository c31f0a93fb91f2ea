"""The panel's timeline in a real page: what a drag shows, where the run is when it ends, and what is refused."""

from __future__ import annotations

STEPPED = """\
import nbbacktest as nb
system = nb.get_system_manager()
system.start(paused=True)
system.step(900)
system.panel()"""
BUSY_FUTURE = "import time\ntime.sleep(1.5)\nsystem.rewind(100)"
_LAST = "() => document.querySelector('.nbbt-bars .js-plotly-plot').data[0].x.at(-1)"
_HANDLE = ".nbbt-timeline .noUi-handle"


def middle(sheet, selector: str) -> tuple[float, float, float]:
    """Where the middle of something is, and how wide it is."""
    box = sheet.page.locator(selector).first.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"]


def drag_to(sheet, share: float) -> None:
    """Take the slider's handle to a share of its track, and hold it there."""
    x, y, _ = middle(sheet, _HANDLE)
    sheet.page.mouse.move(x, y)
    sheet.page.mouse.down()
    centre, _, width = middle(sheet, ".nbbt-timeline .noUi-base")
    sheet.page.mouse.move(centre + (share - 0.5) * width, y, steps=6)


def is_held_at(sheet, share: float) -> bool:
    """True if the handle comes to be under the mouse, at a share of its track, and isn't taken away from there."""
    near = 0
    for _ in range(100):
        centre, _, width = middle(sheet, ".nbbt-timeline .noUi-base")
        x, _, _ = middle(sheet, _HANDLE)
        near = near + 1 if abs(x - (centre + (share - 0.5) * width)) < 3 else 0
        if near == 10:
            return True
        sheet.page.wait_for_timeout(100)
    return False


def badge(sheet, text: str) -> None:
    sheet.page.locator(".nbbt-past:visible", has_text=text).first.wait_for(timeout=10_000)


def test_a_drag_looks_and_letting_go_is_there(sheets):
    """The handle stays under the mouse; charts and numbers show that instant, and then the run is at it; Home leads out."""
    sheet = sheets("timeline.ipynb", STEPPED)
    sheet.run_all()
    sheet.panel()
    sheet.reaches(900)
    sheet.page.wait_for_timeout(1_000)
    newest = sheet.page.evaluate(_LAST)
    # The slider looks without a command: the run's own word about it is asked for while it is held.
    sheet.page.evaluate(
        """() => { window.badges = []; const place = document.querySelector('.nbbt-past');
        new MutationObserver(() => { const text = place.innerText; if (text && text !== window.badges.at(-1)) window.badges.push(text); })
        .observe(place, { childList: true, subtree: true, characterData: true }); }"""
    )
    drag_to(sheet, 0.4)
    assert is_held_at(sheet, 0.4)
    sheet.page.mouse.up()
    badge(sheet, "in the past: 3")
    at = sheet.cursor()
    assert 355 <= at <= 365
    sheet.page.wait_for_function(f"() => ({_LAST})() < {newest}", timeout=10_000)
    sheet.page.wait_for_timeout(500)
    shown = sheet.page.evaluate("() => window.badges")
    assert any(text.startswith("looking at ") for text in shown), shown
    assert shown[-1] == f"in the past: {at} of 900"
    assert "Paused" in sheet.text("state")
    there = sheet.page.evaluate(_LAST)
    sheet.click("step")
    sheet.reaches(at + 1)
    sheet.page.wait_for_function(f"() => ({_LAST})() > {there}", timeout=10_000)
    sheet.click("back")
    sheet.reaches(at)
    sheet.page.wait_for_function(f"() => ({_LAST})() === {there}", timeout=10_000)
    sheet.click("home")
    sheet.reaches(900)
    sheet.page.wait_for_function(f"() => ({_LAST})() === {newest}", timeout=10_000)
    assert sheet.page.locator(".nbbt-in-past").count() == 0
    assert not sheet.page.locator("button.nbbt-home").is_visible()
    sheet.click("stop")
    sheet.wait_state("Stopped")


def test_a_slider_that_is_held_still_goes_there(sheets):
    """A quarter of a second of rest is enough; then the drag goes on from there, and keys do the same."""
    sheet = sheets("rest.ipynb", STEPPED)
    sheet.run_all()
    sheet.panel()
    sheet.reaches(900)
    drag_to(sheet, 0.5)
    badge(sheet, "in the past: 450 of 900")  # a slow machine may rest on the way, and then goes on
    centre, y, width = middle(sheet, ".nbbt-timeline .noUi-base")
    sheet.page.mouse.move(centre - 0.25 * width, y, steps=4)
    sheet.page.mouse.up()
    badge(sheet, "in the past: 2")
    at = sheet.cursor()
    sheet.page.locator(_HANDLE).focus()
    sheet.page.keyboard.press("ArrowLeft")
    badge(sheet, f"in the past: {at - 1} of 900")
    sheet.page.locator(".nbbt-panel").focus()
    sheet.page.keyboard.press("ArrowLeft")
    sheet.page.keyboard.press("ArrowLeft")
    badge(sheet, f"in the past: {at - 3} of 900")
    sheet.page.keyboard.press("End")
    sheet.reaches(900)
    sheet.click("stop")
    sheet.wait_state("Stopped")


def test_a_click_behind_a_blocking_cell_spares_a_run_that_is_elsewhere(sheets):
    """A Resume that was meant for bar 900 doesn't set a run in motion that a cell has taken to bar 100."""
    sheet = sheets("elsewhere.ipynb", STEPPED, BUSY_FUTURE)
    sheet.run_cell(0)
    sheet.panel()
    sheet.reaches(900)
    sheet.page.wait_for_timeout(700)
    sheet.page.evaluate("() => window.jupyterapp.commands.execute('notebook:move-cursor-down')")
    sheet.run_cell(1)
    sheet.page.wait_for_timeout(400)
    sheet.page.evaluate(
        "() => { const button = document.querySelector('button.nbbt-resume');"
        " button.dispatchEvent(new PointerEvent('pointerdown', { bubbles: true })); button.click(); }"
    )
    sheet.page.locator(".nbbt-notices", has_text="taken to another place").first.wait_for(timeout=10_000)
    assert "Paused" in sheet.text("state")
    assert sheet.cursor() == 100
    sheet.click("stop")
    sheet.wait_state("Stopped")
