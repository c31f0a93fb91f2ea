"""The panel where else it is shown: in Notebook 7, in Voila, and with other versions of the kernel."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from playwright.sync_api import Browser

import nbbacktest as nb
from tests.browser.conftest import watched
from tests.browser.lab import Lab, Notebook, Sheet, Voila

KERNELS = ("6.31", "7.1")
SHOWN = "import nbbacktest as nb\nsystem = nb.SystemManager()\nsystem.set_speed(3600)\nsystem.panel()"
VERSION = "import ipykernel\nprint(ipykernel.__version__)"


def clicked_through(sheet: Sheet) -> None:
    """Start moves bars; Pause holds them; Step moves one; Resume and the mode do what they say; the end is the headless one."""
    sheet.click("start")
    drawn = "() => document.querySelector('.nbbt-bars .js-plotly-plot').data[0].x?.length > 3"
    sheet.page.wait_for_function(drawn, timeout=5_000)
    sheet.click("pause")
    sheet.wait_state("Paused")
    held = sheet.cursor()
    assert held > 0
    sheet.page.wait_for_timeout(600)
    assert sheet.cursor() == held
    sheet.click("step")
    sheet.reaches(held + 1)
    sheet.page.locator(".nbbt-mode button", has_text="Data-driven").click()
    sheet.click("resume")
    sheet.reaches(2340)
    sheet.wait_state("Stopped")
    expected = nb.SystemManager()
    expected.start()
    result = expected.wait()
    assert f"{result.stats['final_equity']:,.2f}" in sheet.text("figures")
    assert f"{len(result.fills)} fills" in sheet.text("figures")


def started(server: Lab, package: str) -> Iterator[Lab]:
    """The server, until it isn't needed any more."""
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        pytest.fail(f"{package} isn't installed: python -m pip install -e '.[dev]'")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Lab]:
    yield from started(Notebook(tmp_path_factory.mktemp("notebook"), pytestconfig.rootpath), "notebook")


@pytest.fixture(scope="module")
def voila(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Lab]:
    """Voila, with the dashboard and the session configs beside it."""
    root, folder = pytestconfig.rootpath, tmp_path_factory.mktemp("voila")
    (folder / "session_configs").symlink_to(root / "session_configs")
    (folder / "dashboard.ipynb").write_bytes((root / "notebooks" / "dashboard.ipynb").read_bytes())
    yield from started(Voila(folder, root), "voila")


def test_the_panel_in_notebook_7(notebook: Lab, chromium: Browser, pictures: Path):
    """The buttons do in Notebook 7 what they do in JupyterLab."""
    with watched(notebook, chromium) as opened:
        sheet = opened("clicks.ipynb", SHOWN)
        sheet.run_all()
        sheet.panel()
        clicked_through(sheet)
        sheet.page.screenshot(path=pictures / "notebook.png")


def test_the_dashboard_in_voila(voila: Lab, chromium: Browser, pictures: Path):
    """A session that is chosen runs by its clock, is paused, stepped and stopped, at full width and at 600 pixels."""
    with watched(voila, chromium) as opened:
        sheet = opened("dashboard.ipynb", width=1300, height=1250)
        sheet.panel()
        sheet.page.screenshot(path=pictures / "voila-empty.png")
        sheet.page.locator(".widget-dropdown select").first.select_option(label="Example: two synthetic symbols")
        sheet.click("start")
        sheet.wait_state("Running")
        sheet.page.wait_for_function(
            "() => document.querySelector('.nbbt-bars .js-plotly-plot').data[0].x?.length > 3", timeout=10_000
        )
        sheet.click("pause")
        sheet.wait_state("Paused")
        held = sheet.cursor()
        sheet.page.wait_for_timeout(600)
        assert sheet.cursor() == held > 0
        sheet.click("step")
        sheet.reaches(held + 1)
        sheet.page.wait_for_timeout(500)
        sheet.page.screenshot(path=pictures / "voila-paused.png")
        sheet.page.set_viewport_size({"width": 600, "height": 1800})
        sheet.page.wait_for_timeout(1_000)
        sheet.page.screenshot(path=pictures / "voila-narrow.png")
        assert sheet.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth + 1")
        sheet.click("stop")
        sheet.wait_state("Stopped")


@pytest.mark.parametrize("version", KERNELS)
def test_the_panel_on_other_kernels(lab: Lab, chromium: Browser, pytestconfig: pytest.Config, version: str):
    """The buttons do with these versions of ipykernel what they do with the newest."""
    packages = pytestconfig.rootpath / ".venv" / "kernels" / version
    if not packages.is_dir():
        pytest.fail(f"{packages} is missing: make .venv/.kernels installs ipykernel {version} there, beside the newest")
    folder = lab.folder / "home" / "data" / "kernels" / f"python-{version}"
    folder.mkdir(parents=True)
    paths = os.pathsep.join([str(packages), str(pytestconfig.rootpath), os.environ.get("PYTHONPATH", "")])
    (folder / "kernel.json").write_text(
        json.dumps(
            {
                "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "display_name": f"ipykernel {version}",
                "language": "python",
                "env": {"PYTHONPATH": paths},
            }
        )
    )
    with watched(lab, chromium) as opened:
        sheet = opened(f"kernel-{version}.ipynb", VERSION, SHOWN, kernel=f"python-{version}")
        sheet.run_cell(0)
        said = sheet.page.locator(".jp-Notebook .jp-Cell").nth(0).locator(".jp-OutputArea-output pre")
        said.wait_for()
        assert said.inner_text().startswith(version)
        sheet.run_cell(1)
        sheet.panel()
        clicked_through(sheet)
