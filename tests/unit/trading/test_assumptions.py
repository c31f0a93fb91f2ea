"""The page of assumptions names a test for every rule, and each of them exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "assumptions.md").read_text(encoding="utf-8")
RULES = [line for line in PAGE.splitlines() if line.startswith("* ")]
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| order")]


def names_of_tests():
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("test_*.py"))
    return {
        n.name
        for tree in trees
        for n in ast.walk(tree)
        if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")
    }


@pytest.mark.parametrize("rule", RULES + ROWS, ids=lambda rule: rule[2:40])
def test_every_rule_names_its_test(rule):
    """Each rule ends with at least one test."""
    assert re.search(r"`test_\w+`( \|)?$", rule)


def test_every_named_test_exists():
    """Each test that the page names is one of the suite's."""
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named
    assert not named - names_of_tests()
