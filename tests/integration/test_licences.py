"""The page of licences names every dependency, and nothing under a copyleft licence reaches users."""

from __future__ import annotations

import re

import pytest

from docs import list_licences as licences

PAGE = licences.PAGE.read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| \**([\w.-]+)\** \| (.+) \|$", PAGE, re.MULTILINE))
COPYLEFT = re.compile(r"GPL|General Public", re.IGNORECASE)


@pytest.mark.parametrize("name", sorted(licences.direct((*licences.FOR_USERS, "dev", "docs", "parity"))))
def test_every_dependency_of_the_project_has_a_row_in_bold(name):
    assert f"| **{name}** |" in PAGE, "run python docs/list_licences.py"


def test_nothing_that_users_get_is_under_a_copyleft_licence():
    declared = {name: licences.licence_of(name) for name in licences.needed(licences.FOR_USERS)}
    assert len(declared) > 50  # found at all
    assert {name: words for name, words in declared.items() if COPYLEFT.search(words)} == {}
    assert "not declared" not in declared.values()


def test_a_row_says_what_its_package_declares():
    assert ROWS["plotly"] == licences.licence_of("plotly") == "MIT"
    assert ROWS["pandas"] == licences.licence_of("pandas") == "BSD-3-Clause"
    assert COPYLEFT.search(ROWS["backtrader"])
    assert COPYLEFT.search(ROWS["backtesting"])
    assert "not declared" not in ROWS.values()
