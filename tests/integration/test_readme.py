"""The front page keeps its promises: what it shows runs as it stands there, and what it links to exists."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = re.findall(
    r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)


def in_fresh_python(*arguments: str) -> str:
    """Run Python as a reader would, from the top of the clone, and return what it prints."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=[f"example {i + 1}" for i in range(len(EXAMPLES))])
def test_python_example_runs(example: str) -> None:
    """Each Python example of the README runs by itself and prints something."""
    assert in_fresh_python("-c", example).strip()


def test_notebook_example_runs() -> None:
    """What the README types into cells runs in IPython, and leaves a run and its panel."""
    [cell] = re.findall(
        r"^```ipython\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    script = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "import nbbacktest as nb\n"
        f"InteractiveShell.instance().run_cell({cell!r}).raise_error()\n"
        "system = nb.get_system_manager()\n"
        "print(system.get_state(), type(system.panel()).__name__)\n"
        "system.stop()\n"
    )
    assert "running ControlPanel" in in_fresh_python("-c", script).splitlines()  # the still picture comes at the end


def test_readme_shows_python() -> None:
    """The README has Python examples, so the test above has something to run."""
    assert len(EXAMPLES) >= 2


def test_demo_command_gives_a_report() -> None:
    """The command behind `make demo` ends with a result that a program can read."""
    result = in_fresh_python(
        "-c", "from nbbacktest.cli import main; main()", "run", "session_configs/aapl_daily.json", "--json"
    )
    assert json.loads(result)


def test_what_is_promised_is_tested() -> None:
    """Each test that the README names for a promise exists."""
    promised = set(re.findall(r"`(test_\w+)`", (ROOT / "README.md").read_text(encoding="utf-8")))
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text(encoding="utf-8"))
    }
    assert len(promised) >= 8
    assert promised <= there


def test_figures_are_those_of_the_page() -> None:
    """A figure of the README stands on the page about performance: both change together."""
    figures = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Figures")[2].partition("## ")[0]
    measured = [row.split("|")[2] for row in figures.splitlines() if "make bench" in row]
    numbers = re.findall(r"[-+]?\d[\d,]*\.?\d+%?", " ".join(measured))
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert len(numbers) >= 6
    assert [number for number in numbers if number not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of the project leads to one."""
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing
