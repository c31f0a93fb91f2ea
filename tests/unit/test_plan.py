"""The plans keep up with the code: tests that a plan names exist, and rooms that the page about architecture names do."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLAN = ROOT / "tests" / "TEST_PLAN_SYNCHRONIZATION_AND_PAUSE.md"
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LINKS = re.findall(r"\[`tests/(\S+?\.py)::(test_\w+)`\]\((\S+?\.py)\)", PLAN.read_text(encoding="utf-8"))
ROWS = [line for line in PLAN.read_text(encoding="utf-8").splitlines() if "| [`tests/" in line]


@pytest.mark.parametrize(("file", "name", "target"), sorted(set(LINKS)), ids=lambda value: value)
def test_every_test_of_the_plan_exists(file: str, name: str, target: str) -> None:
    """A row of the plan names a test of that file, and leads to it."""
    assert target == file
    tree = ast.parse((PLAN.parent / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_row_is_whole() -> None:
    """Each promise has its test, its bound and what was measured, or that nothing was."""
    assert len(ROWS) == len(LINKS) >= 50
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in ROWS]
    assert all(len(row) == 4 and all(row) for row in cells)


FAULTS = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("## What holds under faults")[2]
PROMISED = [line for line in FAULTS.splitlines() if line.startswith("| ") and "| fault" not in line]
HOLDERS = re.findall(r"\[`(test_\w+)`\]\((tests/\S+?\.py)\)", FAULTS)


@pytest.mark.parametrize(("name", "file"), sorted(set(HOLDERS)), ids=lambda value: value)
def test_every_test_of_the_faults_exists(name: str, file: str) -> None:
    """A row of the table names a test, and leads to its file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_fault_has_a_promise_and_a_test() -> None:
    """A row is a fault, what is promised, and the tests that hold it."""
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in PROMISED]
    assert len(cells) >= 12
    assert all(len(row) == 3 and all(row) and row[2].startswith("[`test_") for row in cells)


def test_coverage_has_its_bound() -> None:
    """Under nine tenths of the branches and lines, `make test` fails."""
    assert PYPROJECT["tool"]["coverage"]["report"]["fail_under"] >= 90
    assert PYPROJECT["tool"]["coverage"]["run"]["branch"] is True


def pointers() -> list[tuple[str, list[str]]]:
    """The modules that the page names in backticks, each with the names in parentheses behind it: ``core.lifecycle (TABLE)``."""
    floors = {path.stem for path in (ROOT / "nbbacktest").iterdir() if path.is_dir() and path.name[0] != "_"}
    found = re.findall(r"`(?:nbbacktest\.)?(\w+(?:\.\w+)+)`(?: \(((?:`\w+`(?:, )?)+)\))?", ARCHITECTURE)
    return [(name, re.findall(r"\w+", names)) for name, names in found if name.partition(".")[0] in floors]


def test_every_module_of_the_architecture_exists_and_has_what_the_page_says() -> None:
    """A module that the page names is one, and a class, function or table that it names beside a module is in that."""
    assert len(pointers()) > 60
    assert sum(len(names) for _, names in pointers()) > 10
    for module, names in pointers():
        found = import_module(f"nbbacktest.{module}")
        assert [name for name in names if not hasattr(found, name)] == [], module


def test_the_architecture_names_every_floor() -> None:
    """The page's floors are those of the contract that import-linter holds, in its order."""
    [contract] = [one for one in PYPROJECT["tool"]["importlinter"]["contracts"] if one["id"] == "floors"]
    layers = [re.findall(r"\w+", layer) for layer in contract["layers"]]
    table = ARCHITECTURE.partition("## Floors")[2].partition("## ")[0]
    shown = [re.findall(r"`nbbacktest\.(\w+)`", line) for line in table.splitlines() if "| `nbbacktest." in line]
    assert [sorted(layer) for layer in layers] == [sorted(line) for line in shown]


def test_paths_of_the_architecture_exist() -> None:
    """A file or folder of the clone that the page names is there."""
    paths = re.findall(r"`((?:tests|docs|session_configs)/[\w/.]+)`", ARCHITECTURE)
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []
