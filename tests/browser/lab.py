"""JupyterLab, Notebook, Voila and a browser for tests: on free ports, with a token, in a folder that goes away."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, Request, sync_playwright

TOKEN = "test-only"
START_SECONDS = 60
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
]
# What Chromium and JupyterLab say about themselves on every page, a panel or none.
_USUAL = (
    "Failed to load resource: net::ERR_",
    "favicon",
    "autofocus",
)


# The notebook is the page's front tab, for a launcher may come up on top of it, and its kernel is ready for a cell.
_READY = """name => {
  const shell = window.jupyterapp?.shell;
  const notebook = shell && [...shell.widgets("main")].find((widget) => widget.context?.path === name);
  if (!notebook) return false;
  if (shell.currentWidget !== notebook) shell.activateById(notebook.id);
  const context = notebook.sessionContext;
  return context?.isReady && context.session?.kernel?.status === "idle" && context.session.kernel.info;
}"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Lab:
    """A running JupyterLab, its folder and its log."""

    allowed: tuple[str, ...] = ()
    """Where requests to the outside may go."""
    faults: tuple[str, ...] = ()
    """Errors that it raises on every page, a panel or none."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "server.log"
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """What `python -m` is to run."""
        return [
            *("jupyter", "lab", "--no-browser", f"--port={self.port}", "--ip=127.0.0.1", "--allow-root"),
            *(f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={self.folder}"),
            *("--ServerApp.port_retries=0", "--LabApp.collaborative=False", "--LabApp.expose_app_in_browser=True"),
        ]

    def address(self, notebook: str) -> str:
        """Where a notebook is shown, in a workspace of its own: the tabs of other tests are none of its business."""
        own = re.sub(r"[^\w-]", "-", notebook)  # a dot isn't taken
        return f"{self.url}/lab/workspaces/{own}/tree/{notebook}?token={TOKEN}&reset"

    def waking(self) -> str:
        """What answers as soon as the server can be used."""
        return f"{self.url}/api/status?token={TOKEN}"

    def opened(self, page: Page, notebook: str) -> None:
        """Wait until the notebook's page can be used."""
        page.wait_for_function(_READY, arg=notebook, timeout=60_000)
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)

    def start(self) -> None:
        home = self.folder / "home"
        home.mkdir()
        settings = home / ".jupyter" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        quiet = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
        (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
        paths = os.pathsep.join(filter(None, [str(self._root), os.environ.get("PYTHONPATH", "")]))
        environment = {
            **os.environ,
            "HOME": str(home),
            "JUPYTER_CONFIG_DIR": str(home / ".jupyter"),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "IPYTHONDIR": str(home / "ipython"),
            "PYTHONPATH": paths,
            "PYTHONUNBUFFERED": "1",
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self.command()],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(self.waking(), timeout=10).close()
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.2)
        raise RuntimeError(f"{self.command()[0]} doesn't answer:\n{self.log.read_text(errors='replace')[-3000:]}")

    def stop(self) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(OSError):  # kernels first, so that none is left as an orphan
            self.end_kernels()
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def end_kernels(self) -> None:
        for session in json.loads(self.ask("/api/sessions")):
            self.ask(f"/api/sessions/{session['id']}", "DELETE")

    def ask(self, path: str, method: str = "GET") -> str:
        request = urllib.request.Request(
            f"{self.url}{path}", method=method, headers={"Authorization": f"token {TOKEN}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def write(self, name: str, *cells: str, kernel: str = "python3") -> Path:
        """A notebook with these code cells."""
        notebook = {
            "cells": [
                {"cell_type": "code", "id": f"cell-{n}", "metadata": {}, "outputs": [], "execution_count": None,
                 "source": source}
                for n, source in enumerate(cells)
            ],
            "metadata": {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}},
            "nbformat": 4, "nbformat_minor": 5,
        }  # fmt: skip
        path = self.folder / name
        path.write_text(json.dumps(notebook))
        return path

    def kernel_log(self) -> str:
        return self.log.read_text(errors="replace")


class Notebook(Lab):
    """A running Notebook 7."""

    faults = ("Cannot read properties of undefined (reading 'schema')",)  # 7.6, on an empty notebook too

    def command(self) -> list[str]:
        return [
            *("notebook", "--no-browser", f"--port={self.port}", "--ip=127.0.0.1", "--allow-root"),
            *(f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={self.folder}"),
            *("--ServerApp.port_retries=0", "--JupyterNotebookApp.expose_app_in_browser=True"),
        ]

    def address(self, notebook: str) -> str:
        return f"{self.url}/notebooks/{notebook}?token={TOKEN}"


class Voila(Lab):
    """A running Voila that serves the notebooks of its folder as apps."""

    allowed = ("https://cdn.jsdelivr.net/npm/@fortawesome/",)  # its own icon font

    def command(self) -> list[str]:
        return [
            *("voila", str(self.folder), "--no-browser", f"--port={self.port}", "--Voila.ip=127.0.0.1"),
            *(f"--token={TOKEN}", "--port_retries=0"),
            # The page of another host, which Voila would load and which complains there.
            "--VoilaConfiguration.extension_denylist=@jupyter-notebook/lab-extension",
        ]

    def address(self, notebook: str) -> str:
        return f"{self.url}/voila/render/{notebook}?token={TOKEN}"

    def waking(self) -> str:
        return f"{self.url}/?token={TOKEN}"

    def opened(self, page: Page, notebook: str) -> None:
        page.wait_for_selector(".nbbt-panel", timeout=60_000)

    def end_kernels(self) -> None:
        """A kernel is a page's, and ends with it or with the server."""


class Sheet:
    """A page with a notebook, and what it said and asked for since it was opened."""

    def __init__(self, context: BrowserContext, lab: Lab) -> None:
        self.lab = lab
        self.notebook = ""
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.outside: list[str] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", self._failed)
        self.page.on("request", self._asked)

    def open(self, notebook: str) -> None:
        self.notebook = notebook
        self.page.goto(self.lab.address(notebook), timeout=60_000)
        self.lab.opened(self.page, notebook)

    def run_all(self) -> None:
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")

    def save(self) -> None:
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")

    def theme(self, name: str) -> None:
        self.page.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
        self.page.wait_for_timeout(800)

    def simple(self) -> None:
        """Only the notebook, as wide as the page."""
        self.page.evaluate(
            "() => { const { commands, shell } = window.jupyterapp; shell.collapseLeft(); shell.mode = 'single-document'; }"
        )
        self.page.wait_for_timeout(500)

    def reload(self) -> None:
        self.page.reload()
        self.lab.opened(self.page, self.notebook)

    def run_cell(self, number: int) -> None:
        self.page.locator(".jp-Notebook .jp-Cell").nth(number).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")

    def click(self, name: str) -> None:
        self.page.locator(f"button.nbbt-{name}:visible").first.click()

    def panel(self) -> None:
        """Wait until the panel and its charts are there."""
        for chart in ("bars", "equity", "sync"):
            self.page.wait_for_selector(f".nbbt-{chart} .js-plotly-plot", timeout=60_000, state="attached")

    def reaches(self, cursor: int, timeout: float = 30_000) -> None:
        """Wait until the counter shows that bar."""
        text = f"Bar {cursor:,} of"
        self.page.locator(".nbbt-progress:visible", has_text=text).first.wait_for(timeout=timeout)

    def points(self, chart: str, trace: int = 0) -> int:
        """How many points a chart's trace has in the page."""
        script = "([chart, n]) => document.querySelector(`.nbbt-${chart} .js-plotly-plot`)?.data?.[n]?.x?.length ?? 0"
        return int(self.page.evaluate(script, [chart, trace]))

    def text(self, name: str) -> str:
        return self.page.locator(f".nbbt-{name}:visible").first.inner_text()

    def cursor(self) -> int:
        words = self.text("progress").split()
        return int(words[1].replace(",", "")) if len(words) > 1 else 0

    def wait_state(self, word: str, timeout: float = 30_000) -> None:
        self.page.locator(".nbbt-state:visible", has_text=word).first.wait_for(timeout=timeout)

    def wait_until(self, script: str, timeout: float = 30_000) -> Any:
        return self.page.wait_for_function(script, timeout=timeout).json_value()

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(usual in message.text for usual in _USUAL):
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _failed(self, error: Error) -> None:
        if not any(fault in str(error) for fault in self.lab.faults):
            self.errors.append(f"page error: {error}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.lab.url, "data:", "blob:", "about:", *self.lab.allowed)):
            self.outside.append(request.url)


def executable() -> str | None:
    """The browser, wherever this machine has it."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable(), args=_FLAGS)
        try:
            yield started
        finally:
            started.close()
