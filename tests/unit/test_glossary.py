"""The words of the code: each class of the public surface, the engine and trading is explained, or is of the field."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbbacktest as nb

ROOT = Path(__file__).parents[2]
LINES = [line for line in (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines() if line[:1] == "*"]
ENTRIES = [
    re.fullmatch(r"\* \*\*(?P<word>[^*]+)\*\*(?: \((?P<classes>[^)]*)\))?: (?P<told>.+\.)", line) for line in LINES
]

FIELD = {
    *(
        "Account",
        "CashAccount",
        "MarginAccount",
        "Allowance",
        "Broker",
        "CashFlow",
        "CorporateActions",
        "Fill",
        "Indicator",
    ),
    *(
        "Matches",
        "Order",
        "OrderEvent",
        "OrderOutcome",
        "OrderStatus",
        "OrderType",
        "Parameter",
        "Portfolio",
        "Position",
    ),
    *("Side", "Split", "SplitOrders", "Strategy", "Tier", "Trade", "Trades", "Bar"),
    *("AnnualBorrow", "AnnualInterest", "NoBorrow", "NoInterest", "RunningFee", "OrderFee", "TieredFee"),
}
"""What every textbook has, and what its name says whole."""
SAYS_ITSELF = ("Error", "Warning", "Commission", "Slippage", "Config", "Report", "Result", "Source", "Interrupted")
"""Endings of public names that say what a class is."""
PUBLIC = {"ControlPanel", "InvalidTransition", "SystemManager", "SystemState"}
"""Public classes that pages of their own explain."""


def classes(floor: str) -> set[str]:
    """The public names of the classes of a floor."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "nbbacktest" / floor).rglob("*.py")]
    return {node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_"}


def explained() -> list[str]:
    """The classes that the entries name, in their order."""
    return [name for entry in ENTRIES if entry for name in re.findall(r"`(\w+)`", entry["classes"] or "")]


def test_an_entry_is_a_word_its_classes_and_a_sentence() -> None:
    """Every line is read, and the words stand in the order of the alphabet."""
    assert [line for line, entry in zip(LINES, ENTRIES, strict=True) if entry is None] == []
    words = [entry["word"].lower() for entry in ENTRIES if entry]
    assert words == sorted(words)


def test_every_class_is_explained_or_of_the_field() -> None:
    """Of the engine, of trading and of the public surface."""
    public = {name for name in nb.__all__ if isinstance(getattr(nb, name), type) and not name.endswith(SAYS_ITSELF)}
    meant = classes("engine") | classes("trading") | public - PUBLIC
    assert sorted(meant - FIELD - set(explained())) == []


def test_every_class_of_an_entry_exists() -> None:
    """An entry outlives no class, and no class has two."""
    names = explained()
    everywhere = {
        name
        for floor in ("core", "data", "engine", "trading", "report", "system", "widgets")
        for name in classes(floor)
    }
    assert sorted(set(names) - everywhere) == []
    assert len(names) == len(set(names))
    assert sorted(FIELD & set(names)) == []
