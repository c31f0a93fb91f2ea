"""JupyterLab and a browser for the tests in this folder, both started once."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="browser tests need playwright")
pytest.importorskip("jupyterlab", reason="browser tests need JupyterLab")

from playwright.sync_api import Browser

from tests.browser.lab import Lab, Sheet, browser, executable

Opened = Callable[..., Sheet]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("browser")
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """Takes the place of the one for all tests: server and browser are the whole session's, and end with it."""


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Lab]:
    if executable() is None:
        pytest.skip("no chromium on this machine's PATH")
    server = Lab(tmp_path_factory.mktemp("lab"), pytestconfig.rootpath)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if executable() is None:
        pytest.skip("no chromium on this machine's PATH")
    with browser() as started:
        yield started


@pytest.fixture
def sheets(lab: Lab, chromium: Browser) -> Iterator[Opened]:
    """Opens a notebook with the given cells; at the end, no page has said or asked for anything wrong."""
    with watched(lab, chromium) as open_sheet:
        yield open_sheet


@contextlib.contextmanager
def watched(lab: Lab, chromium: Browser) -> Iterator[Opened]:
    """Opens pages of a server, and looks at the end whether one of them or the server has complained."""
    opened: list[Sheet] = []
    contexts = []
    before = len(lab.kernel_log())

    def open_sheet(
        name: str, *cells: str, width: int = 1400, height: int = 1500, dark: bool = False, kernel: str = "python3"
    ) -> Sheet:
        if cells:
            lab.write(name, *cells, kernel=kernel)
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        contexts.append(context)
        sheet = Sheet(context, lab)
        opened.append(sheet)
        sheet.open(name)
        return sheet

    yield open_sheet
    errors = [error for sheet in opened for error in sheet.errors]
    outside = [url for sheet in opened for url in sheet.outside]
    for context in contexts:
        context.close()
    lab.end_kernels()
    assert not errors, f"the console said: {errors}"
    assert not outside, f"asked for from outside: {outside}"
    # The server's own complaint where a page is left; the kernels' log is the same file.
    said = lab.kernel_log()[before:].replace("Traceback (most recent call last):\ntornado.websocket", "")
    told = re.findall(r"Traceback(?:.*\n)(?:.*\n){,40}?(?=\[|\Z)", said)
    assert not [one for one in told if "WebSocketClosedError" not in one and "StreamClosedError" not in one], said


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where screenshots go: the folder that NBBACKTEST_SCREENSHOTS names, where they are kept, else one that goes away."""
    folder = Path(os.environ.get("NBBACKTEST_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
