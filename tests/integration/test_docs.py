"""The pages keep their promises: what they show runs and prints what they say, what is generated is current."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import nbbacktest as nb
from docs import build_pages
from nbbacktest.cli import main
from nbbacktest.core.enums import SystemState
from nbbacktest.core.lifecycle import Command

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]

BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:```text\n(?P<output>.*?)^```\n)?", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)


class Example(NamedTuple):
    """One block of Python, its place on its page, and what stands below it as its output."""

    code: str
    line: int
    output: str | None


def examples(page: Path) -> list[Example]:
    """The Python blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [Example(b["code"], text.count("\n", 0, b.start()) + 1, b["output"]) for b in BLOCK.finditer(text)]


def commands(page: Path) -> list[str]:
    """The lines of a page's shell blocks that call nbbacktest, each with what follows the program's name."""
    blocks = "".join(COMMAND.findall(page.read_text(encoding="utf-8")))
    return re.findall(r"^(?:\.venv/bin/)?nbbacktest (.+)$", blocks, re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What a link can name on a page: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what a reader's clone has, where examples may write; and a process without a run."""
    shutil.copytree(ROOT / "session_configs", tmp_path / "session_configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("nbbacktest.system.session._the_one", None)
    monkeypatch.delenv("NBBACKTEST_REMOTE")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    return tmp_path


@pytest.mark.parametrize(
    "page", [page for page in DOCS if examples(page)], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_python_examples_run(page: Path, clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page's Python blocks run in order, in one namespace, and print what stands below them."""
    namespace: dict[str, Any] = {"__name__": page.stem}
    for example in examples(page):
        # Empty lines before it, so that a traceback shows the page's own line.
        exec(compile("\n" * example.line + example.code, str(page), "exec"), namespace)
        printed = capsys.readouterr().out
        if example.output is not None:
            assert printed == example.output, f"{page.name}, line {example.line}"


@pytest.mark.parametrize(
    "line", [pytest.param(line, id=f"{page.name}: {line}") for page in PAGES for line in commands(page)]
)
def test_shell_examples_run(line: str, clone: Path) -> None:
    """Each nbbacktest command that a page shows ends well."""
    assert main(line.partition("#")[0].split()) == 0


def test_pages_show_examples() -> None:
    """There are examples on the pages, so the tests above have something to run."""
    assert sum(len(examples(page)) for page in DOCS) >= 20
    assert any(commands(page) for page in DOCS)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_generated_parts_are_current(page: Path) -> None:
    """What is generated is what the code gives now; `python docs/build_pages.py` brings it up to date."""
    text = page.read_text(encoding="utf-8")
    assert build_pages.filled(text) == text


def test_every_generated_part_stands_on_a_page() -> None:
    """Each thing that can be generated is shown once, so none is checked in vain."""
    shown = [part["name"] for page in DOCS for part in build_pages.PARTS.finditer(page.read_text(encoding="utf-8"))]
    assert sorted(shown) == sorted(build_pages.MAKERS)


def test_every_page_is_in_the_index() -> None:
    """Whoever starts at the index finds every page."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert all(f"]({page.name})" in index for page in DOCS if page.name != "index.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_to_headings_lead_to_one(page: Path) -> None:
    """A link that names a heading leads to a page that has it."""
    links = re.findall(r"\]\(([^)#:\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8"))
    missing = [
        f"{file}#{anchor}" for file, anchor in links if anchor not in anchors((page.parent / file) if file else page)
    ]
    assert not missing


# -- the table of commands and answers, against a system in each state ---------------------------------------


@pytest.fixture
def system() -> Iterator[nb.SystemManager]:
    """A system without a run."""
    system = nb.SystemManager()
    yield system
    system.stop()


ENDLESS = {
    # A minute of the market takes longer than any test.
    "backtest": {"start_date": "2024-10-03", "end_date": "2024-10-03", "speed_multiplier": 0.01},
    "data": {"symbols": ["EXE"]},
    "strategies": [{"class": "nbbacktest.strategies:BuyAndHold"}],
}


def bring(system: nb.SystemManager, state: SystemState) -> None:
    """Bring a system without a run into `state`, so that it stays there."""
    if state is SystemState.STOPPED:
        return
    system.start(ENDLESS, paused=True)
    system.step(3)
    if state is SystemState.RUNNING:
        system.resume()


ASK = {
    Command.START: lambda system: system.start(ENDLESS),
    Command.PAUSE: lambda system: system.pause(),
    Command.RESUME: lambda system: system.resume(),
    Command.STEP: lambda system: system.step(),
    Command.RUN_UNTIL: lambda system: (system.set_speed(0), system.run_until("2024-10-03 12:00"))[1],
    Command.STOP: lambda system: system.stop(),
}


@pytest.mark.parametrize("state", list(SystemState), ids=str)
@pytest.mark.parametrize("command", list(ASK), ids=str)
def test_commands_answer_as_the_table_says(state: SystemState, command: Command, system: nb.SystemManager) -> None:
    """In every state, each command gives and leads to what the page says."""
    bring(system, state)
    try:
        answer = str(ASK[command](system))
        answer = answer if answer == "False" else f"{answer}, then {system.get_state().name}"
    except nb.InvalidTransition:
        answer = "`InvalidTransition`"
    assert answer == build_pages.answer(state, command)
    if "then" not in answer:
        assert system.get_state() is state
